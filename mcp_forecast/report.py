"""What people read: data, arms, trust, gate and forecast as tables and plain sentences."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mcp_forecast_engine.factory.publication import told_rule

Document = Mapping[str, Any]
ROLES: Final = {"known_future": "known ahead", "historical": "past only", "static": "fixed per series"}
ARMS: Final = {
    "seasonal_naive": "repeat the last season",
    "target_only": "target alone",
    "with_holidays": "+ public holidays alone",
    "without_holidays": "+ covariates known ahead, no holidays",
    "with_covariates": "+ covariates known ahead",
    "with_all_covariates": "+ past-only covariates",
    "combination": "several models together",
}
VERDICTS: Final = {
    "trust": ("yes", "bold green", "You can act on this forecast, within its intervals."),
    "caution": ("with caution", "bold yellow", "Read the reasons before you act on this forecast."),
    "do_not_trust": ("no", "bold red", "Do not act on this forecast."),
}
_STEPS: Final = {
    "h": "hour",
    "D": "day",
    "B": "business day",
    "MS": "month",
    "ME": "month",
    "QS": "quarter",
    "YS": "year",
}
_SCORES: Final = {"MASE": "MASE", "WQL": "WQL", "sMAPE": "sMAPE", "coverage_80": "80 % band held"}
_SHOWN_ROWS: Final = 14


def data_report(dataset: Document) -> RenderableType:
    """What was found in the data: step, span, gaps, and the covariates with their roles and why."""
    several = f"{dataset['series_count']:,} series, " if dataset["series_count"] > 1 else ""
    facts = (
        f"{dataset['rows']:,} rows, {several}one step is {step_words(dataset['freq'])}"
        + (f", usually a season of {dataset['season_length']}" if dataset["season_length"] > 1 else ""),
        f"{_time(dataset['start'])} to {_time(dataset['end'])}",
        f"time {dataset['time']!r}, target {dataset['target']!r}"
        + (f", series {', '.join(map(repr, dataset['series']))}" if several else ""),
        *_oddities(dataset),
    )
    parts: list[RenderableType] = [_heading("Data"), *(Text(f"  {fact}") for fact in facts)]
    if dataset["covariates"]:
        table = _table("covariate", "role", "why")
        for covariate in dataset["covariates"]:
            table.add_row(_plain(covariate["name"]), ROLES[covariate["role"]], _plain(covariate["reason"]))
        parts.append(Padding(table, (0, 0, 0, 2)))
    return Group(*parts)


def tried_report(training: Document) -> RenderableType:
    """Every arm with its scores on the same past windows; the chosen one is marked."""
    scores = {
        name: head for name, head in _SCORES.items() if any(arm.get(name) is not None for arm in training["tried"])
    }
    table = _table("", "tried", *scores.values(), right=range(2, 2 + len(scores)))
    for arm in training["tried"]:
        chosen = arm["arm"] == training["chosen"]
        cells = [_score(name, arm.get(name)) for name in scores]
        table.add_row("✓" if chosen else "", arm_words(arm["arm"]), *cells, style="bold" if chosen else "")
    windows, horizon = training["trust"]["windows"], training["serving"]["horizon"]
    tests = f"{windows} past forecasts" if windows > 1 else "past forecast"
    note = f"  on the same {tests} of {horizon} steps; ✓ was chosen before {'them' if windows > 1 else 'it'}"
    return Group(_heading("Tried"), Text(note, style="dim"), Padding(table, (0, 0, 0, 2)))


def trust_report(trust: Document) -> RenderableType:
    """The verdict, what it means, and the reasons."""
    word, style, meaning = VERDICTS[trust["verdict"]]
    lines = [Text(f"  • {_sentence(reason)}") for reason in trust["reasons"]]
    notes = [Text(f"  note: {note}", style="dim") for note in trust.get("notes") or ()]
    return Group(_heading("Trust: ").append(word, style=style), Text(f"  {meaning}"), *lines, *notes)


def gate_report(gate: Document) -> RenderableType:
    """What the gate says: PASS, or FAIL with each rule that was broken and what to try.

    gate: of the short form of a training's result, which names the rules that failed.
    """
    head, profile = _heading("Gate: "), f"the profile {gate['profile']!r}"
    if gate["decision"] == "PASS":
        meaning = Text(f"  It keeps every rule of {profile}: it may be published as a bundle, and answer for others.")
        return Group(head.append("PASS", style="bold green"), meaning)
    lines = [Text(f"  • {_sentence(told_rule(rule))}") for rule in gate["rules"]]
    notes = [Text(f"  to try: {gate['refinement']['change']}", style="dim")] if "refinement" in gate else []
    meaning = Text(f"  It may be looked at, never published: it breaks a rule of {profile}.")
    return Group(head.append("FAIL", style="bold red"), meaning, *lines, *notes)


def covariate_gain(training: Document) -> str:
    """What covariates are worth to the same model, in half a sentence; empty where that was not measured."""
    tried = {arm["arm"]: arm for arm in training["tried"]}
    columns = tried[training["chosen"]]["covariates"]
    with_covariates = dict.fromkeys(line["arm"] for line in training["uplift"])
    same = [tried[name].get("MASE") for name in with_covariates if tried[name]["covariates"] == columns]
    best, alone = (same or [None])[0], tried.get("target_only", {}).get("MASE")
    if not best or not alone:
        return ""
    return f" (they would make the error {1 - best / alone:.0%} smaller: MASE {best:.3g} instead of {alone:.3g})"


def verdict_line(trust: Document) -> str:
    """The verdict and its first reason in one line, for the head of a picture."""
    reason = f". {_sentence(trust['reasons'][0])}" if trust["reasons"] else ""
    return "\n".join(textwrap.wrap(f"Trust: {VERDICTS[trust['verdict']][0]}{reason}", 110))


def forecast_report(forecast: Document) -> RenderableType:
    """The forecast, row by row; the middle is left out when it is long."""
    rows = list(forecast_rows(forecast))
    levels = sorted(forecast["levels"])
    several = len(forecast["series"]) > 1
    points = ["median", *(["mean"] if rows and "mean" in rows[0] else [])]
    names = [*(["series"] if several else []), "time", *points, *(f"{level} % band" for level in levels)]
    table = _table(*names, right=range(len(names) - len(points) - len(levels), len(names)))
    cut = len(rows) > _SHOWN_ROWS
    for row in rows[: _SHOWN_ROWS - 4] if cut else rows:
        table.add_row(*_cells(row, levels, several=several))
    if cut:
        table.add_row(*(["…"] * len(names)), style="dim")
        for row in rows[-4:]:
            table.add_row(*_cells(row, levels, several=several))
    return Group(_heading(f"Forecast, {len(rows):,} rows"), Padding(table, (0, 0, 0, 2)))


def forecast_rows(forecast: Document) -> Iterable[dict[str, Any]]:
    """The forecast as long rows: unique_id, ds, median, the mean where there is one, and lo-/hi- of every level."""
    bounds = [f"{side}-{level}" for level in sorted(forecast["levels"]) for side in ("lo", "hi")]
    for series in forecast["series"]:
        for i, at in enumerate(series["ds"]):
            values = {name: series[name][i] for name in ("median", "mean", *bounds) if name in series}
            yield {"unique_id": series["unique_id"], "ds": at, **values}


def warning_lines(warnings: Sequence[str]) -> RenderableType:
    """Warnings, one a line."""
    return Group(*(Text("  ! ", style="yellow").append(text, style="default") for text in warnings))


def error_report(error: Document, *, option: str | None = None) -> RenderableType:
    """An error as three lines at most: what was found, what is allowed, what to do. option: what the caller typed."""
    lines = [_named("error" if option is None else f"error in {option}", error["message"], style="bold red")]
    allowed = error.get("allowed")
    if allowed:
        lines.append(_named("allowed", _listed(allowed)))
    if error.get("next_step"):
        lines.append(_named("next", str(error["next_step"])))
    return Group(*lines)


def arm_words(name: str) -> str:
    """What an arm is, in words; its own name where there are none."""
    return ARMS.get(name, name.replace("_", " "))


def step_words(freq: str) -> str:
    """One step of a frequency alias in words."""
    if freq in _STEPS:
        return f"one {_STEPS[freq]}"
    return "one week" if freq.startswith("W") else "a number" if freq == "1" else freq


def _oddities(dataset: Document) -> Iterable[str]:
    counts = {"gaps": "steps without a row", "missing_target": "rows without a target", "duplicates": "duplicate rows"}
    found = [f"{dataset[name]:,} {words}" for name, words in counts.items() if dataset[name]]
    if found:
        yield f"{', '.join(found)}: filled or merged before training"
    if dataset["future_steps"]:
        yield f"covariates are known for {dataset['future_steps']:,} steps after the last target"


def _cells(row: Document, levels: Sequence[int], *, several: bool) -> list[RenderableType]:
    bands = [f"{_number(row[f'lo-{level}'])} … {_number(row[f'hi-{level}'])}" for level in levels]
    head: list[RenderableType] = [_plain(row["unique_id"])] if several else []
    return [*head, _time(row["ds"]), *(_number(row[name]) for name in ("median", "mean") if name in row), *bands]


def _table(*names: str, right: Iterable[int] = ()) -> Table:
    table, numeric = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim"), set(right)
    for i, name in enumerate(names):
        table.add_column(name, justify="right" if i in numeric else "left", no_wrap=i in numeric)
    return table


def _heading(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _named(name: str, text: str, *, style: str = "bold") -> Text:
    return Text().append(f"{name}: ", style=style).append(text)


def _plain(text: object) -> Text:
    """Text as it is: names from files are not markup."""
    return Text(str(text))


def _listed(allowed: Any) -> str:
    if isinstance(allowed, str | int | float):
        return str(allowed)
    if isinstance(allowed, Mapping) and {"minimum", "maximum"} <= allowed.keys():
        return f"{allowed['minimum']} to {allowed['maximum']}"
    if isinstance(allowed, Mapping):
        return ", ".join(f"{name} {value}" for name, value in allowed.items())
    return ", ".join(map(str, allowed))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _score(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0%}" if name.startswith("coverage") else f"{value:.3f}" if value < 10 else f"{value:.4g}"


def _number(value: float) -> str:
    size = abs(value)
    return f"{value:,.0f}" if size >= 1000 else f"{value:.1f}" if size >= 10 else f"{value:#.3g}"


def _time(stamp: str) -> str:
    return stamp.removesuffix("T00:00:00").removesuffix(":00").replace("T", " ")

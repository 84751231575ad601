"""Results on disk and on screen: one JSON file per row, and the table that a reader compares."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from forecasting.measure import Entry
from forecasting.tasks import Aim, Published, Row

RESULTS = Path(__file__).parent / "results"
MEASURED = Path(__file__).parent / ".measured"  # of this machine; git does not see it
AIM_OF = {"small": "floor", "large": "goal"}


def stored(row: Row, folder: Path = RESULTS) -> dict[str, Entry]:
    """What earlier runs of a row wrote: name (naive, small, large, peer ...) → entry."""
    path = folder / f"{row.name}.json"
    if not path.exists():
        return {}
    entries: dict[str, Entry] = json.loads(path.read_text(encoding="utf-8"))["entries"]
    return entries


def store(row: Row, new: Mapping[str, Entry], folder: Path = RESULTS) -> None:
    """Put entries into the row's file, beside those of other budgets and peers. NaN becomes null."""
    folder.mkdir(exist_ok=True)
    entries = {**stored(row, folder), **new}
    document = {"row": row.name, "title": row.title, "definition": row.definition, "entries": _plain(entries)}
    text = json.dumps(document, indent=1, sort_keys=True, allow_nan=False)
    (folder / f"{row.name}.json").write_text(text + "\n", encoding="utf-8")


def table(row: Row, entries: Mapping[str, Entry], published: tuple[Published, ...]) -> str:
    """The row's figures in columns: ours and peers as measured, then what others published."""
    width = max(len(name) for name in (*entries, *(p.name for p in published), "")) + 2
    head = f"{'':<{width}}" + "".join(f"{name:>17}" for name in row.columns) + f"{'CPU s':>9}{'RSS MB':>8}"
    lines = [row.title, head]
    for name, entry in entries.items():
        cost = f"{entry['cpu_s']:>9.1f}{entry['peak_rss_mb']:>8.0f}" if "cpu_s" in entry else f"{'':>17}"
        lines.append(f"{name:<{width}}" + _cells(row, entry["scores"]) + cost)
    lines += [f"{p.name:<{width}}" + _cells(row, p.scores) + f"  {p.source}" for p in published]
    return "\n".join([*lines, f"({row.definition})"])


def told(row: Row, name: str, entry: Entry) -> str:
    """How an entry stands against the row's aims, its intervals, and the published forecasts."""
    lines = [_aimed(name, entry, aim) for aim in row.aims if name in AIM_OF]
    for share in ("cov80", "cov90"):
        for key in [key for key in entry["scores"] if key.endswith(share)]:
            low, high = (entry["scores"][f"{key} {end}"] for end in ("low", "high"))
            lines.append(f"{name}: {key} {entry['scores'][key]:.3f}, block-bootstrap interval {low:.3f} .. {high:.3f}")
    for other, gap in entry["against"].items():
        size = f"{abs(gap['mae_less']):.3f} {'better' if gap['mae_less'] < 0 else 'worse'} per hour"
        lines.append(f"{name} against {other}: {size}, DM {gap['statistic']:.2f}, p {gap['p_value']:.2g}")
    return "\n".join([*lines, *(f"note: {note}" for note in entry["notes"])])


def _aimed(name: str, entry: Entry, aim: Aim) -> str:
    limits = [f"{score} {entry['scores'][score]:.4g} > {aim.scores[score]:g}" for score in missed_scores(entry, aim)]
    limits += [f"{entry['cpu_s']:.1f} > {aim.cpu_s:g} CPU s"] if too_slow(entry, aim) else []
    own = " (the aim of this budget)" if AIM_OF[name] == aim.name else ""
    return f"{name}, {aim.name}{own}: {'missed, ' + '; '.join(limits) if limits else 'kept'}"


def missed_scores(entry: Entry, aim: Aim) -> list[str]:
    """The scores of an aim that a measurement does not reach."""
    found = entry["scores"]
    return [name for name, limit in aim.scores.items() if found[name] is None or not found[name] <= limit]


def too_slow(entry: Entry, aim: Aim) -> bool:
    """Whether a measurement took more CPU seconds than its aim allows."""
    return aim.cpu_s is not None and bool(entry["cpu_s"] > aim.cpu_s)


def _cells(row: Row, scores: Mapping[str, float]) -> str:
    cells = [scores.get(name) for name in row.columns]
    return "".join(f"{'-':>17}" if cell is None else f"{cell:>17.4g}" for cell in cells)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        # Nine digits: the last bits of a sum differ between machines and say nothing.
        return float(f"{value:.9g}") if abs(value) < float("inf") else None
    return value

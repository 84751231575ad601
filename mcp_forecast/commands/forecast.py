"""`mcp-forecast forecast FILE --horizon N`: from a file to a forecast, by the same tools that agents call."""

from __future__ import annotations

import json
import logging
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from mcp_forecast import report
from mcp_forecast.app import App, open_app
from mcp_forecast.calls import pipeline
from mcp_forecast.calls.caller import Caller
from mcp_forecast.commands.forecast_files import Refused, existing, require_writable, rows_of, write_csv
from mcp_forecast.errors import body, error_body
from mcp_forecast.settings import Settings
from mcp_forecast_engine.errors import EngineError
from mcp_forecast_engine.serving.request import require_known_levels

if TYPE_CHECKING:
    from mcp_forecast.commands.picture import SeriesPicture

Document = dict[str, Any]
REFUSED: Final = 2
# The argument a tool names → what the person typed.
_OPTIONS: Final = {
    "path": "FILE", "covariates": "--covariates-known", "time_format": "--time-format",
    "time_zone": "--time-zone", "season_length": "--season-length", "test_windows": "--test-windows",
    **{name: f"--{name}" for name in (
        "horizon", "time", "target", "series", "wide", "freq", "drop", "future", "budget", "holidays", "levels",
        "observed",
    )},
}  # fmt: skip


@dataclass(frozen=True)
class ForecastRequest:
    """What the person asked for. known, past: covariates known ahead, or for the past only; target_only: leave all out.

    levels: intervals in per cent; none: the usual ones. typed: the words of the command line, `forecast` first.
    """

    file: Path
    horizon: int
    columns: dict[str, Any]
    known: tuple[str, ...] = ()
    past: tuple[str, ...] = ()
    target_only: bool = False
    season_length: int | None = None
    test_windows: int | None = None
    levels: tuple[int, ...] = ()
    budget: str = "small"
    holidays: str | None = None
    future: Path | None = None
    plot: Path | None = None
    csv: Path | None = None
    json: bool = False
    typed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answers:
    """What the tools answered: the dataset, the training run that is used, and the whole forecast."""

    dataset: Document
    training: Document
    forecast: Document


def forecast_command(request: ForecastRequest, settings: Settings, out: Console, err: Console) -> int:
    """Forecast and show it; 0, or 2 with the error said. Progress and errors go to `err`, so `out` can be piped."""
    try:
        require_writable(plot=request.plot, csv=request.csv)
        require_known_levels(request.levels)
        file = existing(request.file, "path")
        app = open_app(replace(settings, roots=(file.parent, *settings.roots)))
        try:
            logging.basicConfig(filename=_log_file(settings), level=logging.WARNING)
            desk = Desk(app, err)
            answers = anyio.run(_answers, desk, replace(request, file=file), _quiet if request.json else out.print)
            _show(answers, request, desk, out)
        finally:
            app.close()
    except Refused as refused:
        return _refuse(refused.error, request, err)
    except EngineError as error:
        return _refuse(error_body(error, correlation_id=""), request, err)
    return 0


class Desk:
    """The tools as one person calls them: answers are results, refusals are raised, limits are waited out."""

    def __init__(self, app: App, err: Console) -> None:
        self.app, self._err = app, err
        self._caller = Caller(app.settings.caller, frozenset(app.settings.scopes), "cli")

    async def call(self, tool: str, arguments: Document, progress: Any = None) -> tuple[Document, list[str]]:
        """The result and warnings of one call. Raises Refused."""
        while True:
            answer = await pipeline.call(self.app, tool, arguments, self._caller, progress)
            if answer["ok"]:
                return answer["result"], answer["warnings"]
            if answer["error"]["code"] != "RATE_LIMITED":
                raise Refused(answer["error"])
            await anyio.sleep(answer["error"]["retry_after_s"])

    async def finish(self, run: Document, text: str) -> Document:
        """Wait for the end of a run behind a progress bar that shows what the run itself reports. Raises Refused."""
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._err, transient=True, disable=not self._err.is_terminal) as bar:
            task = bar.add_task(text, total=None)

            async def told(done: float, total: float | None, words: str) -> None:
                bar.update(task, completed=done, total=total, description=f"{text}: {words}")

            while "poll_after_s" in run:
                run, _ = await self.call("get_run_status", {"run_id": run["run_id"], "wait_s": 25}, told)
        if "result" not in run:
            raise Refused(run.get("error") or body("RUN_FAILED", f"{run['run_id']} was {run['state'].lower()}"))
        return run


async def _answers(desk: Desk, request: ForecastRequest, say: Callable[..., None]) -> Answers:
    roles = {**dict.fromkeys(request.known, "known_future"), **dict.fromkeys(request.past, "historical")}
    corrections = [{"name": name, "role": role} for name, role in roles.items()]
    arguments = {"path": str(request.file), **request.columns, **({"covariates": corrections} if corrections else {})}
    future = None if request.future is None else rows_of(existing(request.future, "future"))
    dataset, warnings = await desk.call("register_dataset", arguments)
    say(report.data_report(dataset))
    say(report.warning_lines(warnings))
    if future is not None:
        desk.app.engine.datasets.require_future(dataset["dataset_id"], future, request.horizon)
    given = {name: getattr(request, name) for name in ("season_length", "test_windows", "budget", "holidays")}
    given["label_asof"] = dataset["observed"]["last"] if dataset.get("observed") else None
    wanted = {name: value for name, value in given.items() if value is not None}
    train = partial(_train, desk, {"dataset_id": dataset["dataset_id"], "horizon": request.horizon, **wanted}, say)
    training = await train(target_only=request.target_only)
    serving = training["result"]["serving"]
    needed = serving["needs_future"]
    required = [name for name in needed if name not in serving.get("optional_future", ())]
    if required and future is None and dataset["future_steps"] < request.horizon:
        say(_retraining(training["result"], dataset["future_steps"]))
        training, needed = await train(target_only=True), []
    say(report.tried_report(training["result"]))
    say(report.trust_report(training["result"]["trust"]))
    say(report.gate_report(training["result"]["gate"]))
    if typed_next := _after_gate(training, request.typed):
        # To be copied as it stands: a command that the width of a terminal breaks is two.
        say(Text(f"  next: {typed_next}", style="dim"), soft_wrap=True)
    if future is not None and not needed:
        say(report.warning_lines(["the chosen model reads no covariates, so the rows of --future were not used"]))
    ahead: Document = {"run_id": training["run_id"], **({"future": future} if needed and future else {})}
    ahead |= {"levels": list(request.levels)} if request.levels else {}
    return Answers(dataset, training, await _forecast(desk, ahead))


async def _train(desk: Desk, wanted: Document, say: Callable[..., None], *, target_only: bool) -> Document:
    run, warnings = await desk.call("run_training", {**wanted, **({"covariates": []} if target_only else {})})
    say(report.warning_lines([w for w in warnings if "season" in w]))
    return await desk.finish(run, "training")


async def _forecast(desk: Desk, arguments: Document) -> Document:
    """The whole forecast, page by page."""
    run, _ = await desk.call("run_inference", arguments)
    run = await desk.finish(run, "forecasting")
    page: Document = {"has_more": True}
    series: dict[str, Document] = {}
    while page["has_more"]:
        cursor = {"cursor": page["next_cursor"]} if "next_cursor" in page else {}
        run, _ = await desk.call("get_run_status", {"run_id": run["run_id"], "limit": 1000, **cursor})
        page = run["result"]
        for part in page["series"]:
            known = series.setdefault(part["unique_id"], {})
            known |= {n: known.get(n, []) + v if isinstance(v, list) else v for n, v in part.items()}
    return {**page, "run_id": run["run_id"], "series": list(series.values())}


def _show(answers: Answers, request: ForecastRequest, desk: Desk, out: Console) -> None:
    forecast = answers.forecast
    pictures = _pictures(desk.app, answers)
    if request.csv is not None:
        write_csv(request.csv, forecast)
    if request.plot is not None:
        _draw(answers, pictures, request.plot)
    if request.json:
        print(json.dumps({"dataset": answers.dataset, "training": answers.training, "forecast": forecast}))
        return
    from mcp_forecast.commands.chart import legend, terminal_chart

    out.print(report.forecast_report(forecast))
    if forecast["warnings"]:
        out.print(report.warning_lines(forecast["warnings"]))
    if len(pictures) < len(forecast["series"]) or len(pictures) > 1:
        out.print(f"\n  the chart shows {pictures[0].name!r}", markup=False)
    out.print()
    out.print(terminal_chart(pictures[0], width=out.width), legend(pictures[0]), sep="\n")
    made = [f"written: {path}" for path in (request.plot, request.csv) if path is not None]
    kept = f"training {answers.training['run_id']} is kept in {desk.app.settings.home}"
    out.print("", *made, kept, sep="\n", markup=False, style="dim")


def _draw(answers: Answers, pictures: list[SeriesPicture], path: Path) -> None:
    from mcp_forecast.commands.picture import draw_png

    steps, target = answers.forecast["horizon"], answers.dataset["target"]
    draw_png(
        pictures,
        path,
        title=f"{target}: forecast of the next {steps} steps",
        subtitle=report.verdict_line(answers.forecast["trust"]),
        x=answers.dataset["time"],
        y=target,
    )


def _pictures(app: App, answers: Answers) -> list[SeriesPicture]:
    """The first series with the end of their history, read from the stored dataset."""
    from mcp_forecast.commands.picture import PANELS, picture_of
    from mcp_forecast_engine.data.dataset import decode
    from mcp_forecast_engine.data.profile import time_text

    frame = decode(app.engine.artifacts.get(answers.dataset["digest"])).newest
    steps = min(max(3 * answers.forecast["horizon"], 2 * answers.dataset["season_length"], 40), 400)
    pictures = []
    for series in answers.forecast["series"][:PANELS]:
        number = frame.unique_id.index(series["unique_id"])
        rows = slice(int(frame.offsets[number]), int(frame.offsets[number + 1]))
        known = [(int(at), float(y)) for at, y in zip(frame.ds[rows], frame.y[rows], strict=True)]
        while known[-1][1] != known[-1][1]:  # rows after the last target carry covariates only
            known.pop()
        history_ds = [time_text(at, frame.axis) for at, _ in known[-steps:]]
        history = [y for _, y in known[-steps:]]
        pictures.append(picture_of(series, answers.forecast["levels"], history_ds=history_ds, history=history))
    return pictures


def _retraining(training: Document, known_steps: int) -> Text:
    needed, horizon = training["serving"]["needs_future"], training["serving"]["horizon"]
    return Text("\nTrained again on the target alone: ", style="yellow").append(
        f"the best model reads {', '.join(needed)} for the next {horizon} steps, and the file has {known_steps} of "
        f"them{report.covariate_gain(training)}. To use it, add rows after the last target with these columns, or "
        "give them with --future FILE.",
        style="default",
    )


def _after_gate(training: Document, typed: tuple[str, ...]) -> str:
    """What the person types next: publish what passed, or train as the gate proposes; empty where it proposes none."""
    gate = training["result"]["gate"]
    if gate["decision"] == "PASS":
        return f"mcp-forecast bundles publish {training['run_id']}"
    call = gate.get("refinement", {}).get("next_call")
    if call is None:
        return ""
    return shlex.join(("mcp-forecast", *typed, "--budget", call["arguments"]["budget"]))  # the last --budget counts


def _log_file(settings: Settings) -> Path:
    folder = settings.home / "logs"
    folder.mkdir(exist_ok=True)
    return folder / "forecast_command.log"


def _refuse(error: Document, request: ForecastRequest, err: Console) -> int:
    """Say an error where it is looked for: as JSON where answers are, else in words beside them."""
    if request.json:
        print(json.dumps({"error": error}))
    else:
        err.print(_said(error))
    return REFUSED


def _said(error: Document) -> Any:
    field = str(error.get("field", "")).split("[")[0].split(".")[0]
    texts = {name: _in_options(str(error[name])) for name in ("message", "next_step") if name in error}
    told: Document = error | texts
    return report.error_report(told, option=_OPTIONS.get(field, field or None))


def _in_options(text: str) -> str:
    """What tools call `time_zone` or `season_length=1` as the person types it: --time-zone, --season-length 1."""

    def typed(found: re.Match[str]) -> str:
        option = _OPTIONS.get(found[1])
        return found[0] if option is None else f"{option} {found[2]}" if found[2] else option

    return re.sub(r"`(\w+)(?:=(\w+))?`", typed, text)


def _quiet(*_: object, **__: object) -> None:
    """With --json nothing but the document is printed."""

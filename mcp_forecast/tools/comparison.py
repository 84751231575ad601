"""The comparison tool: finished training runs side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mcp_forecast.calls.tool import Call, Outcome, Tool
from mcp_forecast.errors import Refusal
from mcp_forecast.tools.brief import CHARACTERS, brief
from mcp_forecast.tools.length import ROOM, few, first_that_fits, fitted, length
from mcp_forecast_contracts.comparison import COMPARE_RUNS, CompareRunsArguments
from mcp_forecast_contracts.schema import ResponseFormat

if TYPE_CHECKING:
    from mcp_forecast.app import App


@dataclass(frozen=True)
class _Cut:
    """By how much an answer is shortened: names per list, characters per value, fields that differ, metrics paired.

    brief: of the request only dataset and horizon, and only the definitions of what judges.
    """

    names: int
    characters: int
    fields: int
    metrics: tuple[str, ...]
    brief: bool = False


_EVERY: Final = ("MASE", "WQL", "MAE")
_CUTS: Final[dict[ResponseFormat, tuple[_Cut, ...]]] = {
    "concise": (
        _Cut(6, 120, 20, _EVERY),
        _Cut(3, 60, 16, _EVERY),
        _Cut(2, 40, 12, ("MASE", "WQL")),
        _Cut(1, 24, 8, (), brief=True),
    ),
    "detailed": (_Cut(500, 4_000, 1_000, _EVERY), _Cut(50, 400, 200, _EVERY)),
}
_REQUEST: Final = ("dataset_id", "horizon")
_JUDGED: Final = ("MASE", "WQL", "skill")
_SURE: Final = "run_inference with best.run_id"
_UNSURE: Final = "keep the simpler run, or train again with more test_windows or data; do not call one of them better"
_APART: Final = (
    "train the runs with one horizon, on data that ends alike, then compare again; see apart for each reason"
)


def compare(app: App, call: Call, request: CompareRunsArguments) -> Outcome:
    """The comparison, as long as the format allows."""
    run_ids = _baseline_first(request)
    document = app.engine.compare(run_ids)
    refs = {f"run_id_{place}": run_id for place, run_id in enumerate(run_ids)}
    return Outcome(answer_of(document, request.response_format), refs, few(document["warnings"]))


def answer_of(document: dict[str, Any], how: ResponseFormat) -> dict[str, Any]:
    """A comparison (`factory.comparing`) as long as the format allows."""
    cuts = _CUTS[how]
    answer = first_that_fits(lambda at: _shortened(document, cuts[at]), len(cuts), how)
    return _with_details(answer, document) if how == "detailed" else answer


def _baseline_first(request: CompareRunsArguments) -> list[str]:
    """The runs without repeats, the baseline in front; it need not be among them."""
    baseline = request.baseline_run_id or request.run_ids[0]
    run_ids = list(dict.fromkeys([baseline, *request.run_ids]))
    if len(run_ids) < 2:
        raise Refusal(
            "INVALID_ARGUMENTS",
            f"{baseline} is the only run named; two different ones are needed",
            field="run_ids",
            allowed=["2 to 8 different run ids"],
            details={"reason": "ONE_OF"},  # no contract can say this: portable schemas have no uniqueItems
        )
    return run_ids


def _shortened(document: dict[str, Any], cut: _Cut) -> dict[str, Any]:
    best, differences, definitions = (document[name] for name in ("best", "differences", "definitions"))
    shown = {*cut.metrics, best.get("metric")}
    answer = {
        **{name: document[name] for name in ("baseline", "comparable", "apart", "best")},
        "pairs": [line for line in document["pairs"] if line["metric"] in shown],
        "runs": [_run(run, cut) for run in document["runs"]],
        "differences": [
            {**one, "values": [_short(value, cut.characters) for value in one["values"]]}
            for one in differences[: cut.fields]
        ],
        "definitions": {
            name: _short(text, CHARACTERS) for name, text in definitions.items() if name in _JUDGED or not cut.brief
        },
        "next_step": _SURE if best["sure"] else _APART if document["apart"] and not best["by"] else _UNSURE,
    }
    return answer if len(differences) <= cut.fields else {**answer, "differences_total": len(differences)}


def _run(run: dict[str, Any], cut: _Cut) -> dict[str, Any]:
    kept = {name: value for name, value in run.items() if name != "details"}
    if cut.brief:
        kept["request"] = {name: value for name, value in run["request"].items() if name in _REQUEST}
    return {**kept, **brief({name: kept[name] for name in ("covariates", "request")}, most=cut.names)}


def _with_details(answer: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """The same with what is stored of each run, each with an equal share of what room is left."""
    room = (ROOM["detailed"] - length(answer)) // len(answer["runs"])
    whole = [run["details"] for run in document["runs"]]
    return {
        **answer,
        "runs": [
            {**run, "details": fitted(details, "detailed", room=room)}
            for run, details in zip(answer["runs"], whole, strict=True)
        ],
    }


def _short(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[:characters]}… ({len(text)} characters)"


COMPARISON_TOOLS: Final = (Tool(COMPARE_RUNS, read=compare, short=False),)

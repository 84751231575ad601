"""What to try after a failed gate: the next call that may help and was not made yet, or the data that are missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.errors import HistoryTooShort
from mcp_forecast_engine.evaluation.plan import ENOUGH_WINDOWS, plan_for
from mcp_forecast_engine.factory.governance import AnyRule

Arguments = Mapping[str, Any]
Change = Literal["units", "season", "columns", "large"]
SKILLS: Final[tuple[AnyRule, ...]] = ("skill", "skill_low", "skill_worst_step", "skill_worst_group")
_PER_SEARCH: Final = 50  # horizons looked at


@dataclass(frozen=True)
class Room:
    """What another call could change, as the data and this machine allow it.

    exact: what was chosen and the baseline made no error, so no model is better. units: arguments with which the data
    hold windows enough, None where they do now, or nothing helps. season: another one than the data's errs more.
    columns: the data have covariates. absent: the extras of this package, by the library they bring, that are not
    installed.
    """

    exact: bool = False
    units: Arguments | None = None
    season: bool = False
    columns: bool = False
    absent: Mapping[str, str] | None = None


def refinement(failed: list[AnyRule], asked: Arguments, room: Room) -> dict[str, Any]:
    """Which rule to mend first, in the order of the table, what to change, and the call to make next, if one may help.

    asked: the arguments of the training call. A call that was made already is never the next one: each leaves columns
    in, and moves to the large budget or a shorter horizon, but never back.
    """
    if room.exact and (lost := [rule for rule in SKILLS if rule in failed]):
        return {"because": lost[0], "change": _EXACT}
    first = next(rule for rule in REMEDIES if rule in failed)
    changes, text = REMEDIES[first]
    for change in changes:
        if (arguments := _CHANGES[change](asked, room)) is not None and arguments != asked:
            told = _TEXTS[change] + (_extras(room, "") if change == "large" else "")
            return {"because": first, "change": told, "next_call": {"tool": "run_training", "arguments": arguments}}
    return {"because": first, "change": text + (_extras(room, _AGAIN) if "large" in changes else "")}


def more_units(panel: Panel, asked: Arguments, least: float) -> Arguments | None:
    """The arguments with which as many test windows fit: more windows, else the longest shorter horizon; None: none.

    least: windows, or series where there are many; never fewer than an interval needs.
    """
    windows, horizon, given = (
        max(math.ceil(least), ENOUGH_WINDOWS),
        int(asked["horizon"]),
        asked.get("test_windows") or 0,
    )
    if given < windows and _holds(panel, horizon, windows):
        return {"test_windows": windows}
    shorter = range(horizon - 1, 0, -max(horizon // _PER_SEARCH, 1))
    found = next((one for one in shorter if _holds(panel, one, windows)), None)
    return None if found is None else {"horizon": found, "test_windows": max(windows, given)}


def absent_of(extras: Collection[str]) -> dict[str, str]:
    """The extras of this package, by the library they bring, that are not among the libraries at hand."""
    return {library: name for library, name in EXTRAS_OF.items() if library not in extras}


def _holds(panel: Panel, horizon: int, windows: int) -> bool:
    try:
        return plan_for(panel, horizon, test_windows=windows).test_windows >= windows
    except HistoryTooShort:
        return False


def _more_units(asked: Arguments, room: Room) -> Arguments | None:
    return None if room.units is None else {**asked, **room.units}


def _usual_season(asked: Arguments, room: Room) -> Arguments | None:
    return _without(asked, "season_length") if room.season and "season_length" in asked else None


def _with_columns(asked: Arguments, room: Room) -> Arguments | None:
    return _without(asked, "covariates") if room.columns and asked.get("covariates") == [] else None


def _without(asked: Arguments, name: str) -> Arguments:
    return {other: value for other, value in asked.items() if other != name}


def _large(asked: Arguments, room: Room) -> Arguments | None:
    return {**asked, "budget": "large"}


def _extras(room: Room, then: str) -> str:
    """What would be tried beside, were it installed."""
    if not room.absent:
        return ""
    libraries, names = " and ".join(room.absent), ",".join(room.absent.values())
    return f"; {libraries} not installed: pip install 'mcp-forecast[{names}]' lets more models be tried{then}"


EXTRAS_OF: Final = {"lightgbm": "boost", "torch": "train"}
_AGAIN: Final = ", by the same call"
_CHANGES: Final[dict[Change, Callable[[Arguments, Room], Arguments | None]]] = {
    "units": _more_units,
    "season": _usual_season,
    "columns": _with_columns,
    "large": _large,
}
_TEXTS: Final[dict[Change, str]] = {
    "units": "test on more windows, at the longest horizon of which the data hold enough",
    "season": "leave `season_length` out: the usual season of these steps errs less than the one that was asked for",
    "columns": "let the model read the columns of the data: leave `covariates` out",
    "large": "try more models",
}
_EXACT: Final = (
    "nothing can be mended: every tested value was forecast exactly, also by repeating the last season, so there is "
    "nothing to save; use that repetition, or send data that vary"
)
_OTHER_DATA: Final = (
    "register more history, covariates that are known ahead, or ask for a shorter horizon; then train on that dataset"
)
_SMALLER: Final = "ask with budget 'small' if that was not what failed; or for a shorter horizon, or fewer columns"
_MODELS: Final[tuple[Change, ...]] = ("season", "columns", "large")
# By rule, in the order in which they are mended: what another call may change, and what to do where none helps.
REMEDIES: Final[dict[AnyRule, tuple[tuple[Change, ...], str]]] = {
    "leaks": ((), "fill gaps from what came before them (causal), then train again"),
    "replay_difference": ((), "report it: the same work gave other numbers"),
    "coverage": ((), "pass a later label_asof, when more targets are known"),
    "conflicts": (
        (),
        "correct the rows that contradict others and register the data again, or name a label_asof before them",
    ),
    "units": (("units",), "send more history or more series: at no horizon do these data hold windows enough"),
    "skill_low": (("units", *_MODELS), _OTHER_DATA),
    "skill": (_MODELS, _OTHER_DATA),
    "skill_worst_step": (_MODELS, f"ask for a horizon that ends before the worst steps; or {_OTHER_DATA}"),
    "skill_worst_group": (_MODELS, f"train on the worst group by itself; or {_OTHER_DATA}"),
    "coverage_80": (("large",), "send more history, so that intervals rest on more past errors"),
    "coverage_95": (("large",), "send more history, so that intervals rest on more past errors"),
    "active_high": (_MODELS, f"keep the ACTIVE bundle; or {_OTHER_DATA}"),
    "factors": ((), "report it: the model could not be explained"),
    "model_bytes": ((), _SMALLER),
    "latency_ms": ((), _SMALLER),
}

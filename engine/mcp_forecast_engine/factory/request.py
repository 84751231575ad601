"""What a caller asks to train, resolved against the dataset: names checked, defaults spelled out, digests pinned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from mcp_forecast_engine.data.derived import (
    holiday_calendar,
    holiday_names,
    library_release,
    require_days,
    require_free,
)
from mcp_forecast_engine.data.frequency import season_length as usual_season
from mcp_forecast_engine.data.labels import newest_asof, pinned_asof, read_asof
from mcp_forecast_engine.data.shape import shape_of
from mcp_forecast_engine.data.steps import DEFAULT_STEPS, Step, step_to_dict, stepped_frequency
from mcp_forecast_engine.errors import CovariatesMismatch
from mcp_forecast_engine.evaluation.budget import BUDGETS, BudgetName, installed_extras
from mcp_forecast_engine.evaluation.plan import plan_for
from mcp_forecast_engine.factory.inputs import Made, Panels
from mcp_forecast_engine.factory.label_gate import require_labels
from mcp_forecast_engine.factory.plan import PROFILES, TrainingPlan, Wanted, pin_plan
from mcp_forecast_engine.factory.train_request import TargetScope
from mcp_forecast_engine.models.pretrained import at_hand
from mcp_forecast_engine.models.pretrained_folder import PretrainedFolder
from mcp_forecast_engine.store.artifacts import ArtifactStore


@dataclass(frozen=True)
class Asked:
    """What a caller asks a training for.

    covariates: names that may be used; None: every eligible one; (): target only. budget: how much may be tried; the
    optional packages at hand are pinned with it. holidays: code of a calendar ("US", "US-CA") whose days become
    known-future covariates, whatever `covariates` says. label_asof, maturity_days: of data with observed times, which
    values count (`data.labels`).
    """

    dataset_id: str
    horizon: int
    profile: str
    covariates: tuple[str, ...] | None
    season_length: int | None
    test_windows: int | None
    budget: BudgetName = "small"
    holidays: str | None = None
    preprocessing_id: str | None = None
    label_asof: str | None = None
    maturity_days: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The arguments that were given, as JSON values."""
        return {name: _plain(value) for name, value in asdict(self).items() if value is not None}


def resolve(
    summary: dict[str, Any],
    artifacts: ArtifactStore,
    asked: Asked,
    *,
    steps: Sequence[Step] = DEFAULT_STEPS,
    seasons: Sequence[int] = (),
    pretrained: PretrainedFolder | None = None,
    wanted: Wanted,
) -> TrainingPlan:
    """The pinned plan of a training request. Raises CovariatesMismatch, HistoryTooShort, DataInvalid, ArtifactCorrupt,
    CorridorRefused.

    steps: what `preprocessing_id` names; they are pinned, not the name. seasons: those that `run_preprocessing` showed
    these steps with. pretrained: the operator's folder, whose models take part; their digests are pinned. wanted: for
    which scope, by which profile, against which champion, and who asks.
    """
    identity = _identity(summary, asked, steps)
    pins, left_out = at_hand(pretrained or PretrainedFolder(None))
    identity["pretrained"] = pins or None
    told = (*_season_warning(summary, asked.season_length), *_other_season(identity["season_length"], seasons))
    told += _beyond(summary, identity["label_asof"])
    read = partial(Panels().get, identity, artifacts)  # the panel is kept: judged and measured, it is made once
    require_labels(identity, wanted.governance, read)
    warnings = (*left_out, *told, *_admitted(summary, identity, read))
    pinned = {name: value for name, value in identity.items() if value is not None}
    said = {**asked.to_dict(), **_for_whom(wanted)}
    return pin_plan(summary, artifacts, asked=said, identity=pinned, wanted=wanted, warnings=warnings)


def _identity(summary: dict[str, Any], asked: Asked, steps: Sequence[Step]) -> dict[str, Any]:
    """What makes it this training and no other, every default spelled out; None where there is nothing to say."""
    known, freq = sorted(c["name"] for c in summary["covariates"]), stepped_frequency(summary["freq"], steps)
    _require_known(asked.covariates, known)
    return {
        "dataset_id": asked.dataset_id,
        "dataset_digest": summary["digest"],
        "horizon": asked.horizon,
        "season_length": asked.season_length or usual_season(freq),
        "covariates": known if asked.covariates is None else sorted(set(asked.covariates)),
        "test_windows": asked.test_windows,
        "preprocessing": [step_to_dict(step) for step in steps],
        **_means(asked.profile, asked.budget),
        "holidays": None if asked.holidays is None else _holidays(asked.holidays, freq, known, asked.horizon),
        "label_asof": pinned_asof(summary.get("observed"), asked.label_asof, maturity_days=asked.maturity_days),
        "maturity_days": asked.maturity_days,
    }


def _means(profile: str, budget: BudgetName) -> dict[str, Any]:
    """What a training may use: its profile, its budget, and the optional packages that are there."""
    return {
        "profile": {"name": profile, **PROFILES[profile]},
        "budget": {"name": budget, "cpu_s": BUDGETS[budget].cpu_s},
        "extras": list(installed_extras()),
    }


def _for_whom(wanted: Wanted) -> dict[str, str]:
    """What of scope and governance is not the usual, as the arguments that say so."""
    usual = TargetScope().to_dict()
    scope = {name: value for name, value in wanted.scope.to_dict().items() if usual.get(name) != value}
    return scope | ({} if wanted.governance.name == "default" else {"governance_profile": wanted.governance.name})


def _admitted(summary: dict[str, Any], identity: dict[str, Any], read: Callable[[], Made]) -> tuple[str, ...]:
    """What a caller has to know about data that are long enough. Raises HistoryTooShort."""
    extent = _extent(summary, identity, read)
    _require_history(extent, identity, read)
    used = [c for c in summary["covariates"] if c["name"] in identity["covariates"]]
    return _warnings(extent, identity["horizon"], [c["name"] for c in used if c["role"] == "known_future"])


def _require_known(covariates: Sequence[str] | None, known: Sequence[str]) -> None:
    wrong = sorted(set(covariates or ()) - set(known))
    if wrong:
        raise CovariatesMismatch(
            f"the dataset has no covariate {', '.join(wrong)}", field="covariates", allowed=list(known),
            next_step="use names of describe_dataset; left out, all eligible ones; [], none",
        )  # fmt: skip


def _holidays(code: str, freq: str, known: Sequence[str], horizon: int) -> dict[str, Any]:
    """What the plan pins of a calendar: its code as the library writes it, the library's release, how far ahead."""
    require_days(freq)
    calendar = holiday_calendar(code)
    require_free(known, holiday_names(calendar, freq))
    return {"calendar": calendar.code, "library": library_release(), "horizon": horizon}


def _extent(summary: dict[str, Any], identity: dict[str, Any], read: Callable[[], Made]) -> dict[str, Any]:
    """Longest and shortest series and known future steps, and what they are called.

    Rows as registered tell enough about the default steps. Others may shorten the series or leave gaps, so they are
    applied here, and what cannot train is refused before it is queued.
    """
    revised = identity["label_asof"] is not None  # as registered, the rows are the newest
    if identity["preprocessing"] == [step_to_dict(step) for step in DEFAULT_STEPS] and not revised:
        return {**{name: summary[name] for name in ("longest", "shortest", "future_steps")}, "unit": "rows"}
    shape = shape_of(read().panel)
    unit = f"steps of {shape.freq!r} after preprocessing"
    return {"longest": shape.longest, "shortest": shape.shortest, "future_steps": shape.future_steps, "unit": unit}


def _require_history(extent: dict[str, Any], identity: dict[str, Any], read: Callable[[], Made]) -> None:
    """Refuse at once what no step of preprocessing can make long enough; the rest shows when the training prepares it.

    Only then is the data read here: what is allowed goes by what preprocessing leaves of it.
    """
    if extent["longest"] <= identity["horizon"] + 1:
        plan_for(read().panel, identity["horizon"], test_windows=identity["test_windows"])


def _season_warning(summary: dict[str, Any], asked: int | None) -> tuple[str, ...]:
    if asked is not None or summary["season_length"] > 1 or summary["freq"] not in ("1",):
        return ()
    return (
        "the time column counts steps, so no season is assumed and seasonal naive repeats the last value; "
        "say season_length if there is one (12 for months, 24 for hours)",
    )


def _beyond(summary: dict[str, Any], label_asof: str | None) -> tuple[str, ...]:
    """A time after the last observed one asks for what the data cannot say."""
    last = newest_asof(summary)
    if last is None or label_asof is None or read_asof(label_asof) <= read_asof(last):
        return ()
    return (
        f"label_asof {label_asof} is after the last observed time, {last}: nothing says what became known between "
        f"them, and {last} gives the same values",
    )


def _other_season(season: int, shown: Sequence[int]) -> tuple[str, ...]:
    """What was shown before is not what will be done: filling and outliers go by the season."""
    if not shown or season in shown:
        return ()
    told = " and ".join(str(length) for length in shown)
    return (
        f"run_preprocessing showed these steps with season_length {told}; this run has {season}: pass season_length "
        f"{shown[-1]} to train on what was shown",
    )


def _warnings(extent: dict[str, Any], horizon: int, known_future: list[str]) -> tuple[str, ...]:
    """What a caller can mend before the training ends."""
    found = []
    if known_future and extent["future_steps"] < horizon:
        found.append(
            f"the data holds {extent['future_steps']} of {horizon} future steps of {', '.join(known_future[:5])}: "
            "if the model reads them, run_inference will need `future` rows"
        )
    if extent["shortest"] <= horizon + 1 < extent["longest"]:
        found.append(
            f"the shortest series has {extent['shortest']} {extent['unit']}, too few to be tested at horizon {horizon}"
        )
    return tuple(found)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

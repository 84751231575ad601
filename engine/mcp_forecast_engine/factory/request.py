"""What a caller asks to train, resolved against the dataset: names checked, defaults spelled out, digests pinned."""

from __future__ import annotations

from typing import Any

from mcp_forecast_engine.data.frequency import season_length as usual_season
from mcp_forecast_engine.data.steps import DEFAULT_STEPS, step_to_dict
from mcp_forecast_engine.errors import CovariatesMismatch, HistoryTooShort
from mcp_forecast_engine.factory.plan import PROFILES, TrainingPlan, pin_plan


def resolve(
    summary: dict[str, Any],
    *,
    dataset_id: str,
    horizon: int,
    profile: str,
    covariates: tuple[str, ...] | None,
    season_length: int | None,
    test_windows: int | None,
) -> TrainingPlan:
    """The pinned plan of a training request. Raises CovariatesMismatch, HistoryTooShort.

    covariates: names that may be used; None: every eligible one; (): target only.
    """
    known = sorted(c["name"] for c in summary["covariates"])
    wrong = sorted(set(covariates or ()) - set(known))
    if wrong:
        raise CovariatesMismatch(f"the dataset has no covariate {', '.join(wrong)}", field="covariates", allowed=known)
    if summary["longest"] <= horizon + 1:
        raise HistoryTooShort(
            f"the longest series has {summary['longest']} rows; a horizon of {horizon} needs more than {horizon + 1}",
            field="horizon",
            allowed=f"at most {max(summary['longest'] - 2, 1)}",
        )
    given = {"horizon": horizon, "covariates": covariates, "season_length": season_length, "test_windows": test_windows}
    asked = {"dataset_id": dataset_id, "profile": profile, **{n: _plain(v) for n, v in given.items() if v is not None}}
    identity = {
        "dataset_id": dataset_id,
        "dataset_digest": summary["digest"],
        "horizon": horizon,
        "season_length": season_length or usual_season(summary["freq"]),
        "covariates": known if covariates is None else sorted(set(covariates)),
        "test_windows": test_windows,
        "preprocessing": [step_to_dict(step) for step in DEFAULT_STEPS],
        "profile": {"name": profile, **PROFILES[profile]},
    }
    used = [c for c in summary["covariates"] if c["name"] in identity["covariates"]]
    return pin_plan(
        asked=asked,
        identity={n: v for n, v in identity.items() if v is not None},
        warnings=(
            *_season_warning(summary, season_length),
            *_warnings(summary, horizon, [c["name"] for c in used if c["role"] == "known_future"]),
        ),
    )


def _season_warning(summary: dict[str, Any], asked: int | None) -> tuple[str, ...]:
    if asked is not None or summary["season_length"] > 1 or summary["freq"] not in ("1",):
        return ()
    return (
        "the time column counts steps, so no season is assumed and seasonal naive repeats the last value; "
        "say season_length if there is one (12 for months, 24 for hours)",
    )


def _warnings(summary: dict[str, Any], horizon: int, known_future: list[str]) -> tuple[str, ...]:
    """What a caller can mend before the training ends."""
    found = []
    if known_future and summary["future_steps"] < horizon:
        found.append(
            f"the data holds {summary['future_steps']} of {horizon} future steps of {', '.join(known_future[:5])}: "
            "if the model reads them, run_inference will need `future` rows"
        )
    if summary["shortest"] <= horizon + 1 < summary["longest"]:
        found.append(f"the shortest series has {summary['shortest']} rows, too few to be tested at horizon {horizon}")
    return tuple(found)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

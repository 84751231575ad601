"""What a caller asks to forecast, resolved: a finished model, data that fits it, its levels, the future by digest."""

from __future__ import annotations

from typing import Any, Final

from mcp_forecast_engine.errors import CovariatesMismatch, DataInvalid
from mcp_forecast_engine.runtime.run import Run
from mcp_forecast_engine.serving.plan import InferencePlan, pin_plan
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.identity import canonical_bytes

LEVELS: Final = (20, 40, 60, 80, 95)  # intervals between the quantile levels a model carries


def resolve(
    trained: Run,
    document: dict[str, Any],
    summary: dict[str, Any],
    artifacts: ArtifactStore,
    *,
    run_id: str,
    dataset_id: str | None,
    horizon: int | None,
    future: list[dict[str, Any]] | None,
    levels: tuple[int, ...],
) -> InferencePlan:
    """The pinned plan of a forecast request. Raises CovariatesMismatch, DataInvalid."""
    serving = document["serving"]
    steps = horizon or serving["horizon"]
    if steps > serving["horizon"]:
        raise DataInvalid(
            f"horizon {steps} is beyond the {serving['horizon']} steps this model was trained for",
            field="horizon", allowed=f"1 to {serving['horizon']}", next_step="train with the longer horizon",
        )  # fmt: skip
    wrong = sorted(set(levels) - set(LEVELS))
    if wrong:
        raise DataInvalid(f"levels {wrong} are not carried by the model", field="levels", allowed=list(LEVELS))
    _require_same_columns(serving, summary)
    asked = {
        "run_id": run_id, "dataset_id": dataset_id, "horizon": horizon, "levels": list(levels),
        "future_rows": len(future) if future else None,
    }  # fmt: skip
    identity = {
        "model_run_id": trained.run_id,
        "model_digest": serving["model"],
        "training_document": trained.result,
        "dataset_id": summary["dataset_id"],
        "dataset_digest": summary["digest"],
        "horizon": steps,
        "levels": sorted(set(levels)),
        "season_length": trained.plan["season_length"],
        "preprocessing": trained.plan["preprocessing"],
        "covariates": trained.plan["covariates"],
        "future": artifacts.put(canonical_bytes(future)) if future else "",
    }
    return pin_plan(
        asked={name: value for name, value in asked.items() if value is not None},
        identity=identity,
        series_count=summary["series_count"],
    )


def _require_same_columns(serving: dict[str, Any], summary: dict[str, Any]) -> None:
    """Other data must have the columns the model reads, of the same type and role, at the same step."""
    found = {c["name"]: c for c in summary["covariates"]}
    for wanted in serving["covariates"]:
        have = found.get(wanted["name"])
        if have is None or (have["type"], have["role"]) != (wanted["type"], wanted["role"]):
            told = "absent" if have is None else f"{have['type']} {have['role']}"
            raise CovariatesMismatch(
                f"the model reads {wanted['name']!r} as {wanted['type']} {wanted['role']}; in the dataset it is {told}",
                field="dataset_id",
                allowed=[f"{c['name']}: {c['type']} {c['role']}" for c in serving["covariates"]],
                next_step="register data with these columns (`covariates` corrects roles), or train on the new data",
            )
    if summary["freq"] != serving["freq"]:
        raise CovariatesMismatch(
            f"the data steps by {summary['freq']}, the model by {serving['freq']}",
            field="dataset_id", allowed=serving["freq"],
        )  # fmt: skip

"""What a caller asks to forecast, resolved: a finished model, data that fits it, its levels, the future by digest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mcp_forecast_engine.errors import CovariatesMismatch, DataInvalid
from mcp_forecast_engine.runtime.run import Run
from mcp_forecast_engine.serving.plan import InferencePlan, pin_plan
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.identity import canonical_bytes

if TYPE_CHECKING:
    from mcp_forecast_engine.data.schema import DatasetSchema

UNREAD_FUTURE: Final = "the model reads no future covariates; the future rows were not used"
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
    _require_same_target(serving, summary)
    _require_same_covariates(serving, summary)
    _require_same_step(serving, summary)
    read = bool(serving["needs_future"])
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
        "future": artifacts.put(canonical_bytes(future)) if future and read else "",
    }
    return pin_plan(
        asked={name: value for name, value in asked.items() if value is not None},
        identity=identity,
        series_count=summary["series_count"],
        warnings=_warnings(trained, summary),
        remarks=(UNREAD_FUTURE,) if future and not read else (),
    )


def _warnings(trained: Run, summary: dict[str, Any]) -> tuple[str, ...]:
    """What a reader of the forecast has to know about the data it starts from."""
    if summary["dataset_id"] == trained.plan["dataset_id"]:
        return ()
    return (f"trust was measured on dataset {trained.plan['dataset_id']}, not on {summary['dataset_id']}",)


def require_same_columns(serving: dict[str, Any], schema: DatasetSchema) -> None:
    """The data has the target, wide and series columns and the kind of time axis of training. Raises DataInvalid."""
    found = {
        "target": schema.target_text,
        "wide": list(schema.wide),
        "series": list(schema.series),
        "axis": schema.axis.kind,
    }
    _require_equal({name: serving[name] for name in found}, found)


def _require_same_target(serving: dict[str, Any], summary: dict[str, Any]) -> None:
    """The same from a summary alone, before any data is read: it names the first wide columns only."""
    found = {name: summary[name] for name in ("target", "series")}
    _require_equal({name: serving[name] for name in found}, found)


def _require_equal(wanted: dict[str, Any], found: dict[str, Any]) -> None:
    for name, value in wanted.items():
        if found[name] != value:
            raise DataInvalid(
                f"the model forecasts data with {_NAMES[name]} {_told(value)}; the dataset has {_told(found[name])}",
                field="dataset_id",
                allowed=value,
                next_step="register the data again with these columns, or train on the new data",
            )


_NAMES: Final = {"target": "target", "wide": "wide targets", "series": "series columns", "axis": "a time axis of kind"}


def _told(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(repr, value[:20])) or "none"
    return repr(value)


def _require_same_covariates(serving: dict[str, Any], summary: dict[str, Any]) -> None:
    """Other data must have the columns the model reads, of the same type and role."""
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


def _require_same_step(serving: dict[str, Any], summary: dict[str, Any]) -> None:
    """Other data must step as the data of training did: the same preprocessing is applied to it."""
    wanted = serving.get("data_freq", serving["freq"])  # runs of 0.1 did not say it, and never resampled
    if summary["freq"] != wanted:
        raise CovariatesMismatch(
            f"the data steps by {summary['freq']}, that of the model by {wanted}", field="dataset_id", allowed=wanted
        )

"""What a caller asks to forecast, resolved: a finished model, data that fits it, its levels, the future by digest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from mcp_forecast_engine.errors import CovariatesMismatch, DataInvalid
from mcp_forecast_engine.factory.judged import judged_told, judged_warnings
from mcp_forecast_engine.runtime.run import Run
from mcp_forecast_engine.serving.plan import InferencePlan, pin_plan
from mcp_forecast_engine.serving.served import BY_RUN, ServedBy, gate_warnings
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.identity import canonical_bytes

if TYPE_CHECKING:
    from mcp_forecast_engine.data.schema import DatasetSchema
    from mcp_forecast_engine.models.features import Layout

UNREAD_FUTURE: Final = "the model reads no future covariates; the future rows were not used"
LEVELS: Final = (20, 40, 60, 80, 90, 95)  # intervals between the quantile levels a model carries

EXPLAINED_SERIES: Final = 50  # at most: each is forecast hundreds of times


def resolve(
    trained: Run,
    document: dict[str, Any],
    summary: dict[str, Any],
    artifacts: ArtifactStore,
    *,
    run_id: str | None = None,
    served: ServedBy = BY_RUN,
    dataset_id: str | None,
    horizon: int | None,
    future: list[dict[str, Any]] | None,
    levels: tuple[int, ...],
    explain: bool = False,
) -> InferencePlan:
    """The pinned plan of a forecast request. served: how the run was found. Raises CovariatesMismatch, DataInvalid."""
    serving = document["serving"]
    steps = horizon or serving["horizon"]
    _require_within(steps, serving)
    require_known_levels(levels)
    _require_same_data(serving, summary)
    _require_few(summary, explain)
    asked = {
        "run_id": run_id, **served.asked, "dataset_id": dataset_id, "horizon": horizon, "levels": list(levels),
        "future_rows": len(future) if future else None, "explain": explain or None,
    }  # fmt: skip
    read = bool(serving["needs_future"])
    said = artifacts.put(canonical_bytes(future)) if future and read else ""
    wanted = {"horizon": steps, "levels": sorted(set(levels)), "future": said, **({"explain": True} if explain else {})}
    return pin_plan(
        asked={name: value for name, value in asked.items() if value is not None},
        identity={**_pinned(trained, summary, serving["model"]), **wanted, **served.identity},
        series_count=summary["series_count"],
        warnings=(*gate_warnings(document), *judged_warnings(document), *_warnings(trained, summary)),
        served_by={**served.to_dict(), **judged_told(document)},
        lasting={**served.lasting, **judged_told(document)},
        remarks=(*served.warnings, *((UNREAD_FUTURE,) if future and not read else ())),
    )


def _pinned(trained: Run, summary: dict[str, Any], model: str) -> dict[str, Any]:
    """What a forecast is made of, whatever is asked of it: the model, the data, and what is done to the data."""
    return {
        "model_run_id": trained.run_id,
        "model_digest": model,
        "training_document": trained.result,
        "dataset_id": summary["dataset_id"],
        "dataset_digest": summary["digest"],
        "season_length": trained.plan["season_length"],
        "preprocessing": trained.plan["preprocessing"],
        "covariates": trained.plan["covariates"],
        **_holidays(trained),
        **_labels(trained, summary),
    }


def _require_within(steps: int, serving: dict[str, Any]) -> None:
    if steps > serving["horizon"]:
        raise DataInvalid(
            f"horizon {steps} is beyond the {serving['horizon']} steps this model was trained for",
            field="horizon", allowed=f"1 to {serving['horizon']}", next_step="train with the longer horizon",
        )  # fmt: skip


def _require_same_data(serving: dict[str, Any], summary: dict[str, Any]) -> None:
    """What a summary tells of the data is what the model was trained on: target, covariates and step."""
    _require_same_target(serving, summary)
    _require_same_covariates(serving, summary)
    _require_same_step(serving, summary)


def require_known_levels(asked: Sequence[int]) -> None:
    """Levels that some model carries: which ones a model does, it says itself. Raises DataInvalid."""
    wrong = sorted(set(asked) - set(LEVELS))
    if wrong:
        raise DataInvalid(
            f"levels {wrong} are not carried by any model", field="levels", allowed=list(LEVELS),
            next_step="ask for some of these levels: per cent that an interval covers",
        )  # fmt: skip


def _warnings(trained: Run, summary: dict[str, Any]) -> tuple[str, ...]:
    """What a reader of the forecast has to know about the data it starts from."""
    found = []
    if summary["dataset_id"] != trained.plan["dataset_id"]:
        found.append(f"trust was measured on dataset {trained.plan['dataset_id']}, not on {summary['dataset_id']}")
    pinned, now = trained.plan.get("holidays"), _holidays(trained).get("holidays")
    if pinned != now and pinned is not None and now is not None:
        found.append(f"holidays are those of release {now['library']}; training had {pinned['library']}")
    return tuple(found)


def _holidays(trained: Run) -> dict[str, Any]:
    """The calendar that the model was trained with, of the library's release at hand; nothing where it had none."""
    pinned = trained.plan.get("holidays")
    if pinned is None:
        return {}
    from mcp_forecast_engine.data.derived import library_release  # numpy: only where it is needed

    return {"holidays": {**pinned, "library": library_release()}}


def _labels(trained: Run, summary: dict[str, Any]) -> dict[str, Any]:
    """As of when revised data is read: its own dataset as in training, another one as it stands now."""
    if summary.get("observed") is None:
        return {}
    if summary["dataset_id"] != trained.plan["dataset_id"]:
        return {"label_asof": summary["observed"]["last"]}
    pinned = {name: trained.plan.get(name) for name in ("label_asof", "maturity_days")}
    return {name: value for name, value in pinned.items() if value is not None}


def require_levels(asked: Sequence[int], carried: Sequence[float]) -> None:
    """The model has the quantiles of these intervals: files of 0.2 have none for 90 %. Raises DataInvalid."""
    wrong = [level for level in asked if round((100 - level) / 200, 4) not in carried]
    if wrong:
        raise DataInvalid(
            f"levels {wrong} are not carried by this model",
            field="levels",
            allowed=[level for level in LEVELS if round((100 - level) / 200, 4) in carried],
            next_step="ask for other levels, or train again",
        )


def require_same_columns(serving: dict[str, Any], schema: DatasetSchema) -> None:
    """The data has the target, wide and series columns and the kind of time axis of training. Raises DataInvalid."""
    found = {
        "target": schema.target_text,
        "wide": list(schema.wide),
        "series": list(schema.series),
        "axis": schema.axis.kind,
    }
    _require_equal({name: serving[name] for name in found}, found)
    if "zone" in serving:  # the hours of another wall clock would be read as the hours of this one
        _require_equal({"zone": serving["zone"]}, {"zone": schema.zone or "none"})


def require_inputs(serving: dict[str, Any], layout: Layout) -> None:
    """The model reads the inputs that its training result names, in that order. Raises CovariatesMismatch."""
    from mcp_forecast_engine.data.input_spec import input_spec, read_input_spec, require_same_inputs

    if "input_spec" in serving:  # results of older releases have none
        require_same_inputs(read_input_spec(serving["input_spec"]), input_spec(layout, target=serving["target"]))


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


_NAMES: Final = {
    "target": "target", "wide": "wide targets", "series": "series columns", "axis": "a time axis of kind",
    "zone": "the wall clock of zone",
}  # fmt: skip


def _told(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(repr, value[:20])) or "none"
    return repr(value)


def _require_same_covariates(serving: dict[str, Any], summary: dict[str, Any]) -> None:
    """Other data must have the columns the model reads, of a type and role that serve, complete unless optional.

    An optional column may be absent: it falls back by a named policy. Columns that the model does not read, and the
    order of columns, do not matter.
    """
    found = {c["name"]: c for c in summary["covariates"]}
    derived = serving.get("derived", ())
    for wanted in serving["covariates"]:
        have = found.get(wanted["name"])
        if wanted["name"] in derived or (have is None and wanted.get("nullable") and "fallback" in wanted):
            continue
        if have is None or not _serves(wanted, have):
            told = "absent" if have is None else f"{have['type']} {have['role']}"
            raise CovariatesMismatch(
                f"the model reads {wanted['name']!r} as {wanted['type']} {wanted['role']}; in the dataset it is {told}",
                field="dataset_id",
                allowed=[f"{c['name']}: {c['type']} {c['role']}" for c in serving["covariates"]],
                next_step="register data with these columns (`covariates` corrects roles), or train on the new data",
            )
        _require_complete(wanted, have, summary)


def _serves(wanted: dict[str, Any], have: dict[str, Any]) -> bool:
    """Whether a column can be read as the trained one: few rows may hold only 0 and 1 of a number, or one value."""
    kind = have["type"] == wanted["type"] or (have["type"], wanted["type"]) == ("boolean", "numeric")
    return kind and (have["role"] == wanted["role"] or wanted["role"] == "historical")


def _require_complete(wanted: dict[str, Any], have: dict[str, Any], summary: dict[str, Any]) -> None:
    """A column that training never lacked is required: its history may not lack values either."""
    missing = summary["covariate_stats"].get(wanted["name"], {}).get("missing", 0)
    if wanted.get("nullable", True) or not have["nullable"] or not missing:  # older results did not say
        return
    raise CovariatesMismatch(
        f"covariate {wanted['name']!r} is required, and was complete in training; the dataset lacks {missing} values",
        field="dataset_id",
        allowed=f"a value of {wanted['name']!r} in every row",
        next_step="complete it; or train on data that declares it nullable (`covariates` of register_dataset)",
    )


def _require_same_step(serving: dict[str, Any], summary: dict[str, Any]) -> None:
    """Other data must step as the data of training did: the same preprocessing is applied to it."""
    wanted = serving.get("data_freq", serving["freq"])  # runs of 0.1 did not say it, and never resampled
    if summary["freq"] != wanted:
        raise CovariatesMismatch(
            f"the data steps by {summary['freq']}, that of the model by {wanted}", field="dataset_id", allowed=wanted,
            next_step=f"register data that steps by {wanted}, or train a model on this data",
        )  # fmt: skip


def _require_few(summary: dict[str, Any], explain: bool) -> None:
    """An explanation forecasts every series hundreds of times: it is for some series, not for all of many."""
    if explain and summary["series_count"] > EXPLAINED_SERIES:
        raise DataInvalid(
            f"the dataset has {summary['series_count']} series; at most {EXPLAINED_SERIES} are explained at once",
            field="explain",
            allowed=f"datasets of at most {EXPLAINED_SERIES} series",
            next_step="leave `explain` out; or register a dataset of the series in question and pass it as dataset_id",
        )

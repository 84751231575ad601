"""In what runs differ: every field of their configuration that is not the same in all, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from mcp_forecast_engine.data.frame import TimeAxis
from mcp_forecast_engine.data.profile import time_text

if TYPE_CHECKING:
    from mcp_forecast_engine.factory.comparing import TrainedRun

NOT_SET: Final = "not set"
# A dataset's digest differs when its id does; what was asked is in the other fields, resolved.
_SAID_ELSEWHERE: Final = frozenset({"asked", "kind", "dataset_digest", "request", "refs", "work_key"})


def differences(runs: Sequence[TrainedRun]) -> list[dict[str, Any]]:
    """Each differing field with the value of every run as text, in the order of the runs.

    Of lists of names only those that are not in all runs are given; `shared` counts the others.
    """
    tables = [_configuration(run) for run in runs]
    fields = list(dict.fromkeys(field for table in tables for field in table))
    found = [(field, [table.get(field) for table in tables]) for field in fields]
    return [_difference(field, values) for field, values in found if any(value != values[0] for value in values)]


def _difference(field: str, values: list[Any]) -> dict[str, Any]:
    lists = [set(value) for value in values if _is_names(value)]
    if len(lists) < len(values):
        return {"field": field, "values": [_text(value) for value in values]}
    shared = set.intersection(*lists)
    own = [", ".join(name for name in value if name not in shared) or "none besides" for value in values]
    return {"field": field, "values": own if shared else [", ".join(value) or "none" for value in values],
            "shared": len(shared)}  # fmt: skip


def _configuration(run: TrainedRun) -> dict[str, Any]:
    plan = {name: value for name, value in run.plan.items() if name not in _SAID_ELSEWHERE}
    asked = {name: run.plan["asked"][name] for name in ("preprocessing_id",) if name in run.plan["asked"]}
    arm, evaluation = run.arm, run.evaluation
    axis = TimeAxis(run.document["serving"]["axis"], run.document["serving"]["freq"])
    return {
        **_flat(plan),
        **asked,
        "chosen": arm["name"],
        "family": arm["family"],
        "reads": arm["covariates"],
        **_flat({"settings": arm["settings"]}),
        "series_tested": evaluation["series"],
        "windows.test": evaluation["plan"]["test_windows"],
        "windows.stride": evaluation["plan"]["stride"],
        "windows.first_step": time_text(evaluation["first_test_ds"], axis),
        "windows.last_step": time_text(evaluation["last_test_ds"], axis),
    }


def _flat(value: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Every field under its path; objects in a list by their place, so that only what differs in them is told."""
    found: dict[str, Any] = {}
    for name, inner in value.items():
        if isinstance(inner, list) and inner and all(isinstance(one, Mapping) for one in inner):
            inner = {str(place): one for place, one in enumerate(inner)}
        found |= _flat(inner, f"{path}{name}.") if isinstance(inner, Mapping) else {f"{path}{name}": inner}
    return found


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _text(value: Any) -> str:
    if value is None:
        return NOT_SET
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)

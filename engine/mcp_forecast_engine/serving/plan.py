"""A forecast request resolved into a pinned plan: which model, which data, which future, by digest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from mcp_forecast_engine import ENGINE_RELEASE
from mcp_forecast_engine.store.identity import digest, short_id

INFER_RECIPE: Final = "infer_run_key.v1"


@dataclass(frozen=True)
class InferencePlan:
    """What an inference run will do. body: canonical JSON. result: digest of the forecast, if computed inline."""

    run_id: str
    run_key: str
    body: dict[str, Any]
    dataset_id: str
    series_count: int
    warnings: tuple[str, ...] = ()
    kind: str = "inference"
    result: str | None = None


def pin_plan(
    *, asked: dict[str, Any], identity: dict[str, Any], series_count: int, warnings: tuple[str, ...] = ()
) -> InferencePlan:
    """The plan of a resolved request."""
    whole = {**identity, "kind": "inference", "engine_release": ENGINE_RELEASE}
    run_key = digest(INFER_RECIPE, whole)
    dataset_id = str(identity["dataset_id"])
    return InferencePlan(
        short_id("run", run_key), run_key, {**whole, "asked": asked}, dataset_id, series_count, warnings
    )

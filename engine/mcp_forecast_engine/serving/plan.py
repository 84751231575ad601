"""A forecast request resolved into a pinned plan: which model, which data, which future, by digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mcp_forecast_engine import ENGINE_RELEASE
from mcp_forecast_engine.registry.scope import without_scope
from mcp_forecast_engine.store.identity import digest, short_id

INFER_RECIPE: Final = "infer_run_key.v1"


@dataclass(frozen=True)
class InferencePlan:
    """What an inference run will do. body: canonical JSON. result: digest of the forecast, if computed inline.

    `body["asked"]`, `body["served_by"]` and `body["warnings"]` are no identity; the latter follow from it and go into
    the forecast. asked, served_by: what this call named, and how its model was found. The next call for the same
    forecast may name another scope and find it otherwise, so that the body holds neither.
    """

    run_id: str
    run_key: str
    body: dict[str, Any]
    dataset_id: str
    series_count: int
    warnings: tuple[str, ...] = ()
    kind: str = "inference"
    result: str | None = None
    asked: Mapping[str, Any] = field(default_factory=dict)
    served_by: Mapping[str, Any] = field(default_factory=dict)


def pin_plan(
    *,
    asked: dict[str, Any],
    identity: dict[str, Any],
    series_count: int,
    served_by: Mapping[str, Any] | None = None,
    lasting: Mapping[str, Any] | None = None,
    warnings: tuple[str, ...] = (),
    remarks: tuple[str, ...] = (),
) -> InferencePlan:
    """The plan of a resolved request. warnings: about the forecast; remarks: about this request only.

    served_by: how this call found the model; lasting: what of it holds for everybody.
    """
    whole = {**identity, "kind": "inference", "engine_release": ENGINE_RELEASE}
    run_key = digest(INFER_RECIPE, whole)
    dataset_id = str(identity["dataset_id"])
    kept = {"asked": without_scope(asked), "served_by": dict(lasting or {"by": "run"}), "warnings": list(warnings)}
    return InferencePlan(
        short_id("run", run_key), run_key, {**whole, **kept}, dataset_id, series_count, (*warnings, *remarks),
        asked=asked, served_by=served_by or {"by": "run"},
    )  # fmt: skip

"""A training request resolved into a pinned plan: every reference a digest, every default spelled out, one run key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from mcp_forecast_engine import ENGINE_RELEASE
from mcp_forecast_engine.store.identity import digest, short_id

TRAIN_RECIPE: Final = "train_run_key.v1"
# Named sets of training choices, by revision; the plan carries the whole set, so a changed profile is another run.
PROFILES: Final[dict[str, dict[str, Any]]] = {
    "default": {
        "revision": "2",
        "chooser": "auto",
    },
}


@dataclass(frozen=True)
class TrainingPlan:
    """What a training run will do. body: canonical JSON; `body["asked"]` is what the caller typed, no identity."""

    run_id: str
    run_key: str
    body: dict[str, Any]
    warnings: tuple[str, ...] = ()
    kind: str = "training"
    result: str | None = None


def pin_plan(*, asked: dict[str, Any], identity: dict[str, Any], warnings: tuple[str, ...] = ()) -> TrainingPlan:
    """The plan of a resolved request; requester, key and wording stay out of its identity."""
    whole = {**identity, "kind": "training", "engine_release": ENGINE_RELEASE}
    run_key = digest(TRAIN_RECIPE, whole)
    return TrainingPlan(short_id("run", run_key), run_key, {**whole, "asked": asked}, warnings)

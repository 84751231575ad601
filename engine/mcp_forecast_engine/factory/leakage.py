"""The guards over a finished evaluation, one after the other: its windows, its work done again blind, its figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.errors import ArtifactCorrupt
from mcp_forecast_engine.evaluation.budget import Budget
from mcp_forecast_engine.evaluation.champion import ACTIVE
from mcp_forecast_engine.evaluation.plan import BacktestPlan, origins_of
from mcp_forecast_engine.evaluation.predictions import read_predictions
from mcp_forecast_engine.evaluation.report import read_arm
from mcp_forecast_engine.factory.governance import Replay
from mcp_forecast_engine.factory.guard import GuardResult
from mcp_forecast_engine.factory.leakage_blind import Source, check_blind, unread
from mcp_forecast_engine.factory.leakage_evidence import check_evidence
from mcp_forecast_engine.factory.leakage_windows import check_windows

STAGE: Final = "leakage"  # of `stage_seed`


@dataclass(frozen=True)
class Checked:
    """What the guards windows, blind and evidence found. replay_difference: see `Blind`."""

    guards: tuple[GuardResult, ...]
    replay_difference: float


def check_evaluation(
    source: Source,
    panel: Panel,
    document: Mapping[str, Any],
    predictions: bytes,
    *,
    budget: Budget,
    depth: Replay,
    seed: int,
    cores: int = 1,
) -> Checked:
    """The guards over an evaluation as stored: `evaluation.json` as values, and its predictions as Parquet.

    panel: with the roles that the run used. seed: of the noise, `stage_seed(run_key, STAGE, plan.BASE_SEED)`.
    """
    plan = BacktestPlan(**document["plan"])
    arms = [read_arm(arm) for arm in document["arms"] if arm["name"] in (document["chosen"], ACTIVE)]
    windows = check_windows(plan, origins_of(panel, plan), panel, arms)
    evidence = check_evidence(document, predictions, panel, source.frame)
    try:
        stored = read_predictions(predictions)
        blind = check_blind(
            source, panel, document, stored, seed=seed, budget=budget, whole=depth == "choice", cores=cores
        )
    except ArtifactCorrupt as refusal:
        blind = unread(f"there is nothing to compare with: {refusal}")
    return Checked((windows, blind.guard, evidence), blind.replay_difference)

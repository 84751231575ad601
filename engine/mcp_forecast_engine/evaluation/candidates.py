"""The arms of a backtest: which family, reading what; all of them see the same windows."""

from __future__ import annotations

from dataclasses import dataclass

from mcp_forecast_engine.data.frame import Panel, Role

BASELINE = "seasonal_naive"
TARGET_ONLY = "target_only"


@dataclass(frozen=True)
class Candidate:
    """One arm: its name in the report, the model family, and the roles of the covariates it may read."""

    name: str
    family: str
    roles: tuple[Role, ...] = ()


def default_candidates(panel: Panel) -> tuple[Candidate, ...]:
    """Seasonal naive, ridge on the target alone, ridge with known-future and static covariates, and with all of them.

    Past-only covariates get an arm of their own: on real data they hurt as often as they help.
    """
    roles = set(panel.roles.values())
    arms = [Candidate(BASELINE, "seasonal_naive"), Candidate(TARGET_ONLY, "direct_ridge")]
    if roles & {"known_future", "static"}:
        arms.append(Candidate("with_covariates", "direct_ridge", ("known_future", "static")))
    if "historical" in roles:
        arms.append(Candidate("with_all_covariates", "direct_ridge", ("known_future", "historical", "static")))
    return tuple(arms)

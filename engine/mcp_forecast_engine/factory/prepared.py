"""What a plan trains on, read and prepared: one code for the training and for what checks it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from mcp_forecast_engine.data.dataset import Dataset, decode
from mcp_forecast_engine.data.demotion import close_to_target, demoted
from mcp_forecast_engine.data.derived import derived_names
from mcp_forecast_engine.data.frame import Panel, Vintages
from mcp_forecast_engine.data.given import given_steps
from mcp_forecast_engine.data.labels import Coverage
from mcp_forecast_engine.data.steps import PreprocessingReport
from mcp_forecast_engine.data.vintages import Unsent, flattering, told, vintages_of
from mcp_forecast_engine.evaluation.baseline import with_baseline
from mcp_forecast_engine.evaluation.plan import BacktestPlan, origins_of, plan_for
from mcp_forecast_engine.factory.inputs import Panels, shaped
from mcp_forecast_engine.store.artifacts import ArtifactStore


@dataclass(frozen=True)
class Prepared:
    """What a plan trains on: its panel in the roles that the horizons allow, and what has to be said about it.

    dataset: as it was known at the plan's as-of time, and how much that was (None: nothing is revised); dataset_digest:
    of its bytes as registered.
    """

    panel: Panel
    report: PreprocessingReport
    dataset: Dataset
    dataset_digest: str
    coverage: Coverage | None
    windows: BacktestPlan
    cautions: tuple[str, ...]
    demotions: tuple[str, ...]

    def registered(self, artifacts: ArtifactStore) -> Dataset:
        """The dataset with all its revisions, from its bytes. Raises ArtifactCorrupt."""
        return decode(artifacts.get(self.dataset_digest))


def prepare(plan: dict[str, Any], artifacts: ArtifactStore) -> Prepared:
    """Read and prepare the data of a plan. Raises ArtifactCorrupt, DataInvalid, HistoryTooShort, CorridorRefused."""
    panel, report, dataset, coverage = Panels().get(plan, artifacts)
    windows = plan_for(panel, plan["horizon"], test_windows=plan.get("test_windows"))
    derived = derived_names(plan, panel.axis.freq)
    given = {name: given_steps(dataset.frame, panel, name) for name in panel.roles if name in dataset.frame.covariates}
    roles, demotions = demoted(panel, origins_of(panel, windows), plan["horizon"], keep=derived, given=given)
    panel = replace(panel, roles=roles)
    cautions = (*report.cautions, *close_to_target(panel, keep=derived))
    if coverage is not None:
        vintages, unsent = _vintages(plan, artifacts, dataset, panel, windows)
        panel = replace(panel, vintages=vintages)
        report = replace(report, warnings=(*report.warnings, *told(panel, origins_of(panel, windows), unsent)))
        cautions = (*cautions, *flattering(unsent))
    windows = with_baseline(panel, windows, origins_of(panel, windows))
    return Prepared(panel, report, dataset, plan["dataset_digest"], coverage, windows, cautions, tuple(demotions))


def _vintages(
    plan: dict[str, Any], artifacts: ArtifactStore, stood: Dataset, panel: Panel, windows: BacktestPlan
) -> tuple[Vintages | None, dict[str, Unsent]]:
    """What was known at each window, as `vintages_of` tells it of this plan."""
    return vintages_of(
        decode(artifacts.get(plan["dataset_digest"])), stood.frame, panel, origins_of(panel, windows),
        horizon=windows.horizon, maturity_days=plan.get("maturity_days"), rebuild=lambda rows: shaped(rows, plan)[0],
    )  # fmt: skip

"""Steps applied to a dataset to see what they change, before anything is trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mcp_forecast_engine.data.labels import newest_asof
from mcp_forecast_engine.data.shape import PanelShape, shape_of
from mcp_forecast_engine.data.steps import PreprocessingReport, Step, preprocessing_id, step_to_dict
from mcp_forecast_engine.factory.inputs import Panels
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.identity import canonical_bytes


@dataclass(frozen=True)
class PreparedPreprocessing:
    """What steps made of a dataset, stored, but named by no row yet. artifact: digest of the report's bytes."""

    preprocessing_id: str
    dataset_id: str
    rows: int
    report: PreprocessingReport
    artifact: str
    shape: PanelShape

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The steps as JSON values, every default spelled out."""
        return [record.step for record in self.report.steps]


def prepare_preprocessing(
    summary: dict[str, Any], steps: Sequence[Step], season_length: int | None, artifacts: ArtifactStore
) -> PreparedPreprocessing:
    """Apply the steps to a dataset with all its covariates, by the code of training, and store the report.

    season_length: steps per season after the steps; None: the usual one. Of revised rows the newest are shown.
    Raises DataInvalid, ArtifactCorrupt.
    """
    asked = {
        "dataset_digest": summary["digest"],
        "covariates": sorted(c["name"] for c in summary["covariates"]),
        "preprocessing": [step_to_dict(step) for step in steps],
        "season_length": season_length,
        "label_asof": newest_asof(summary),
    }
    panel, report, *_ = Panels().get(asked, artifacts)
    return PreparedPreprocessing(
        preprocessing_id=preprocessing_id(steps),
        dataset_id=summary["dataset_id"],
        rows=summary["rows"],
        report=report,
        artifact=artifacts.put(canonical_bytes(report.to_dict())),
        shape=shape_of(panel),
    )

"""From a dataset's bytes to the panel a plan speaks of; one code for training and serving."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from threading import Lock
from typing import Any, Final

from mcp_forecast_engine.data.dataset import Dataset, decode
from mcp_forecast_engine.data.derived import with_holidays
from mcp_forecast_engine.data.frame import Frame, Panel
from mcp_forecast_engine.data.preprocessing import to_panel
from mcp_forecast_engine.data.steps import PreprocessingReport, steps_from_dicts
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.identity import digest

KEPT: Final = 2  # panels in memory; a server that forecasts again from the same data need not read it again


class Panels:
    """Panels by what they are made of: dataset digest, covariates, preprocessing steps, season and holidays."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: OrderedDict[str, tuple[Panel, PreprocessingReport, Dataset]] = OrderedDict()

    def get(self, plan: dict[str, Any], artifacts: ArtifactStore) -> tuple[Panel, PreprocessingReport, Dataset]:
        """The panel of a plan, what preprocessing changed, and the dataset. Raises ArtifactCorrupt, DataInvalid."""
        names = ("dataset_digest", "covariates", "preprocessing", "season_length")
        holidays = plan.get("holidays")  # absent in plans that derive nothing
        key = digest("panel.v1", {**{name: plan[name] for name in names}, "holidays": holidays})
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        dataset = decode(artifacts.get(plan["dataset_digest"]))
        frame = _with_covariates(dataset.frame, frozenset(plan["covariates"]))
        steps = steps_from_dicts(plan["preprocessing"])
        panel, report = to_panel(frame, steps, plan["season_length"])
        made = (panel if holidays is None else with_holidays(panel, holidays), report, dataset)
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return made


def _with_covariates(frame: Frame, names: frozenset[str]) -> Frame:
    return replace(
        frame,
        covariates={name: values for name, values in frame.covariates.items() if name in names},
        roles={name: role for name, role in frame.roles.items() if name in names},
        categories={name: words for name, words in frame.categories.items() if name in names},
    )

"""From a dataset's bytes to the panel a plan speaks of; one code for training and serving."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from threading import Lock
from typing import Any, Final, NamedTuple

from mcp_forecast_engine.data.dataset import Dataset, decode
from mcp_forecast_engine.data.derived import with_holidays
from mcp_forecast_engine.data.frame import Frame, Panel
from mcp_forecast_engine.data.labels import Coverage, as_of
from mcp_forecast_engine.data.preprocessing import to_panel
from mcp_forecast_engine.data.selection import selected
from mcp_forecast_engine.data.steps import PreprocessingReport, steps_from_dicts
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.identity import digest

KEPT: Final = 2  # panels in memory; a server that forecasts again from the same data need not read it again


# What a panel is made of; the latter are absent in plans that do not ask for them.
_NEEDED: Final = ("dataset_digest", "covariates", "preprocessing", "season_length")
_OPTIONAL: Final = ("holidays", "label_asof", "maturity_days", "filters")


class Made(NamedTuple):
    """A plan's panel, and what it was made of: what preprocessing changed, and the dataset as it was known.

    coverage: how much was known at the plan's as-of time; None where nothing is revised.
    """

    panel: Panel
    report: PreprocessingReport
    dataset: Dataset
    coverage: Coverage | None


class Panels:
    """Panels by what they are made of: dataset digest, as-of time, filters, covariates, steps, season and holidays."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: OrderedDict[str, Made] = OrderedDict()

    def get(self, plan: dict[str, Any], artifacts: ArtifactStore) -> Made:
        """What a plan trains on (see `panel_of`). Raises ArtifactCorrupt, DataInvalid, CorridorRefused."""
        made_of = {**{name: plan[name] for name in _NEEDED}, **{name: plan.get(name) for name in _OPTIONAL}}
        key = digest("panel.v1", made_of)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = panel_of(decode(artifacts.get(plan["dataset_digest"])), plan)
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return made


def panel_of(dataset: Dataset, plan: Mapping[str, Any]) -> Made:
    """The panel that a plan makes of a dataset: what was known as of its time, filtered, by its steps; and the report.

    With them the dataset as it was known then: whoever reads on sees nothing that came later. Raises DataInvalid,
    CorridorRefused.
    """
    known = as_of(dataset, plan.get("label_asof"), maturity_days=plan.get("maturity_days"))
    panel, report = shaped(known.frame, plan)
    if known.coverage is None:
        return Made(panel, report, dataset, None)
    report = replace(report, warnings=(known.coverage.text, *report.warnings))
    return Made(panel, report, replace(dataset, frame=known.frame, observed=None), known.coverage)


def shaped(frame: Frame, plan: Mapping[str, Any]) -> tuple[Panel, PreprocessingReport]:
    """The same of rows that stand, one per series and time: filtered, the plan's covariates, steps and holidays."""
    chosen = _with_covariates(selected(frame, plan.get("filters")), frozenset(plan["covariates"]))
    panel, report = to_panel(chosen, steps_from_dicts(plan["preprocessing"]), plan["season_length"])
    holidays = plan.get("holidays")
    return (panel if holidays is None else with_holidays(panel, holidays)), report


def _with_covariates(frame: Frame, names: frozenset[str]) -> Frame:
    return replace(
        frame,
        covariates={name: values for name, values in frame.covariates.items() if name in names},
        roles={name: role for name, role in frame.roles.items() if name in names},
        categories={name: words for name, words in frame.categories.items() if name in names},
    )

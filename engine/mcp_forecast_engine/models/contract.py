"""The data contract of an exported model: which columns, in which order, at which frequency, how far, how certain."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcp_forecast_engine.data.frame import Panel, TimeAxis
from mcp_forecast_engine.errors import ArtifactCorrupt
from mcp_forecast_engine.models.calibration import CalibratedModel
from mcp_forecast_engine.models.features import Layout
from mcp_forecast_engine.models.forecaster import phases_of
from mcp_forecast_engine.models.spec import QUANTILES

KEY = "mcp_forecast.contract"
FORMAT = 1
# What helps where the bytes are what was stored, and no model that this software can run.
REMAKE = "forecast with another run; or make the same training call in a new home, which trains the model again"


@dataclass(frozen=True)
class Contract:
    """What a model file says about itself.

    layout: columns and lengths. levels: quantile levels of the output. categories: column to its category names, whose
    place is the code. schema: digest of the dataset's schema, as the caller passed it in. phases: places in the season
    of the first forecast step at which all of it answers as tested, () for all. tested: those at which the errors
    behind its intervals were measured, () where that is not known.
    """

    family: str
    layout: Layout
    levels: tuple[float, ...]
    categories: Mapping[str, tuple[str, ...]]
    nonnegative: bool
    schema: str
    phases: tuple[int, ...] = ()
    tested: tuple[int, ...] = ()

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        layout = self.layout
        value = {
            "format": FORMAT,
            "family": self.family,
            "horizon": layout.horizon,
            "lookback": layout.lookback,
            "season_length": layout.season_length,
            "past": layout.past,
            "time": layout.axis.kind,
            "freq": layout.axis.freq,
            "historical": list(layout.historical),
            "known_future": list(layout.known_future),
            "calendar": list(layout.calendar),
            "static": list(layout.static),
            "series": list(layout.series),
            "cov_hist": list(layout.cov_hist),
            "levels": list(self.levels),
            "categories": {name: list(values) for name, values in self.categories.items()},
            "nonnegative": self.nonnegative,
            "schema": self.schema,
            "phases": list(self.phases),
            "tested": list(self.tested),
        }
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def contract_of(model: CalibratedModel, panel: Panel, *, schema: str = "") -> Contract:
    """The contract of a fitted model and the panel it was fitted on."""
    layout = model.layout
    read = {*layout.cov_hist, *layout.static}
    return Contract(
        family=model.path.family,
        layout=layout,
        levels=QUANTILES,
        categories={name: tuple(values) for name, values in sorted(panel.categories.items()) if name in read},
        nonnegative=model.calibration.nonnegative,
        schema=schema,
        phases=phases_of(model.path),
        tested=model.calibration.phases,
    )


def read_contract(text: str) -> Contract:
    """Read a contract back from the model's metadata; raises ArtifactCorrupt where it is not one of ours."""
    try:
        value: dict[str, Any] = json.loads(text)
        if value["format"] != FORMAT:
            raise ArtifactCorrupt(
                f"the model's contract has format {value['format']}, this software reads {FORMAT}",
                next_step="upgrade mcp-forecast, or train the model again with this version",
            )
        layout = Layout(
            horizon=value["horizon"],
            lookback=value["lookback"],
            season_length=value["season_length"],
            past=value["past"],
            axis=TimeAxis(kind=value["time"], freq=value["freq"]),
            historical=tuple(value["historical"]),
            known_future=tuple(value["known_future"]),
            calendar=tuple(value["calendar"]),
            static=tuple(value["static"]),
            series=tuple(value.get("series", ())),
        )
        return Contract(
            family=value["family"],
            layout=layout,
            levels=tuple(value["levels"]),
            categories={name: tuple(values) for name, values in value["categories"].items()},
            nonnegative=value["nonnegative"],
            schema=value["schema"],
            phases=tuple(value.get("phases", ())),  # files of 0.2 answer alike at all of them
            tested=tuple(value.get("tested", ())),
        )
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ArtifactCorrupt("the model carries no readable data contract", next_step=REMAKE) from error

"""Everything that a panel holds as one digest, so that two can be compared whole."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.store.identity import digest, digest_of_bytes


def panel_digest(panel: Panel) -> str:
    """`sha256:<64 hex>` of everything a panel holds: names, roles, times, values, what was measured, the future."""
    future = sorted(panel.future)
    head = {
        "unique_id": list(panel.unique_id),
        "roles": dict(panel.roles),
        "categories": {name: list(words) for name, words in panel.categories.items()},
        "axis": [panel.axis.kind, panel.axis.freq],
        "season_length": panel.season_length,
        "future": {name: list(panel.future[name].shape) for name in future},
        "future_ds": list(panel.future_ds.shape),
    }
    columns = [panel.covariates[name] for name in sorted(panel.covariates)]
    arrays = [panel.offsets, panel.ds, panel.y, panel.observed, *columns, *(panel.future[name] for name in future)]
    named = {"head": head, "arrays": [_bytes_of(values) for values in (*arrays, panel.future_ds)]}
    return digest("panel_content.v1", named)


def _bytes_of(values: NDArray[Any]) -> str:
    """The digest of an array's values, whatever the byte order of the machine; minus zero is zero."""
    plain = values + 0.0 if values.dtype.kind == "f" else values
    return digest_of_bytes(np.ascontiguousarray(plain, plain.dtype.newbyteorder("<")).tobytes())

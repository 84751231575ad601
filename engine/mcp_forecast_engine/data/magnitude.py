"""How large and how small numbers may be, so that what is forecast can be written down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.errors import DataInvalid

# Models give and take float32, which ends at 3.4e38: intervals reach further than the values they come from.
LARGEST: Final = 1e30
# A spread below 1e-12 counts as flat (models/scaling.py), so this is the least that still has one.
SMALLEST: Final = 1e-9


def require_carried(y: NDArray[np.float64]) -> None:
    """Refuse targets that models cannot carry. y: float64, NaN where absent. Raises DataInvalid."""
    most = float(np.max(np.abs(y), where=~np.isnan(y), initial=0.0))
    if SMALLEST <= most <= LARGEST or most == 0:
        return
    found = "as large as" if most > LARGEST else "no larger than"
    raise DataInvalid(
        f"the target has values {found} {most:.3g}; models carry sizes from {SMALLEST:g} to {LARGEST:g}",
        field="target", allowed=f"{SMALLEST:g} to {LARGEST:g}, and 0", next_step="rescale the column",
    )  # fmt: skip


def require_readable(columns: Mapping[str, NDArray[np.float64]]) -> None:
    """Refuse covariates whose values models could only read as infinite. Raises DataInvalid, naming the column."""
    for name, values in columns.items():
        most = float(np.max(np.abs(values), where=~np.isnan(values), initial=0.0))
        if most > LARGEST:
            raise DataInvalid(
                f"covariate {name!r} has values as large as {most:.3g}; models read sizes up to {LARGEST:g}",
                field="covariates", allowed=f"up to {LARGEST:g}", next_step=f"rescale {name!r}, or `drop` it",
            )  # fmt: skip

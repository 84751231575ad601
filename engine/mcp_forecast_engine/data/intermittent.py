"""Targets that are mostly zero at every place of the season: what is usual says little of how much will come."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel

Floats = NDArray[np.float64]

# From this part of zeros on the median is 0.
MOSTLY = 0.5
# Steps at one place of the season that are enough to say how often it is zero.
_ENOUGH = 20


def mostly_zero(panel: Panel) -> float | None:
    """The part of the observed steps that is zero; None unless values are never negative and it is half or more.

    And half or more at every place of the season: output of a solar plant is zero every night, and expected at noon.
    """
    seen, m = panel.observed, max(panel.season_length, 1)
    if not seen.any() or np.any(panel.y[seen] < 0) or not np.any(panel.y[seen] > 0):
        return None
    zero = panel.y[seen] == 0
    # Counted back from the end of each series, where they are likeliest to share their calendar.
    place = (np.repeat(panel.lengths, panel.lengths) - panel.steps)[seen] % m
    count, zeros = np.bincount(place, minlength=m), np.bincount(place, weights=zero, minlength=m)
    known = count >= _ENOUGH
    share = float(zero.mean())
    least = float((zeros[known] / count[known]).min()) if known.any() else share
    return share if min(share, least) >= MOSTLY else None


def sparse(panel: Panel) -> tuple[str, ...]:
    """What to know before reading a forecast of such a target, as a sentence; none for others."""
    share = mostly_zero(panel)
    if share is None:
        return ()
    return (
        f"intermittent: {share:.0%} of the steps are zero, so the median is often 0: read the upper quantiles, and "
        "add up the column `mean`, not medians",
    )

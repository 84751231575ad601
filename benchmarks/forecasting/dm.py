"""Whether one forecast is really better than another (Diebold and Mariano 1995, Harvey, Leybourne, Newbold 1997)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """Mean loss of the first less the second (negative: the first is better), its statistic and two-sided p-value."""

    mean: float
    statistic: float
    p_value: float


def diebold_mariano(first: Floats, second: Floats, *, steps: int = 1) -> Difference:
    """Compare two series of losses, one value per window, in time order.

    steps: how many windows one forecast spans; autocovariances up to steps - 1 count (1: one window after the other,
    as with daily forecasts of a day). The statistic is multiplied by sqrt((n + 1 - 2 h + h (h - 1) / n) / n) and
    compared with Student's t of n - 1 degrees. Raises ValueError for fewer than 3 windows or unequal lengths.
    """
    if len(first) != len(second) or len(first) < 3:
        raise ValueError(f"{len(first)} and {len(second)} losses; send two series of equal length, at least 3 long")
    gap = np.asarray(first, np.float64) - second
    n, mean = len(gap), float(gap.mean())
    around = gap - mean
    covariances = [float(around[k:] @ around[: n - k]) / n for k in range(steps)]
    variance = (covariances[0] + 2 * sum(covariances[1:])) / n
    if variance <= 0:  # nothing differs, or the window of autocovariances is too wide for this series
        return Difference(mean, 0.0 if mean == 0 else math.copysign(math.inf, mean), 1.0 if mean == 0 else math.nan)
    harvey = math.sqrt((n + 1 - 2 * steps + steps * (steps - 1) / n) / n)
    statistic = harvey * mean / math.sqrt(variance)
    return Difference(mean, statistic, student_p(statistic, n - 1))


def student_p(statistic: float, degrees: int) -> float:
    """The two-sided p-value of Student's t; by Simpson's rule on the density, good to 1e-9."""
    reach = abs(statistic)
    log_top = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - 0.5 * math.log(degrees * math.pi)
    x = np.linspace(0.0, reach, 4_001)
    density = np.exp(log_top - (degrees + 1) / 2 * np.log1p(x**2 / degrees))
    weights = np.where(np.arange(len(x)) % 2, 4.0, 2.0)
    weights[[0, -1]] = 1.0
    return float(np.clip(1 - 2 * (density @ weights) * reach / 4_000 / 3, 0.0, 1.0))

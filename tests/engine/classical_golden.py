"""Ten made series, and what statsforecast 2.1.1 forecasts for their next four steps.

Made with `DynamicOptimizedTheta(season_length=m)`, `AutoCES(season_length=m, model="N" if m == 1 else "S")` and
`AutoETS(season_length=m)`, each `.forecast(y=y, h=max(m, 4))["mean"][:4]`, rounded to two decimals.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SEASONS = (1, 4, 12)
STEPS = (24, 60, 120)


def made_series() -> list[tuple[int, NDArray[np.float64]]]:
    """Season and values: a trend, a random walk, noise and, but for every third, a season that grows with the level."""
    draw = np.random.default_rng(10)
    out = []
    for i in range(10):
        m, n = SEASONS[i % 3], STEPS[i % 3] + 3 * i
        t = np.arange(n)
        trend = 100 + (0.8 if i % 2 else -0.2) * t
        season = 1 + 0.2 * np.sin(2 * np.pi * t / m + i) if m > 1 else np.ones(n)
        walk = np.cumsum(draw.normal(size=n)) * (1.0 if i < 6 else 3.0)
        out.append((m, np.maximum((trend + walk) * season + draw.normal(size=n), 5.0)))
    return out


GOLDEN = {
    "theta": [
        [85.37, 84.84, 84.31, 83.76],
        [122.06, 160.59, 153.37, 115.77],
        [47.66, 51.07, 56.85, 61.94],
        [130.82, 131.64, 132.46, 133.27],
        [72.92, 75.5, 99.84, 97.22],
        [194.8, 212.43, 222.32, 223.25],
        [99.37, 99.37, 99.37, 99.37],
        [165.01, 124.91, 122.34, 162.75],
        [61.4, 59.48, 55.52, 50.12],
        [147.91, 148.58, 149.25, 149.92],
    ],
    "ces": [
        [85.57, 85.16, 84.77, 84.37],
        [121.06, 161.39, 154.82, 114.75],
        [45.97, 49.25, 55.53, 59.49],
        [130.59, 131.38, 132.3, 133.16],
        [71.19, 73.48, 98.56, 97.44],
        [201.34, 217.74, 229.64, 228.42],
        [99.43, 99.46, 99.51, 99.54],
        [168.89, 125.12, 123.85, 165.72],
        [69.6, 66.22, 57.8, 52.41],
        [147.95, 149.11, 150.16, 151.31],
    ],
    "ets": [
        [85.84, 85.84, 85.84, 85.84],
        [122.61, 161.55, 154.36, 116.52],
        [46.93, 49.76, 57.23, 61.33],
        [131.94, 132.85, 133.75, 134.66],
        [73.02, 75.48, 99.99, 97.5],
        [199.59, 217.07, 227.6, 228.17],
        [99.34, 99.34, 99.34, 99.34],
        [164.84, 124.88, 122.32, 162.75],
        [66.82, 65.05, 60.06, 52.85],
        [148.28, 149.29, 150.3, 151.32],
    ],
}

"""Whether covariates have left the range that is known of them: bases clamp to it, so they have to be learned again."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# A driver that wanders off is worth following once this part as many steps as are known lie beyond their range.
_BEYOND = 0.01


def have_left(panel: Panel, names: Iterable[str], known: Integers, until: Integers) -> bool:
    """Whether 1 % as many steps as lie before `known` (S) lie beyond their range between `known` and `until` (S).

    Of any of the named covariates; -1 leaves a series out. Clamped to the old range, such a covariate loses its effect.
    """
    old = np.maximum(known, 0)
    new = np.maximum(until, old)
    return any(_beyond(panel, panel.covariates[name], old, new) for name in names)


def _beyond(panel: Panel, values: Floats, old: Integers, new: Integers) -> bool:
    begin = panel.offsets[:-1]
    before = np.concatenate([values[at : at + end] for at, end in zip(begin, old, strict=True)])
    since = np.concatenate([values[at + a : at + b] for at, a, b in zip(begin, old, new, strict=True)])
    if not len(before):
        return False
    return int(((since < before.min()) | (since > before.max())).sum()) > _BEYOND * len(before)

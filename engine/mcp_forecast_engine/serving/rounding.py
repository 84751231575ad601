"""Numbers of a document: as many digits as the model's own arithmetic carries."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_DIGITS: Final = 7  # what float32 carries


def rounded(values: NDArray[np.float64]) -> list[float]:
    """Each value with seven significant digits."""
    return [float(f"{value:.{_DIGITS}g}") for value in values.tolist()]

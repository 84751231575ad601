"""What the kinds of pretrained models are: which columns they read, how far, from what library, at what cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Kind:
    """library: the distribution that loads it. covariates: whether it reads any. patch: steps per token.

    horizon: steps ahead in one pass. unrolled: passes side by side for what lies beyond it. giga_s: CPU seconds of one
    thread for a billion products of a parameter and a token, measured at full size on x86-64 at 2 to 3 GHz.
    """

    library: str
    covariates: bool
    patch: int
    horizon: int
    unrolled: int
    giga_s: float


# Chronos-2 and Chronos-Bolt continue their nine deciles beyond their horizon, TimesFM its median. Bolt reads its
# context with half of its weights; TimesFM answers twice, for the series and for its mirror image.
KINDS: Final = {
    "chronos-2": Kind("chronos-forecasting", covariates=True, patch=16, horizon=1_024, unrolled=9, giga_s=0.025),
    "chronos-bolt": Kind("chronos-forecasting", covariates=False, patch=16, horizon=64, unrolled=9, giga_s=0.014),
    "timesfm-2.5": Kind("transformers", covariates=False, patch=32, horizon=128, unrolled=1, giga_s=0.054),
}
EXTRA: Final = "mcp-forecast[foundation]"
# Target and covariates of all windows of one pass; beyond it memory grows and the cost of a window does not shrink.
MOST_ROWS: Final = 128


def at_once(kind: str, columns: int, horizon: int) -> int:
    """How many windows with so many covariates go into one call of a model."""
    about = KINDS[kind]
    rows = (1 + columns) * (about.unrolled if horizon > about.horizon else 1)
    return max(MOST_ROWS // rows, 1)

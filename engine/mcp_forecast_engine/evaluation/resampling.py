"""An interval for a difference in losses: whole windows or series are drawn again, with a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, sqrt
from statistics import NormalDist
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.evaluation.plan import ENOUGH_WINDOWS, MANY_SERIES
from mcp_forecast_engine.models.regression import one_thread

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Unit = Literal["window", "series"]
INTERVAL: Final = (0.025, 0.975)
_NUMBERS: Final = 1_000_000  # drawn at once
_NEAR: Final = 16_384  # counted at once


@dataclass(frozen=True)
class Skill:
    """How much less one loses than the other: value = 1 - loss / loss of the other; NaN where that one lost nothing.

    low, high: 95 % interval; probability_better: part of the widened resamples in which the loss is smaller, ties count
    half. All three are None where there are too few units, or value is not finite.
    """

    value: float
    low: float | None
    high: float | None
    probability_better: float | None


def nothing_to_save(block: int) -> Skill:
    """Where neither loses anything: no share is saved, and that is sure where there are units enough (block > 0)."""
    return Skill(0.0, 0.0, 0.0, 0.5) if block else Skill(0.0, None, None, None)


def unit_of(windows: int, series: int) -> Unit:
    """What is drawn: windows, or whole series where windows are few and series many."""
    return "series" if windows < ENOUGH_WINDOWS and series >= MANY_SERIES else "window"


def block_of(unit: Unit, count: int) -> int:
    """How many neighbours are drawn together, of `count` units: root of the windows, one series; 0: too few to draw."""
    if unit == "series":
        return 1 if count >= MANY_SERIES else 0
    return int(np.ceil(np.sqrt(count))) if count >= ENOUGH_WINDOWS else 0


def skill_of(mine: Floats, theirs: Floats, *, block: int, samples: int, seed: int) -> Skill:
    """Skill and its interval: percentiles of circular block resamples (Politis and Romano 1992), wider where few.

    mine, theirs: (units), sums of losses of the same steps, units in order of time. block: 0 for no interval.
    """
    return skills_of([(mine, theirs)], blocks=[block], samples=samples, seed=seed)[0]


def skills_of(pairs: Sequence[tuple[Floats, Floats]], *, blocks: Sequence[int], samples: int, seed: int) -> list[Skill]:
    """`skill_of` of every pair with its block, the same numbers sooner: pairs of as many units share their draws."""
    kinds = [(len(mine), block) for (mine, _), block in zip(pairs, blocks, strict=True)]
    ratios: dict[int, Floats] = {}
    for count, block in {kind for kind in kinds if kind[1]}:
        places = [k for k, pair in enumerate(pairs) if kinds[k] == (count, block) and isfinite(_ratio(*pair))]
        if places:
            drawn = _drawn([pairs[k] for k in places], block=block, samples=samples, seed=seed)
            ratios |= dict(zip(places, drawn, strict=True))
    return [_skill(_ratio(*pair), ratios.get(k), *kinds[k]) for k, pair in enumerate(pairs)]


def _ratio(mine: Floats, theirs: Floats) -> float:
    total = float(theirs.sum())
    return float(mine.sum()) / total if total > 0 else float("nan")


def _skill(ratio: float, ratios: Floats | None, count: int, block: int) -> Skill:
    if ratios is None or not np.isfinite(ratios).all():  # in one of the resamples the other lost nothing
        return Skill(1 - ratio, None, None, None)
    if ratio > 0:  # by ratios, not differences: so the answer turns round when the two are swapped, and none is above 1
        ratios = ratio * (ratios / ratio) ** _widening(count, block)
    drawn = 1 - ratios
    low, high = np.quantile(drawn, INTERVAL)
    better = float((drawn > 0).mean() + (drawn == 0).mean() / 2)
    return Skill(1 - ratio, float(low), float(high), better)


def _drawn(pairs: Sequence[tuple[Floats, Floats]], *, block: int, samples: int, seed: int) -> Floats:
    """Loss / loss of the other in every resample, (pairs, samples); not finite where the other lost nothing."""
    # Differences, so that resamples in which both lost the same are ties to the last bit; every pair by itself, so that
    # its numbers do not hang on the others.
    columns = [np.stack([other - own, other], axis=1) for own, other in pairs]
    count = len(columns[0])
    draw = np.random.default_rng(seed)
    at_once = max(_NUMBERS // count, 1)  # the same draws, but thousands of series need no gigabytes
    parts = []
    for size in [min(at_once, samples - start) for start in range(0, samples, at_once)]:
        picked = draw.integers(0, count, size=(size, -(-count // block)))
        if block > 1:
            picked = ((picked[:, :, None] + np.arange(block)) % count).reshape(size, -1)[:, :count]
        times = _times(picked, count)
        with one_thread():
            parts.append(np.stack([times @ column for column in columns]))
    sums = np.concatenate(parts, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(1 - sums[:, :, 0] / sums[:, :, 1], np.float64)


def _times(picked: Integers, count: int) -> Floats:
    """How often each of `count` units was drawn, (samples, count); some samples at a time, so that caches hold them."""
    found = np.empty((len(picked), count))
    at_once = max(_NEAR // count, 1)
    for start in range(0, len(picked), at_once):
        part = picked[start : start + at_once]
        places = (part + count * np.arange(len(part))[:, None]).reshape(-1)
        found[start : start + at_once] = np.bincount(places, minlength=part.shape[0] * count).reshape(-1, count)
    return found


def _widening(count: int, block: int) -> float:
    """How many times wider than the resamples an interval has to be; 1 for many blocks.

    Resampled blocks vary around the mean of all units, so of independent units they show 1 - block / count of the
    variance. It is itself an estimate, as good as one of 1.5 * (blocks - 1) free numbers where blocks overlap (Meketon
    and Schmeiser 1984): Student's t for the normal, by Fisher's expansion (Abramowitz and Stegun 26.7.5).
    """
    free = (1.5 if block > 1 else 1.0) * (count / block - 1)
    z = NormalDist().inv_cdf(INTERVAL[1])
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    t = z + sum(term / free**power for power, term in enumerate(terms, start=1))
    return t / z / sqrt(1 - block / count)

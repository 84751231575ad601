"""One step for all series of a dataset: series that step otherwise than the rest are found and named."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import TimeAxis
from mcp_forecast_engine.data.frequency import parse_frequency
from mcp_forecast_engine.data.grid import first_stamp, steps_since
from mcp_forecast_engine.errors import FrequencyUnclear

Integers = NDArray[np.int64]

# Fewer moves than this say nothing about a series' own step.
MOVES = 8
# A regular series moves by about the same number of steps: months of 28 and of 31 days are alike.
REGULAR = 1.25


def other_steps(
    ds: Integers, offsets: Integers, unique_id: tuple[str, ...], axis: TimeAxis, *, given: bool
) -> tuple[str, ...]:
    """Say which series step otherwise than `axis`: daily series among hourly ones, or hourly among daily ones.

    ds: int64 (N), ascending within series. given: the caller named the step, so what would be filled or merged is told;
    else raises FrequencyUnclear, because most values of those series would be made up. A sparse series with gaps of
    many lengths is no other frequency.
    """
    if len(unique_id) < 2:
        return ()
    step = parse_frequency(axis.freq)
    starts = np.repeat(first_stamp(ds[offsets[:-1]], step), np.diff(offsets))
    index = steps_since(starts, ds, step)
    coarser, finer = [], []
    for i, name in enumerate(unique_id):
        part = slice(int(offsets[i]), int(offsets[i + 1]))
        moves, apart = np.diff(index[part]), np.diff(ds[part])
        moves = moves[apart > 0]  # rows of one time are duplicates, not a step
        if len(moves) < MOVES or np.mean(moves == 1) > 0.5:
            continue
        if np.mean(moves == 0) >= 0.5:
            finer.append(name)
            continue
        low, high = np.quantile(moves[moves > 0], [0.1, 0.9], method="nearest")
        coarser += [(name, int(np.median(moves)))] if low >= 2 and high <= REGULAR * low else []
    return _told(axis.freq, coarser, finer, given=given)


def _told(freq: str, coarser: list[tuple[str, int]], finer: list[str], *, given: bool) -> tuple[str, ...]:
    found = []
    if coarser:
        name, moves = coarser[0]
        found.append(f"{len(coarser)} series step longer than {freq!r}, the first is {name!r}: {moves} steps at a time")
    if finer:
        found.append(f"{len(finer)} series step shorter than {freq!r}, the first is {finer[0]!r}")
    if found and not given:
        raise FrequencyUnclear(
            "series of different steps are mixed: " + "; ".join(found),
            field="freq",
            allowed="one step for all series of a dataset",
            next_step="register the series of each step as a dataset of its own; or name `freq`, and the rows of the "
            "others are filled or merged",
        )
    return tuple(found)

"""The words of a category as a model learned them: data in its codes, and what it has never seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.errors import CovariatesMismatch

Floats = NDArray[np.float64]
Words = Mapping[str, tuple[str, ...]]


def recoded(panel: Panel, categories: Words) -> Panel:
    """The panel in the codes that the model learned; a word it never saw gets -1, which no indicator answers to.

    categories: column to its words in training, whose place is the code.
    """
    other = {name: words for name, words in categories.items() if panel.categories.get(name, words) != words}
    if not other:
        return panel
    covariates, future = dict(panel.covariates), dict(panel.future)
    for name, known in other.items():
        place = {word: code for code, word in enumerate(known)}
        code = np.array([place.get(word, -1) for word in panel.categories[name]], np.float64)
        covariates[name] = code[covariates[name].astype(np.int64)]
        if name in future:
            future[name] = code[future[name].astype(np.int64)]
    return replace(panel, covariates=covariates, future=future, categories={**panel.categories, **other})


def unseen_past(panel: Panel, categories: Words, lookback: int) -> list[str]:
    """A warning per column whose last `lookback` steps hold words that training never saw; panel: not recoded yet."""
    read = np.arange(len(panel.y)) >= np.repeat(panel.offsets[1:] - lookback, panel.lengths)
    found = []
    for name in categories.keys() & panel.categories.keys():
        strange, rows = _unseen(panel, name, panel.covariates[name][read], categories)
        if strange:
            found.append(
                f"{name!r} is {_named(strange)} in {rows} rows that the model reads, which was never seen in training: "
                "it counts as none of the known words, and how well that forecasts is not tested"
            )
    return sorted(found)


def require_seen(panel: Panel, before: Panel, categories: Words, horizon: int) -> None:
    """The next `horizon` steps hold words of training alone. panel: recoded; before: the same data, not recoded.

    Raises CovariatesMismatch, with the words that training saw.
    """
    for name in sorted(categories.keys() & panel.future.keys()):
        if not np.any(panel.future[name][:, :horizon] == -1):
            continue
        strange, _ = _unseen(before, name, before.future[name][:, :horizon].reshape(-1), categories)
        raise CovariatesMismatch(
            f"{name!r} is {_named(strange)} in the rows after the last target, which was never seen in training",
            field="dataset_id",
            allowed=list(categories[name][:50]),
            next_step="send `future` rows with these words, correct the data, or train on data that has the new ones",
        )


def _unseen(panel: Panel, name: str, codes: Floats, categories: Words) -> tuple[list[str], int]:
    """Words among some codes of a column that training never saw, and how many values hold them."""
    words, known = panel.categories[name], set(categories[name])
    present, counts = np.unique(codes[~np.isnan(codes)].astype(np.int64), return_counts=True)
    strange = {words[code]: int(count) for code, count in zip(present, counts, strict=True) if words[code] not in known}
    return list(strange), sum(strange.values())


def _named(words: list[str]) -> str:
    shown = ", ".join(map(repr, words[:5]))
    return f"{shown} and {len(words) - 5} more" if len(words) > 5 else shown

"""Which of several models answer together, and with which weights: decided on the windows before the test part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.evaluation.plan import BacktestPlan
from mcp_forecast_engine.evaluation.resampling import block_of, skill_of, unit_of
from mcp_forecast_engine.evaluation.windows import Truth
from mcp_forecast_engine.models.combination import Rule, combined

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Paths = Mapping[str, Sequence[Floats]]
Option = tuple[tuple[str, ...], float, Rule]

# Members whose error is within this factor of the best one's answer together unless another mix earns its place: what a
# worse one gets wrong is something else, and its weight is small.
NEAR = 1.2
_VERY_NEAR = 1.05
# Weights fall with this power of the error: 2 to 4 did best on M4 in published combinations and in trials.
_POWER = 4.0
# A mix that departs from these weights has to be this much better, or surely better.
_MARGIN = 0.02
# Horizons of truth, over all series, below which a choice among models is mostly luck.
LITTLE = 14.0
# How much worse than the chosen mix the classical mean may look there and still take half of the answer.
_STURDY = 1.3


@dataclass(frozen=True)
class Mix:
    """Members with their weights (adding up to 1) and the rule that makes their paths one; loss on validation.

    steadied: the models whose mean takes half of the answer, where it does.
    """

    members: tuple[str, ...]
    weights: tuple[float, ...]
    rule: Rule
    loss: float
    steadied: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judge:
    """Scores point paths on the validation windows.

    windows: per window, its series (S') and truth. scale: (S), what errors are divided by; 0 leaves a series out.
    squared: errors count by their squares, for targets that are mostly zero: their median is 0 whatever happens, so
    that absolute errors favour a model that says nothing (M5's reason for RMSSE; Makridakis et al. 2022).
    """

    windows: Sequence[tuple[Integers, Truth]]
    scale: Floats
    plan: BacktestPlan
    squared: bool = False

    def loss(self, paths: Sequence[Floats]) -> float:
        """What decides: MASE, or its like of squared errors (root of their mean per series); NaN if undefined."""
        return self._error(paths, 2.0) if self.squared else self.mase(paths)

    def mase(self, paths: Sequence[Floats]) -> float:
        """MASE: mean |y - path| per series over its seasonal change, mean over series; NaN if undefined."""
        return self._error(paths, 1.0)

    def _error(self, paths: Sequence[Floats], power: float) -> float:
        total, count = np.zeros(len(self.scale)), np.zeros(len(self.scale))
        for path, (series, truth) in zip(paths, self.windows, strict=True):
            np.add.at(total, series, np.where(truth.observed, np.abs(truth.y - path) ** power, 0.0).sum(axis=1))
            np.add.at(count, series, truth.observed.sum(axis=1))
        kept = (self.scale > 0) & (count > 0)
        each = (total[kept] / count[kept]) ** (1 / power) / self.scale[kept]
        return float(each.mean()) if kept.any() else float("nan")

    def evidence(self) -> float:
        """Horizons of truth that the windows hold without overlap, over all series."""
        stride = min(self.plan.validation_stride or self.plan.stride, self.plan.horizon)
        _, windows = np.unique(self._present(), return_counts=True)
        return float(((windows - 1) * stride / self.plan.horizon + 1).sum())

    def surely_better(self, mine: Sequence[Floats], theirs: Sequence[Floats]) -> bool:
        """Whether the 95 % interval of the paired gain leaves out zero; False where there is too little to tell."""
        windows = len(self.windows)
        present = np.unique(self._present())
        series = len(present)
        unit = unit_of(windows, series)
        sums = [np.zeros(windows if unit == "window" else len(self.scale)) for _ in range(2)]
        for k, (places, truth) in enumerate(self.windows):
            weight = truth.observed / np.where(self.scale > 0, self.scale, np.inf)[places][:, None]
            for total, paths in zip(sums, (mine, theirs), strict=True):
                row = ((np.abs(truth.y - paths[k]) * weight) ** (2 if self.squared else 1)).sum(axis=1)
                np.add.at(total, places if unit == "series" else k, row if unit == "series" else row.sum())
        block = block_of(unit, series if unit == "series" else windows)
        mine_lost, theirs_lost = (total if unit == "window" else total[present] for total in sums)
        found = skill_of(mine_lost, theirs_lost, block=block, samples=self.plan.bootstrap_samples, seed=self.plan.seed)
        return found.low is not None and found.low > 0

    def _present(self) -> Integers:
        """The series of every window, one after the other: others have nothing to be judged by."""
        return np.concatenate([series for series, _ in self.windows])


def choose_mix(paths: Paths, judge: Judge, *, baseline: str, medians: bool = True, sturdy: Sequence[str] = ()) -> Mix:
    """The models near the best one, weighted by loss, unless fewer, equal weights or the median earn their place.

    Selection among nearly equal mixes is luck, so a departure has to be 2 % better or surely better. The baseline
    takes part only where nothing is better: it is there to be beaten. medians: whether a median may be chosen.
    sturdy: models whose mean takes half of the answer because little was seen, unless it looks far worse.
    """
    losses = {name: judge.loss(found) for name, found in paths.items()}
    known = {name: loss for name, loss in losses.items() if np.isfinite(loss)}
    if not known:
        return Mix((next(iter(paths)),), (1.0,), "mean", float("nan"))
    options = options_of(known, baseline)
    chosen, kept = _mixed(*options[0], known, paths, judge)
    for names, power, rule in dict.fromkeys(options[1:]):
        if rule == "median" and not medians:
            continue
        mix, together = _mixed(names, power, rule, known, paths, judge)
        better = mix.loss < (1 - _MARGIN) * chosen.loss
        if better or (mix.loss < chosen.loss and judge.surely_better(together, kept)):
            chosen, kept = mix, together
    return _steadied(chosen, sturdy, known, paths, judge) if sturdy else chosen


def options_of(losses: Mapping[str, float], baseline: str) -> list[Option]:
    """The mixes that losses on validation allow, the usual one first: members, the power of the loss, the rule.

    losses: by model, all finite, one at least.
    """
    best = min(losses, key=lambda name: losses[name])
    near = _within(losses, NEAR, losses[best], baseline)
    very_near = _within(losses, _VERY_NEAR, losses[best], baseline)
    return [
        (near, _POWER, "mean"),
        (near, 0.0, "median"),
        (near, 0.0, "mean"),
        (very_near, 0.0, "mean"),
        ((best,), 0.0, "mean"),
    ]


def weights_of(names: Sequence[str], power: float, losses: Mapping[str, float]) -> tuple[float, ...]:
    """Weights that fall with a power of the loss and add up to 1, as they are stored."""
    raw = np.array([max(losses[name], 1e-12) ** -power for name in names])
    return tuple(float(f"{w:.9g}") for w in raw / raw.sum())


def half_each(weights: Mapping[str, float], others: Mapping[str, float]) -> dict[str, float]:
    """Weights by member, half of them of the one kind and half of the other, as they are stored."""
    shares = {name: weight / 2 for name, weight in weights.items()}
    for name, weight in others.items():
        shares[name] = shares.get(name, 0.0) + weight / 2
    return {name: float(f"{weight:.9g}") for name, weight in shares.items()}


def _steadied(mix: Mix, sturdy: Sequence[str], losses: Mapping[str, float], paths: Paths, judge: Judge) -> Mix:
    """Half of the mix, half the mean of models that did well on thousands of series: where little was seen, what they
    do elsewhere says more than the few windows here (Petropoulos and Svetunkov 2020, "A simple combination of
    univariate models"). On single series of two public collections it took 2 to 4 % off the error."""
    if mix.rule != "mean" or not all(name in losses for name in sturdy):
        return mix
    equal, _ = _mixed(tuple(sturdy), 0.0, "mean", losses, paths, judge)
    if equal.loss > _STURDY * mix.loss:
        return mix
    weights = half_each(
        dict(zip(mix.members, mix.weights, strict=True)), dict(zip(equal.members, equal.weights, strict=True))
    )
    shares = tuple(weights.values())
    together = [combined([paths[name][k] for name in weights], shares, "mean") for k in range(len(judge.windows))]
    return Mix(tuple(weights), shares, "mean", judge.loss(together), tuple(sturdy))


def _within(losses: Mapping[str, float], factor: float, best: float, baseline: str) -> tuple[str, ...]:
    return tuple(name for name, loss in losses.items() if loss <= (1.0 if name == baseline else factor) * best)


def _mixed(
    names: tuple[str, ...], power: float, rule: Rule, losses: Mapping[str, float], paths: Paths, judge: Judge
) -> tuple[Mix, list[Floats]]:
    weights = weights_of(names, power, losses)
    together = [combined([paths[name][k] for name in names], weights, rule) for k in range(len(judge.windows))]
    return Mix(names, weights, rule, judge.loss(together)), together

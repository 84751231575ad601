"""Settings of the direct ridge, chosen on windows that lie before the test part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.forecaster import Settings
from mcp_forecast_engine.models.ridge_recipe import Member, Recipe, units_to_try
from mcp_forecast_engine.models.ridge_trials import (
    Answers,
    Exam,
    Option,
    answers,
    exam_for,
    own_paths,
)
from mcp_forecast_engine.models.seasonal_naive import naive_periods, repeated_lags
from mcp_forecast_engine.models.spec import ForecastSpec
from mcp_forecast_engine.models.windows import columns_of, learnt, own_want_more

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

COARSE = (0.001, 0.03, 1.0)
PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0)
# Phase by phase there are few windows for many columns: nothing below 0.03 was ever best on day-ahead prices.
COARSE_APART = (0.1, 1.0)
PENALTIES_APART = (0.03, 0.1, 0.3, 1.0, 3.0)
# Calibration windows: all of the history, and its most recent parts; phase by phase 8 and 12 weeks, a year and two of
# days (Lago et al. 2021 average such windows).
RECENT = (1.0, 0.5, 0.25)
RECENT_APART = (1.0, 728.0, 364.0, 84.0, 56.0)
RECENT_FIRST = (1.0, 364.0, 84.0)
# Parts of seasonal naive that may be mixed in.
SHARES = (0.25, 0.5)
# Parts of the penalty that columns of future covariates carry. Noisy lags want a strong one, under which the effect of
# a rare promotion shrinks: on made daily series with promotions on a tenth of the days, 0.1 saves a quarter of the MAE.
FUTURE_PENALTIES = (0.1,)
# Penalties on the departure of a series from the pooled weights.
OWN = (0.3, 3.0)
# A mean of several calibration windows is preferred to a single one that is better by no more than this.
MARGIN = 0.01
# Fits within the validation part: for alignment, for units, for members.
FITS = (4, 10, 10)
# Around the penalty that chose the units, as a factor: what lies further away is not tried again.
NEAR = 40.0
# Series that are enough to choose the penalty of weights of their own by.
SOME_SERIES = 200
# The part of the windows that is enough to choose units and lookback by.
THIN = 0.25
FEW_SERIES = 50
MOST_WEIGHTS = 8_000_000
# Work on weights of a series' own: series times columns times columns.
MOST_MOMENTS = 50_000_000
MOST_COVARIATE_COLUMNS = 1_000
LONGEST_LOOKBACK = 720


def choose_recipe(panel: Panel, spec: ForecastSpec, origins: Sequence[Integers], asked: Settings) -> Recipe | None:
    """Alignment by the target, then with covariates; then units and lookback; then members, shares and own weights.

    None where no window fits. Every fit reads only targets that lie before the windows it answers. What `asked` names
    is kept.
    """
    aligned = asked["aligned"] if "aligned" in asked else _choose_alignment(panel, spec, origins)
    if aligned and spec.covariates and "aligned" not in asked:
        aligned = _pays_with_covariates(exam_for(panel, spec, origins, fits=1))
    first, second = (exam_for(panel, spec, origins, fits=n if aligned else 1) for n in FITS[1:])
    base = replace(Recipe.of(asked), aligned=aligned)
    if is_far(spec) and not aligned and "drift" not in asked:
        base = replace(base, drift=False)
    found = _choose_units(first, base, asked)
    if found is None:
        return None
    recipe = _choose_members(second, found)
    if recipe is None or not asked:
        return recipe
    return replace(recipe, **{name: getattr(base, name) for name in asked if name in Recipe.__dataclass_fields__})


def _choose_alignment(panel: Panel, spec: ForecastSpec, origins: Sequence[Integers]) -> bool:
    """One set of weights per phase pays where phases differ and there are windows enough.

    Windows of one phase that reach over several seasons overlap nearly whole: there are too few of them to learn from.
    """
    columns = spec.lookback + (MOST_COVARIATE_COLUMNS if spec.covariates else 0)
    if spec.season_length < 2 or is_far(spec):
        return False
    if spec.season_length * columns * spec.horizon > MOST_WEIGHTS:
        return False
    few = len(panel.unique_id) <= FEW_SERIES
    if not few and _may_be_own(spec, columns_of(spec), len(panel.unique_id)):
        return False  # Weights of each series' own say more than weights of each phase that all share.
    exam = exam_for(
        panel, replace(spec, known_future=(), historical=(), static=()), origins, fits=FITS[0] if few else 1
    )
    thin = THIN if few else 1.0
    apart = answers(exam, Recipe(aligned=True), lookbacks=[spec.lookback], recent=[1.0], penalties=COARSE)
    pooled = answers(exam, Recipe(), lookbacks=_lookbacks(exam), recent=[1.0], penalties=COARSE, thin=thin)
    if apart is None or pooled is None:
        return apart is not None
    losses = {option: pooled.loss(path) for option, path in pooled.paths.items()}
    found = [min(losses.values())]
    if _may_be_own(spec, pooled.examples.rows.shape[1], len(panel.unique_id)):
        usual = min((o for o in losses if o.lookback == pooled.recipe.lookback), key=lambda o: losses[o])
        found += [pooled.loss(path) for path in own_paths(pooled, usual, OWN[:1]).values()]
    # As many weights as there are phases have to earn their keep.
    return min(apart.loss(path) for path in apart.paths.values()) < (1 - MARGIN) * min(found)


def is_far(spec: ForecastSpec) -> bool:
    """Whether the horizon reaches over more than two seasons: few windows do not overlap, and levels move."""
    return 1 < spec.season_length < spec.horizon / 2


def _pays_with_covariates(exam: Exam) -> bool:
    """Whether weights per phase stay better where covariates are read: a phase with fewer windows than columns cannot
    learn what a driver does, and all phases together may."""
    if int(np.median(learnt(exam.panel, exam.fits))) // exam.spec.season_length >= columns_of(exam.spec):
        return True
    lookbacks = [exam.spec.lookback]
    apart = answers(exam, Recipe(aligned=True), lookbacks=lookbacks, recent=[1.0], penalties=COARSE)
    pooled = answers(exam, Recipe(), lookbacks=lookbacks, recent=[1.0], penalties=COARSE, thin=THIN)
    if apart is None or pooled is None:
        return apart is not None
    ours, theirs = (min(found.loss(path) for path in found.paths.values()) for found in (apart, pooled))
    return ours < theirs


def _choose_units(exam: Exam, base: Recipe, asked: Settings) -> Recipe | None:
    """The transform and units with the best mean of members; the lookback only where phases share their weights."""
    spec = exam.spec
    lookbacks = [base.lookback or spec.lookback] if base.aligned or base.lookback else _lookbacks(exam)
    recent, penalties = (RECENT_FIRST, COARSE_APART) if base.aligned else (RECENT[:1], COARSE)
    steps = learnt(exam.panel, exam.fits)
    best: tuple[float, Recipe] | None = None
    for transform, units in units_to_try(spec, steps, asked):
        recipe = replace(base, transform=transform, units=units)
        thin = 1.0 if base.aligned else THIN
        found = answers(exam, recipe, lookbacks=lookbacks, recent=recent, penalties=penalties, thin=thin)
        if found is None:
            continue
        for lookback in lookbacks:
            loss, members = _members(found, lookback)
            if best is None or loss < best[0]:
                best = loss, replace(recipe, lookback=lookback, members=members)
    return best and best[1]


def _lookbacks(exam: Exam) -> list[int]:
    """The specified lookback, twice and three times as much, where two thirds of the history stay to learn from."""
    room = (int(np.median(learnt(exam.panel, exam.fits))) - exam.spec.horizon) // 3
    usual = exam.spec.lookback
    if exam.spec.covariates or usual < exam.spec.season_length:
        return [usual]
    return [usual] + [k * usual for k in (2, 3) if k * usual <= min(room, LONGEST_LOOKBACK)]


def _choose_members(exam: Exam, recipe: Recipe) -> Recipe | None:
    """Calibration windows with their penalties; lighter penalties on the future; own weights; a share of naive."""
    recent, penalties = (RECENT_APART, PENALTIES_APART) if recipe.aligned else (RECENT, _near(recipe.members))
    found = answers(exam, recipe, lookbacks=[recipe.lookback], recent=recent, penalties=penalties)
    if found is None:
        return None
    loss, members = _members(found, recipe.lookback)
    if exam.spec.known_future:
        for share in FUTURE_PENALTIES:
            parts, tried = zip(*members, strict=True)
            lighter = replace(recipe, future_penalty=share)
            trial = answers(
                exam,
                lighter,
                lookbacks=[recipe.lookback],
                recent=parts,
                penalties=sorted({*tried, *(3 * q for q in tried)}),
            )
            changed = _members(trial, recipe.lookback) if trial else (np.inf, members)
            if trial and changed[0] < loss:
                (loss, members), found = changed, trial
    path, recipe = _mean(found, recipe.lookback, members), replace(found.recipe, members=members)
    if not recipe.drift:
        found, recipe, path = _with_drift(exam, found, recipe, path)
    columns, series = found.examples.rows.shape[1], len(exam.panel.unique_id)
    if not (recipe.aligned or recipe.seasons) and _may_be_own(exam.spec, columns, series):
        found, recipe, path = _own_or_shared(exam, found, recipe, path)
    return _with_naive(found, recipe, path)


def _with_drift(exam: Exam, found: Answers, recipe: Recipe, path: Floats) -> tuple[Answers, Recipe, Floats]:
    """A drift only where the windows say so beyond luck: far ahead it is what few windows that do not overlap happened
    to do, and a part of a year that was seen once is taken for a direction."""
    moved = replace(recipe, drift=True)
    # First on some of the rows, which mostly settles it.
    if _surely_better(exam, found.losses(path), moved, thin=THIN) is None:
        return found, recipe, path
    better = _surely_better(exam, found.losses(path), moved, thin=1.0)
    return (found, recipe, path) if better is None else (better[0], moved, better[1])


def _surely_better(exam: Exam, losses: Floats, recipe: Recipe, *, thin: float) -> tuple[Answers, Floats] | None:
    """What a recipe answers, and the mean of its members, where it is better than these losses beyond luck."""
    parts, tried = zip(*recipe.members, strict=True)
    trial = answers(
        exam, recipe, lookbacks=[recipe.lookback], recent=sorted({*parts}), penalties=sorted({*tried}), thin=thin
    )
    if trial is None:
        return None
    path = _mean(trial, recipe.lookback, recipe.members)
    return None if _about_as_good(losses, trial.losses(path)) else (trial, path)


def _own_or_shared(exam: Exam, found: Answers, recipe: Recipe, path: Floats) -> tuple[Answers, Recipe, Floats]:
    """Weights of each series' own where some of the series are clearly better off with them; else what was found."""
    # Lighter penalties on the future may have been tried on recent parts alone: then the best of these says how much.
    whole = [option for option in found.paths if option.recent == 1.0] or list(found.paths)
    pooled = min(whole, key=lambda o: found.loss(found.paths[o]))
    apart = replace(recipe, members=((1.0, pooled.penalty),), local=OWN[0])
    some, kept = exam.some(SOME_SERIES)
    more: Answers | None = found
    if some is not exam or own_want_more(recipe.spec(exam.spec), len(exam.panel.unique_id)):
        more = answers(some, apart, lookbacks=[recipe.lookback], recent=[1.0], penalties=[pooled.penalty])
    if more is None:
        return found, recipe, path
    own = own_paths(more, pooled, OWN)
    losses = {penalty: more.loss(one) for penalty, one in own.items()}
    best = min(losses, key=lambda penalty: losses[penalty])
    # Both by the exam of the same windows: a loss counts observed steps, and all windows have another part of them.
    if losses[best] >= (1 - MARGIN) * some.loss(found.scale.inverse(path)[kept]):
        return found, recipe, path
    return more, replace(apart, local=best), own[best]


def _near(members: Sequence[Member]) -> tuple[float, ...]:
    """Penalties around those that were best on few windows."""
    tried = [penalty for _, penalty in members]
    return tuple(p for p in PENALTIES if min(tried) / NEAR <= p <= max(tried) * NEAR)


def _members(found: Answers, lookback: int) -> tuple[float, tuple[Member, ...]]:
    """The best penalty of each recent part; of these the best, the two best and so on, averaged; and the loss."""
    kept: dict[float, Option] = {}
    losses = {option: found.loss(path) for option, path in found.paths.items() if option.lookback == lookback}
    for option in sorted(losses, key=lambda option: (losses[option], option)):
        kept.setdefault(option.recent, option)
    ranked = [(option.recent, option.penalty) for option in kept.values()]
    each = [found.losses(_mean(found, lookback, tuple(ranked[:n]))) for n in range(1, len(ranked) + 1)]
    best = min(each, key=lambda losses: float(losses.mean()))
    most = max(n for n, losses in enumerate(each, 1) if _about_as_good(losses, best))
    return float(each[most - 1].mean()), tuple(ranked[:most])


def _about_as_good(losses: Floats, best: Floats) -> bool:
    """Within the margin, or within the standard error of the difference: the smallest of several is so by luck."""
    behind = losses - best
    luck = float(behind.std()) / len(behind) ** 0.5
    return bool(behind.mean() <= max(MARGIN * float(best.mean()), luck))


def _mean(found: Answers, lookback: int, members: Sequence[Member]) -> Floats:
    return np.asarray(np.mean([found.paths[Option(lookback, *member)] for member in members], axis=0), np.float64)


def _may_be_own(spec: ForecastSpec, columns: int, series: int) -> bool:
    """Several series whose weights can be held, in memory and in the file."""
    work = series * columns * max(columns, spec.horizon)
    return series > 1 and work <= MOST_MOMENTS and series * columns * spec.horizon <= MOST_WEIGHTS


def _with_naive(found: Answers, recipe: Recipe, path: Floats) -> Recipe:
    """A share of seasonal naive where the windows say so beyond luck."""
    spec = recipe.spec(found.exam.spec)
    lags, plain = found.lags(), found.losses(path)
    mixed = {
        (period, share): found.losses((1 - share) * path + share * lags[:, repeated_lags(spec, period)])
        for period, share in product(naive_periods(spec), SHARES)
    }
    best = min(mixed, key=lambda mix: float(mixed[mix].mean()))
    period, share = (spec.season_length, 0.0) if _about_as_good(plain, mixed[best]) else best
    return replace(recipe, naive_period=period, naive_share=share)

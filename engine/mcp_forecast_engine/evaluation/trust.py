"""May one act on this forecast? A verdict with reasons, and everything that was tried."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mcp_forecast_engine.data.roles import forecast_ahead
from mcp_forecast_engine.evaluation.breakdown import Part, lost_most
from mcp_forecast_engine.evaluation.candidates import BASELINE, TARGET_ONLY
from mcp_forecast_engine.evaluation.divisions import HORIZON
from mcp_forecast_engine.evaluation.metrics import is_exact
from mcp_forecast_engine.evaluation.plan import ENOUGH_WINDOWS, MANY_SERIES
from mcp_forecast_engine.evaluation.report import ArmReport, BacktestReport, Comparison

Verdict = Literal["trust", "caution", "do_not_trust"]

# An 80 % interval that holds within 8 points is usable; one that misses twice as often as it says is not.
COVERAGE_GOOD = (0.72, 0.88)
COVERAGE_LEAST = 0.6
# Covariates that save more of the error than honest ones do: on public data they save a third, made with care a half.
TOO_GOOD = 5.0
_TRIED = ("MASE", "WQL", "MAE", "coverage_80")


@dataclass(frozen=True)
class Reason:
    """One finding: how grave it is, and a sentence for the person who decides."""

    verdict: Verdict
    text: str


@dataclass(frozen=True)
class Trust:
    """The verdict is that of the gravest reason.

    tried: per arm its name, what it read and its scores. notes: where repetition would have been better, what the
    numbers assume, and what was not tried.
    """

    verdict: Verdict
    reasons: tuple[Reason, ...]
    notes: tuple[str, ...]
    tried: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "verdict": self.verdict,
            "reasons": [asdict(reason) for reason in self.reasons],
            "notes": list(self.notes),
            "tried": list(self.tried),
        }


def judge(
    report: BacktestReport,
    cautions: Sequence[str] = (),
    *,
    derived: Collection[str] = (),
    coded: Collection[str] = (),
) -> Trust:
    """Weigh skill against seasonal naive, coverage and the amount of evidence.

    cautions: why tests may flatter, as sentences. derived: columns that are computed from the time stamps.
    coded: columns of yes and no, or of words, which cannot be the target itself.
    """
    arm = report.arm(report.chosen)
    measured = _exact(arm) or [_skill(report, arm), _coverage(arm)]
    reasons = [*measured, _evidence(report)]
    reasons += [
        Reason("caution", text) for text in (*_too_good(report, arm, (*derived, *coded)), *cautions, *report.warnings)
    ]
    verdict = max((reason.verdict for reason in reasons), key=_GRAVITY.index)
    notes = (*_lost(report, arm), *_notes(arm, derived), *report.notes)
    return Trust(verdict, tuple(reasons), notes, tuple(_tried(arm) for arm in report.arms))


_GRAVITY: tuple[Verdict, ...] = ("trust", "caution", "do_not_trust")


def _exact(arm: ArmReport) -> list[Reason]:
    """Where every value is equal, no model beats repetition and no interval is too wide: neither is a weak point."""
    exact = is_exact(arm.metric("MAE"), arm.metric("WQL"))
    return [Reason("trust", "every tested value was forecast exactly")] if exact else []


def _skill(report: BacktestReport, arm: ArmReport) -> Reason:
    if arm.name == BASELINE:
        return Reason("caution", "no model beat seasonal naive before the test part, so seasonal naive is what answers")
    found = next((c for c in report.comparisons if (c.arm, c.against, c.metric) == (arm.name, BASELINE, "MASE")), None)
    if found is None or not math.isfinite(found.skill):
        return Reason("caution", "the error could not be compared with seasonal naive")
    text = f"error {abs(found.skill):.0%} {'below' if found.skill >= 0 else 'above'} seasonal naive{_between(found)}"
    if found.skill <= 0:
        return Reason("do_not_trust", f"{text}: repeating the last season would have been as good or better")
    if found.low is None or found.low <= 0:
        return Reason("caution", f"{text}: this may be luck")
    return Reason("trust", text)


def _lost(report: BacktestReport, arm: ArmReport) -> tuple[str, ...]:
    """Where repetition would have been better, one sentence for steps ahead and one for groups of series."""
    lost = lost_most(report.parts, report.part_scores, arm.name, BASELINE)
    return tuple(
        f"{f'{part.label} steps ahead' if part.by == HORIZON else f'where {part.by} is {part.label}'} {_behind(part)}"
        for part in lost
    )


def _behind(part: Part) -> str:
    if math.isinf(part.skill):
        return f"seasonal naive made no error, and the model one of {-part.value_added:.3g} (MASE)"
    luck = "" if part.high is not None and part.high < 0 else ": this may be luck"
    return f"the error is {-part.skill:.0%} above seasonal naive{_between(part)}{luck}"


def _between(found: Comparison | Part) -> str:
    if found.low is None or found.high is None:
        return " (too few windows for an interval)"
    return f" (95 % interval of the gain: {found.low:z.0%} to {found.high:z.0%})"


def _coverage(arm: ArmReport) -> Reason:
    share = arm.metric("coverage_80")
    if not math.isfinite(share):
        return Reason("do_not_trust", "no observed step was left to check the intervals on")
    text = f"the 80 % interval held {share:.0%} of the time"
    if share < COVERAGE_LEAST:
        return Reason("do_not_trust", text)
    return Reason("trust" if COVERAGE_GOOD[0] <= share <= COVERAGE_GOOD[1] else "caution", text)


def _evidence(report: BacktestReport) -> Reason:
    windows, series = report.plan.test_windows, report.series
    text = f"tested on {windows} forecasts of {series} series, {report.scored_steps} observed steps"
    return Reason("trust" if windows >= ENOUGH_WINDOWS or series >= MANY_SERIES else "caution", text)


def _too_good(report: BacktestReport, arm: ArmReport, innocent: Collection[str]) -> tuple[str, ...]:
    """Whether covariates that somebody has to know ahead save more than is usual."""
    names = forecast_ahead(arm.spec.known_future, innocent)
    alone = next((other.metric("MASE") for other in report.arms if other.name == TARGET_ONLY), math.nan)
    if not names or not alone > TOO_GOOD * arm.metric("MASE"):
        return ()
    return (
        f"{', '.join(names)} cut the error of the target alone from {alone:.3g} to {arm.metric('MASE'):.3g} (MASE): "
        "more than honest covariates usually do; make sure that they are known ahead, and not made from the target",
    )


def _notes(arm: ArmReport, derived: Collection[str]) -> tuple[str, ...]:
    """What the calendar gives is known exactly; the rest was a perfect forecast in the backtest."""
    names = ", ".join(forecast_ahead(arm.spec.known_future, derived))
    if not names:
        return ()
    return (f"the backtest was given what {names} turned out to be; with forecasts of them the error will be larger",)


def _tried(arm: ArmReport) -> dict[str, Any]:
    scores = {name: arm.metric(name) for name in _TRIED}
    return {
        "name": arm.name,
        "covariates": list(arm.covariates),
        "validation_mase": arm.validation_mase if math.isfinite(arm.validation_mase) else None,
        **{name: value if math.isfinite(value) else None for name, value in scores.items()},
    }

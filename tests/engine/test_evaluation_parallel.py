from __future__ import annotations

import threading

import pytest
from forecast_toys import hourly

from mcp_forecast_engine.evaluation.backtest import backtest
from mcp_forecast_engine.evaluation.parallel import each
from mcp_forecast_engine.evaluation.plan import plan_for
from mcp_forecast_engine.evaluation.progress import Progress
from mcp_forecast_engine.store.identity import canonical_bytes


def test_two_threads_give_the_bytes_of_one_and_tell_as_many_steps() -> None:
    panel = hourly(20)
    plan = plan_for(panel, 24)
    steps: dict[int, list[int]] = {1: [], 2: []}

    def bytes_with(cores: int) -> bytes:
        told = steps[cores]
        made = backtest(panel, plan, cores=cores, on_progress=lambda done, _total, _text: told.append(done))
        return canonical_bytes(made.report.to_dict())

    assert bytes_with(1) == bytes_with(2)
    assert steps[1] == steps[2] == sorted(steps[2])


def test_what_on_progress_raises_ends_every_thread() -> None:
    panel, before = hourly(20), threading.active_count()

    def stop(done: int, total: int, text: str) -> None:
        assert threading.current_thread() is threading.main_thread()
        if done == 4:
            raise InterruptedError(text)

    with pytest.raises(InterruptedError):
        backtest(panel, plan_for(panel, 24), cores=2, on_progress=stop)
    assert threading.active_count() == before


def test_pieces_come_back_in_their_order_and_the_dearest_begins_first() -> None:
    begun: list[int] = []
    gate = threading.Barrier(2, timeout=10)  # both threads are at work before either ends

    def work(item: int, progress: Progress) -> int:
        begun.append(item)
        if item >= 8:
            gate.wait()
        progress.step(str(item), of="x")
        return item * item

    progress = Progress(0)
    assert each(work, list(range(10)), progress, cores=2, cost=float) == [item * item for item in range(10)]
    assert set(begun[:2]) == {8, 9}
    assert progress.done == 10


def test_the_first_piece_that_fails_is_raised_and_the_rest_does_not_begin() -> None:
    begun: list[int] = []
    gate = threading.Barrier(2, timeout=10)

    def work(item: int, progress: Progress) -> None:
        begun.append(item)
        if item < 2:
            gate.wait()
        if item == 0:
            raise ValueError("no")
        while True:  # a long fit, which looks up at each of its steps
            progress.step("one more")

    with pytest.raises(ValueError, match="no"):
        each(work, list(range(50)), Progress(0), cores=2)
    assert sorted(begun) == [0, 1]


def test_cpu_seconds_are_those_of_the_thread_that_worked() -> None:
    ticks: dict[int, float] = {}
    gate = threading.Barrier(2, timeout=10)

    def clock() -> float:
        me = threading.get_ident()
        ticks[me] = ticks.get(me, -1.0) + 1.0
        return ticks[me]

    def work(item: str, progress: Progress) -> None:
        gate.wait()
        progress.step(item, of=item)
        progress.step(item, of=item)

    progress = Progress(0, cpu_clock=clock)
    each(work, ["a", "b"], progress, cores=2)
    assert progress.costs == {"a": 2.0, "b": 2.0}

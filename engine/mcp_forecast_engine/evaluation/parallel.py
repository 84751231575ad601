"""Independent pieces of work on several threads: the same results in the same order, whichever ends first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from queue import SimpleQueue
from threading import Event
from typing import Final, TypeVar

from threadpoolctl import threadpool_limits

from mcp_forecast_engine.evaluation.progress import Progress, Stopped, Told

Item = TypeVar("Item")
Made = TypeVar("Made")

# A fit may hold 400 MB of windows, and candidates are few: more threads cost memory and bring little.
MOST_THREADS: Final = 4


def each(
    work: Callable[[Item, Progress], Made],
    items: Sequence[Item],
    progress: Progress,
    *,
    cores: int,
    cost: Callable[[Item], float] = lambda item: 0.0,
) -> list[Made]:
    """Do `work` on every item, on up to `cores` threads, and return what it made in the order of the items.

    What is worked on shares nothing that it writes. cost: the dearest begin first, so that none is left for the end.
    Steps of the work are told on the caller's thread. What the caller's on_progress raises there, or what an item
    raises, ends all of them at their next step; nothing runs on when this returns. Linear algebra stays on one thread
    in each, so the bytes do not depend on `cores`; arithmetic releases the interpreter's lock, so threads suffice.
    """
    threads = min(cores, len(items), MOST_THREADS)
    if threads < 2:
        return [work(item, progress) for item in items]
    told: SimpleQueue[Told | None] = SimpleQueue()
    stop = Event()
    order = sorted(range(len(items)), key=lambda i: -cost(items[i]))
    found: dict[int, Future[Made]] = {}
    with ThreadPoolExecutor(threads, thread_name_prefix="piece") as pool:
        try:
            for i in order:
                pinned = copy_context()
                found[i] = pool.submit(pinned.run, _piece, work, items[i], told, stop, progress.cpu_clock)
            _listen(told, progress, len(items))
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
    faults = [found[i].exception() for i in range(len(items))]
    for fault in faults:
        if fault is not None and not isinstance(fault, Stopped):
            raise fault
    return [found[i].result() for i in range(len(items))]


def _piece(
    work: Callable[[Item, Progress], Made],
    item: Item,
    told: SimpleQueue[Told | None],
    stop: Event,
    cpu_clock: Callable[[], float] | None,
) -> Made:
    """What the work makes of an item, on a thread of its own; says that it ended, however it did."""
    done = False
    try:
        if stop.is_set():
            raise Stopped
        # OpenMP counts threads for every thread apart: the caller's limit does not hold here.
        with threadpool_limits(limits=1):
            made = work(item, _Branch(told, stop, cpu_clock))
        done = True
        return made
    finally:
        if not done:
            stop.set()
        told.put(None)


def _listen(told: SimpleQueue[Told | None], progress: Progress, pieces: int) -> None:
    """Tell the caller every step, until so many pieces have ended."""
    while pieces:
        step = told.get()
        if step is None:
            pieces -= 1
        else:
            progress.tell(step)


class _Branch(Progress):
    """The progress of a piece: its steps go to the caller's thread, and it ends where that thread wants it to."""

    def __init__(self, told: SimpleQueue[Told | None], stop: Event, cpu_clock: Callable[[], float] | None) -> None:
        super().__init__(0, cpu_clock=cpu_clock)
        self._queue, self._stop = told, stop

    def tell(self, step: Told) -> None:
        """Hand the step over; raises Stopped."""
        self._queue.put(step)
        if self._stop.is_set():
            raise Stopped

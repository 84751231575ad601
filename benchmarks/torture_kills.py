"""Kill -9 at every named point and at random times, many times: does each run end as if nothing had happened?

    python benchmarks/torture_kills.py [--database sqlite] [--points 3] [--random 50] [--cancels 20] [--fences 50]

Prints one line a point: trials, runs that ended with the same state and digests as an unkilled run, the most often one
step was made, and the longest time from the kill to the end. Exits with 1 if any trial differs.
Targets: all the same; a step made at most twice; the end within lease + start-up allowance + 5 s; a cancelled run gone
within 5 s; no late write accepted. Trials run side by side, each on a home of its own, so times are those of a busy
machine.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from databases import KINDS, Fresh, fresh_databases

import runtime_toy as toy  # isort: skip - found once databases is imported

from mcp_forecast_engine.errors import StoreUnavailable
from mcp_forecast_engine.runtime import process

Ending = tuple[str, str | None, dict[str, str]]
LEASE_S = 2.0
toy.START_S = 6.0  # type: ignore[misc] - trials run side by side: a worker may take this long to come up


@dataclass(frozen=True)
class Trial:
    """One kill: was the end as it should be, how often was a step made at most, seconds to the end."""

    same: bool
    most_made: int
    seconds: float


@dataclass(frozen=True)
class Bench:
    """Where trials take place. expected: how a run ends that nobody disturbs."""

    fresh: Fresh
    expected: Ending


@contextmanager
def _fresh(fresh: Fresh) -> Iterator[toy.Home]:
    with tempfile.TemporaryDirectory(prefix="torture-", ignore_cleanup_errors=True) as folder, fresh() as address:
        home = toy.open_home(Path(folder), address)
        try:
            yield home
        finally:
            home.database.close()


def _ending(home: toy.Home, run_id: str) -> Ending:
    run = home.wait_for_end(run_id, within_s=60.0)
    return run.state, run.result, home.steps(run_id)


def unkilled(fresh: Fresh) -> Ending:
    """How a run ends that nobody disturbs."""
    with _fresh(fresh) as home, home.supervised(lease_s=LEASE_S):
        return _ending(home, home.submit().run_id)


def kill_worker(point: str, bench: Bench, dice: random.Random) -> Trial:
    """End the worker at a named point."""
    with _fresh(bench.fresh) as home, home.supervised(crash_at=point, lease_s=LEASE_S):
        run_id = home.submit().run_id
        toy.until((home.path / "crashed").exists, 60.0)
        return _judge(home, run_id, bench)


def kill_server(point: str, bench: Bench, dice: random.Random) -> Trial:
    """End the server at a named point; another one, started then, has to finish."""
    with _fresh(bench.fresh) as home:
        run_id = home.submit().run_id
        toy.start_server(home.path, crash_at=point, address=home.address).wait()
        with home.supervised(lease_s=LEASE_S):
            return _judge(home, run_id, bench)


def kill_worker_at_random(bench: Bench, dice: random.Random) -> Trial:
    """End the worker at any instant from its start-up to its end."""
    with _fresh(bench.fresh) as home, home.supervised(lease_s=LEASE_S):
        run_id = home.submit().run_id
        toy.until(lambda: home.run(run_id).worker_pid is not None, 60.0)
        time.sleep(dice.uniform(0.0, 1.0))
        worker = home.run(run_id).worker_pid
        if worker is not None:
            with suppress(ProcessLookupError):  # it may have ended before
                os.kill(worker, signal.SIGKILL)
        return _judge(home, run_id, bench)


def kill_server_at_random(bench: Bench, dice: random.Random) -> Trial:
    """End the server at any instant from its start-up to the end of its run; another one has to finish."""
    with _fresh(bench.fresh) as home:
        run_id = home.submit().run_id
        server = toy.start_server(home.path, address=home.address)
        time.sleep(dice.uniform(0.3, 2.5))
        server.kill()
        server.wait()
        with home.supervised(lease_s=LEASE_S):
            return _judge(home, run_id, bench)


def cancel_at_random(bench: Bench, dice: random.Random) -> Trial:
    """Cancel at any instant, in work that heeds it, that never looks and that holds the interpreter."""
    work = dice.choice(("checks", "spins", "holds"))
    with _fresh(bench.fresh) as home, home.supervised(lease_s=15.0) as supervisor:
        run_id = home.submit(work).run_id
        time.sleep(dice.uniform(0.0, 1.2))
        home.cancel(run_id)
        supervisor.notify()
        began = time.monotonic()
        run = home.wait_for_end(run_id, within_s=60.0)
        toy.until(lambda: run.worker_pid is None or process.started_at(run.worker_pid) is None, 60.0)
        seconds = time.monotonic() - began
        clean = run.state == "CANCELLED" and run.lease_until is None and not home.unfinished_files()
        return Trial(clean and seconds < 5.0, max(Counter(home.made()).values(), default=0), seconds)


def fence(bench: Bench, dice: random.Random) -> Trial:
    """Stop a worker past its lease, let another finish, wake it: nothing may change."""
    with _fresh(bench.fresh) as home:
        run_id = home.submit("waits").run_id
        first = home.claim(lease_s=LEASE_S)  # as a server elsewhere, whose workers nobody here can end
        assert first is not None
        sleeper = home.spawn_worker(first)
        try:
            toy.until(lambda: "gather" in home.steps(run_id), 60.0)
            time.sleep(dice.uniform(0.0, 0.3))
            _stop_between_commits(home, sleeper)
            (home.path / "go").touch()
            began = time.monotonic()
            with home.supervised(lease_s=LEASE_S):
                ended = _ending(home, run_id)
            seconds, before = time.monotonic() - began, home.run(run_id)
            os.kill(sleeper, signal.SIGCONT)
            toy.until(lambda: process.started_at(sleeper) is None, 60.0)
        finally:
            with suppress(ProcessLookupError):
                os.kill(sleeper, signal.SIGKILL)
        same = ended == bench.expected and (home.run(run_id), _ending(home, run_id)) == (before, ended)
        return Trial(same, max(Counter(home.made()).values(), default=0), seconds)


def _stop_between_commits(home: toy.Home, worker: int) -> None:
    """Stop it where it holds no lock: inside a commit it would only keep everyone waiting, and commit first."""
    while True:
        os.kill(worker, signal.SIGSTOP)
        try:
            with home.database.command(wait_s=1.0):
                return
        except StoreUnavailable:
            os.kill(worker, signal.SIGCONT)
            time.sleep(0.02)


def _judge(home: toy.Home, run_id: str, bench: Bench) -> Trial:
    began = time.monotonic()
    ending = _ending(home, run_id)
    same, seconds = ending == bench.expected, time.monotonic() - began
    most = max(Counter(home.made()).values(), default=0)
    if not same:
        print(f"    ended otherwise: {ending} after {home.made()}; {home.run(run_id).error}")
    return Trial(same and most <= 2 and not home.unfinished_files(), most, seconds)


def _tried(trial: Callable[[Bench, random.Random], Trial], bench: Bench, dice: random.Random) -> Trial:
    """A trial whose run does not end in time is one that failed, not the end of all."""
    try:
        return trial(bench, dice)
    except AssertionError as error:
        print(f"    {error}")
        return Trial(False, 0, float("inf"))


def table(bench: Bench, asked: argparse.Namespace) -> bool:
    """Run all trials on one database and print their lines; True if every one was as it should be."""
    kinds: dict[str, tuple[int, Callable[[Bench, random.Random], Trial]]] = {
        **{f"worker {point}": (asked.points, partial(kill_worker, point)) for point in toy.WORKER_POINTS},
        **{f"server {point}": (asked.points, partial(kill_server, point)) for point in toy.SERVER_POINTS},
        "worker at random": (asked.random, kill_worker_at_random),
        "server at random": (asked.random, kill_server_at_random),
        "cancel at random": (asked.cancels, cancel_at_random),
        "asleep past the lease": (asked.fences, fence),
    }
    print(f"{'point':24}{'trials':>8}{'same end':>10}{'most made':>11}{'max s to end':>14}")
    alike = True
    with ThreadPoolExecutor(asked.side_by_side) as side_by_side:
        for name, (count, trial) in kinds.items():
            dice = [random.Random(f"{name} {number}") for number in range(count)]
            trials = list(side_by_side.map(partial(_tried, trial, bench), dice))
            same = sum(one.same for one in trials)
            alike &= same == count
            most = max((one.most_made for one in trials), default=0)
            longest = max((one.seconds for one in trials), default=0.0)
            print(f"{name:24}{count:>8}{same:>10}{most:>11}{longest:>14.2f}", flush=True)
    return alike


def main() -> int:
    """Run all trials on the databases that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=KINDS, action="append", help="default: both")
    for name, count in {"points": 3, "random": 50, "cancels": 20, "fences": 50, "side-by-side": 4}.items():
        parser.add_argument(f"--{name}", type=int, default=count)
    asked = parser.parse_args()
    alike = True
    for kind in asked.database or KINDS:
        print(f"\n{kind}")
        with fresh_databases(kind) as fresh:
            alike &= table(Bench(fresh, unkilled(fresh)), asked)
    return 0 if alike else 1


if __name__ == "__main__":
    sys.exit(main())

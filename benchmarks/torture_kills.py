"""Kill -9 at every named point and at random times, many times: does each run end as if nothing had happened?

    python benchmarks/torture_kills.py [--trials 20] [--cancels 20] [--fences 20]

Prints one line a point: trials, runs that ended with the same state and digests as an unkilled run, the most often one
step was made, and the longest time from the kill to the end. Exits with 1 if any trial differs.
Targets: all the same; a step made at most twice; the end within lease + start-up allowance + 5 s; a cancelled run gone
within 5 s; no late write accepted.
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
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "engine"))

import runtime_toy as toy

from mcp_forecast_engine.runtime import process

Ending = tuple[str, str | None, dict[str, str]]


@dataclass(frozen=True)
class Trial:
    """One kill: was the end as it should be, how often was a step made at most, seconds to the end."""

    same: bool
    most_made: int
    seconds: float


@contextmanager
def _fresh() -> Iterator[toy.Home]:
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        home = toy.open_home(Path(folder))
        yield home
        home.database.close()


def _ending(home: toy.Home, run_id: str) -> Ending:
    run = home.wait_for_end(run_id, within_s=60.0)
    return run.state, run.result, home.steps(run_id)


def unkilled() -> Ending:
    """How a run ends that nobody disturbs."""
    with _fresh() as home, home.supervised():
        return _ending(home, home.submit().run_id)


def kill_worker(point: str, expected: Ending) -> Trial:
    """End the worker at a named point."""
    with _fresh() as home, home.supervised(crash_at=point):
        run_id = home.submit().run_id
        toy.until((home.path / "crashed").exists, 60.0)
        return _judge(home, run_id, expected)


def kill_server(point: str, expected: Ending) -> Trial:
    """End the server at a named point; another one, started then, has to finish."""
    with _fresh() as home:
        run_id = home.submit().run_id
        toy.start_server(home.path, crash_at=point).wait()
        with home.supervised():
            return _judge(home, run_id, expected)


def kill_at_random(expected: Ending, dice: random.Random) -> Trial:
    """End the worker at any instant from its start-up to its end."""
    with _fresh() as home, home.supervised():
        run_id = home.submit().run_id
        toy.until(lambda: home.run(run_id).worker_pid is not None, 60.0)
        time.sleep(dice.uniform(0.0, 0.6))
        worker = home.run(run_id).worker_pid
        if worker is not None:
            with suppress(ProcessLookupError):  # it may have ended before
                os.kill(worker, signal.SIGKILL)
        return _judge(home, run_id, expected)


def cancel_at_random(expected: Ending, dice: random.Random) -> Trial:
    """Cancel at any instant, in work that heeds it, that never looks and that holds the interpreter."""
    work = dice.choice(("checks", "spins", "holds"))
    with _fresh() as home, home.supervised(lease_s=15.0) as supervisor:
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


def fence(expected: Ending, dice: random.Random) -> Trial:
    """Stop a worker past its lease, let another finish, wake it: nothing may change."""
    with _fresh() as home:
        run_id = home.submit("waits").run_id
        first = home.claim(lease_s=2.0)
        assert first is not None
        sleeper = home.spawn_worker(first)
        toy.until(lambda: "gather" in home.steps(run_id), 60.0)
        time.sleep(dice.uniform(0.0, 0.3))
        os.kill(sleeper, signal.SIGSTOP)
        (home.path / "go").touch()
        began = time.monotonic()
        with home.supervised():
            ended = _ending(home, run_id)
        seconds = time.monotonic() - began
        before = home.run(run_id)
        os.kill(sleeper, signal.SIGCONT)
        toy.until(lambda: process.started_at(sleeper) is None, 60.0)
        same = ended[0] == "SUCCEEDED" and (home.run(run_id), _ending(home, run_id)) == (before, ended)
        return Trial(same, max(Counter(home.made()).values()), seconds)


def _judge(home: toy.Home, run_id: str, expected: Ending) -> Trial:
    began = time.monotonic()
    same = _ending(home, run_id) == expected
    seconds = time.monotonic() - began
    most = max(Counter(home.made()).values())
    return Trial(same and most <= 2 and not home.unfinished_files(), most, seconds)


def main() -> int:
    """Run all trials and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("trials", "cancels", "fences"):
        parser.add_argument(f"--{name}", type=int, default=20)
    asked = parser.parse_args()
    expected, dice = unkilled(), random.Random(7)
    table: dict[str, tuple[int, Callable[[], Trial]]] = {
        **{f"worker {p}": (asked.trials, lambda p=p: kill_worker(p, expected)) for p in toy.WORKER_POINTS},  # type: ignore[misc]
        **{f"server {p}": (asked.trials, lambda p=p: kill_server(p, expected)) for p in toy.SERVER_POINTS},  # type: ignore[misc]
        "worker at random": (asked.trials, lambda: kill_at_random(expected, dice)),
        "cancel at random": (asked.cancels, lambda: cancel_at_random(expected, dice)),
        "asleep past the lease": (asked.fences, lambda: fence(expected, dice)),
    }
    print(f"{'point':24}{'trials':>8}{'same end':>10}{'most made':>11}{'max s to end':>14}")
    alike = True
    for name, (count, trial) in table.items():
        trials = [trial() for _ in range(count)]
        same = sum(one.same for one in trials)
        alike &= same == count
        most, longest = max((one.most_made for one in trials), default=0), max((t.seconds for t in trials), default=0.0)
        print(f"{name:24}{count:>8}{same:>10}{most:>11}{longest:>14.2f}", flush=True)
    return 0 if alike else 1


if __name__ == "__main__":
    raise SystemExit(main())

"""A real corridor killed between any two steps: does it end as an undisturbed one, trained and published once?

    python benchmarks/torture_corridor.py [--database sqlite] [--killed worker] [--random 6] [--side-by-side 2]

`kill -9` of the worker at every milestone of a training (each step made, stored, recorded, the moves of the run's
state) and of a server that makes the call run_training, publish_bundle or promote_bundle: at each of its milestones, at
each statement of its transaction that writes, and once it has answered. The points are those that an undisturbed
corridor passes, so that no step is left out. Then the same at random instants. After each kill the call is repeated
under its key and the corridor walked to its end, which has to be the undisturbed one: states, digests of the steps, one
bundle of the same id, version and manifest, one event of its publication, one ACTIVE, and a log that verifies and
explains them. Prints a line a point: trials, same ends, the most workers that one training had. Exits with 1 if
anything was otherwise.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from databases import KINDS, TESTS, Fresh, fresh_databases

sys.path.append(str(TESTS / "journeys"))

import corridor_toy as toy

LEASE_S = "5"  # a worker on a busy machine is not silent as long as this
MOST_WORKERS = 2
KILLED = ("worker", "server")


@dataclass(frozen=True)
class Bench:
    """Homes to start from, by the call that comes next, and the end that an undisturbed corridor comes to.

    points: of the worker and of each call, in order; seconds: a worker took, undisturbed.
    """

    fresh: Fresh
    starts: dict[str, toy.Place]
    expected: toy.Ending
    points: dict[str, list[str]]
    seconds: float


@dataclass(frozen=True)
class Trial:
    """One kill. wrong: what was otherwise than undisturbed, in words; workers: that had the training."""

    workers: int
    wrong: tuple[str, ...]


@contextmanager
def bench_in(folder: Path, fresh: Fresh) -> Iterator[Bench]:
    """Walk the corridor once, keeping a copy of the home before each call."""
    with ExitStack() as kept:
        address = kept.enter_context(fresh())
        place = toy.begin(folder / "home", address)
        starts, points, seconds = {}, {}, 0.0
        for tool in toy.CALLS:
            start = starts[tool] = place.copied(folder / tool, kept.enter_context(fresh(address)))
            with _copy(start, fresh) as copy:
                points[tool] = toy.Server(copy).passed()
            began = time.monotonic()
            with toy.opened(place.settings()) as desk:
                place = toy.go_on(place, desk)
                if tool == "run_training":
                    points["worker"], seconds = toy.step_points(desk), time.monotonic() - began
                expected = toy.ending(place, desk)
        yield Bench(fresh, starts, expected, points, seconds)


@contextmanager
def _copy(start: toy.Place, fresh: Fresh) -> Iterator[toy.Place]:
    with (
        tempfile.TemporaryDirectory(prefix="torture-", ignore_cleanup_errors=True) as folder,
        fresh(start.address) as address,
    ):
        yield start.copied(Path(folder) / "home", address)


def kill_worker(point: str, bench: Bench, dice: random.Random) -> Trial:
    """End the first worker at a milestone; what it had recorded stands, and is not made again."""
    with (
        _copy(bench.starts["run_training"], bench.fresh) as place,
        toy.opened(place.settings(LEASE_S=LEASE_S, CRASH_AT=point)) as desk,
    ):
        toy.go_on(place, desk)
        made, points = toy.epochs(desk), bench.points["worker"]
        wrong = [
            f"{step} was made by worker {epoch}"
            for step, epoch in made.items()
            if epoch != (1 if points.index(f"{step}:recorded") <= points.index(point) else 2)
        ]
        unkilled = [] if point == "finished" or toy.workers(desk) == MOST_WORKERS else ["no worker was killed"]
        return _judged(place, desk, bench, [*wrong, *unkilled])


def kill_worker_at_random(bench: Bench, dice: random.Random) -> Trial:
    """End the worker at any instant from its start to its end."""
    with (
        _copy(bench.starts["run_training"], bench.fresh) as place,
        toy.opened(place.settings(LEASE_S=LEASE_S)) as desk,
    ):
        run_id = desk.call("run_training", dict(place.asked["run_training"]))["result"]["run_id"]
        pid = None
        while pid is None:
            time.sleep(0.02)
            with desk.app.database.read() as connection:
                pid = desk.app.engine.run(connection, run_id).worker_pid
        time.sleep(dice.uniform(0.0, bench.seconds))
        with suppress(ProcessLookupError):  # it may have ended before
            os.kill(pid, signal.SIGKILL)
        return _judged(place, desk, bench, [])


def kill_server(tool: str, point: str, bench: Bench, dice: random.Random) -> Trial:
    """End the server of a call at a point of it; another one is asked the same."""
    with _copy(bench.starts[tool], bench.fresh) as place:
        wrong = [] if toy.Server(place, point).killed() else ["no server was killed"]
        with toy.opened(place.settings()) as desk:
            return _judged(place, desk, bench, wrong)


def kill_server_at_random(bench: Bench, dice: random.Random) -> Trial:
    """End the server of a publication or promotion at any instant of it."""
    with _copy(bench.starts[dice.choice(toy.CALLS[1:])], bench.fresh) as place:
        server = toy.Server(place)
        server.go()
        time.sleep(dice.uniform(0.0, 0.25))
        server.process.kill()
        server.process.wait()
        with toy.opened(place.settings()) as desk:
            return _judged(place, desk, bench, [])


def _judged(place: toy.Place, desk: toy.Desk, bench: Bench, wrong: Sequence[str]) -> Trial:
    """Repeat the call that was killed, walk on to the end, and compare."""
    found, workers = toy.to_the_end(place, desk), toy.workers(desk)
    otherwise = [f"{what}: {found[what]}, not {bench.expected[what]}" for what in found
                 if found[what] != bench.expected[what]]  # fmt: skip
    late = [f"{workers} workers"] if workers > MOST_WORKERS else []
    return Trial(workers, (*wrong, *otherwise, *late))


def _tried(trial: Callable[[Bench, random.Random], Trial], bench: Bench, dice: random.Random) -> Trial:
    """A trial that comes to no end in time is one that failed, not the end of all."""
    try:
        return trial(bench, dice)
    except AssertionError as error:
        return Trial(0, (f"came to no end: {error}",))


def table(bench: Bench, asked: argparse.Namespace) -> tuple[int, int]:
    """Run all trials on one database and print their lines; how many there were, and how many ended the same."""
    kinds: dict[str, tuple[int, Callable[[Bench, random.Random], Trial]]] = {
        **{f"worker {point}": (1, partial(kill_worker, point)) for point in bench.points["worker"]},
        **{
            f"server {tool.partition('_')[0]}: {point.removeprefix(f'{tool}:')}": (1, partial(kill_server, tool, point))
            for tool in toy.CALLS
            for point in bench.points[tool]
        },
        "worker at random": (asked.random, kill_worker_at_random),
        "server at random": (asked.random, kill_server_at_random),
    }
    kinds = {name: kind for name, kind in kinds.items() if name.partition(" ")[0] in (asked.killed or KILLED)}
    trials = [(name, trial, number) for name, (count, trial) in kinds.items() for number in range(count)]
    with ThreadPoolExecutor(asked.side_by_side) as side_by_side:
        under_way = [
            (name, side_by_side.submit(_tried, trial, bench, random.Random(f"{name} {number}")))
            for name, trial, number in trials
        ]
        print(f"{'point':44}{'trials':>8}{'same end':>10}{'most workers':>14}")
        for name in kinds:
            ended = [one.result() for known, one in under_way if known == name]
            same, most = sum(not one.wrong for one in ended), max((one.workers for one in ended), default=0)
            print(f"{name:44}{len(ended):>8}{same:>10}{most:>14}", flush=True)
            for wrong in (wrong for one in ended for wrong in one.wrong):
                print(f"    {wrong}", flush=True)
    return len(trials), sum(not one.result().wrong for _, one in under_way)


def main() -> int:
    """Run all trials on the databases that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=KINDS, action="append", help="default: both")
    parser.add_argument("--killed", choices=KILLED, action="append", help="default: both")
    parser.add_argument("--random", type=int, default=6)
    parser.add_argument("--side-by-side", type=int, default=2)
    asked = parser.parse_args()
    trials, same, began = 0, 0, time.monotonic()
    for kind in asked.database or KINDS:
        print(f"\n{kind}", flush=True)
        with (
            fresh_databases(kind) as fresh,
            tempfile.TemporaryDirectory(prefix="torture-") as folder,
            bench_in(Path(folder), fresh) as bench,
        ):
            if bench.expected["wrong"]:
                print(f"undisturbed: {bench.expected['wrong']}")
                return 1
            more, good = table(bench, asked)
            trials, same = trials + more, same + good
    print(f"\n{trials} trials, {same} with the same end, {time.monotonic() - began:.0f} s")
    return 0 if same == trials else 1


if __name__ == "__main__":
    sys.exit(main())

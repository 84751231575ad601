"""Everything that has to hold when things are killed, raced, flooded or broken, at full size; prints tables.

    python benchmarks/torture.py [--only NAME] [--only NAME]

Each part is a process of its own, ended after its time; its exit code says whether it held, and so does this one's.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
SLOW: Final = ("-m", "pytest", "-v", "--no-header", "-m", "slow or not slow")


@dataclass(frozen=True)
class Part:
    """One thing that has to hold. command: after the interpreter; at_most_s: what it may take before it is ended."""

    name: str
    title: str
    command: tuple[str, ...]
    at_most_s: float = 1200.0


def parts() -> Iterator[Part]:
    """The parts whose files are here, in the order they run."""
    for name, title in (
        ("races", "Races: one run per key, 64 threads and 8 processes, both databases"),
        ("kills", "Kills, cancels and fencing: a run of three steps, both databases"),
        ("corridor", "A real training, its publication and promotion, killed between any two steps, both databases"),
        ("registry", "Promotions, rollbacks and resolutions of 16 clients: every state explained, both databases"),
        ("writes", "A server killed while eight clients write: nothing acknowledged is lost, both databases"),
        ("calls", "Generated calls: every one answered, typed, in time, on record"),
        ("audit", "A log that proves itself: what was tampered with is found"),
        ("flood", "A flood from one caller beside the normal use of another"),
        ("leaks", "34 ways to let the future into a training: each fails by its guard, honest ones pass"),
        ("faults", "A full disk, a home that cannot be written, a database that goes and comes back"),
    ):
        if (HERE / f"torture_{name}.py").exists():
            yield Part(name, title, (str(HERE / f"torture_{name}.py"),))
    title = "The registry beside a plain model: 200 runs of 50 steps, every transition met, both databases"
    yield Part("states", title, (*SLOW, "-k", "two_hundred", str(HERE.parent / "tests/engine/test_registry_states.py")))
    title = "Kills of a real training at every named step, worker and server: same state, same bytes"
    yield Part("trainings", title, (*SLOW, "-k", "killed", str(HERE.parent / "tests/journeys")))


def held(part: Part) -> bool:
    """Run one part, its tables on our output."""
    print(f"\n## {part.title}\n", flush=True)
    try:
        return subprocess.run([sys.executable, *part.command], check=False, timeout=part.at_most_s).returncode == 0
    except subprocess.TimeoutExpired:
        print(f"ended: it took more than {part.at_most_s:g} s", flush=True)
        return False


def main() -> int:
    """Run the parts that were asked for, all by default; 0 if every one held."""
    known = {part.name: part for part in parts()}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(known), action="append", metavar="NAME", help=", ".join(known))
    lines, all_held = [], True
    for name in parser.parse_args().only or known:
        began = time.monotonic()
        good = held(known[name])
        all_held &= good
        lines.append(f"{name:12}{'held' if good else 'NOT HELD':10}{time.monotonic() - began:8.0f} s")
    print("\n## All parts\n", *lines, sep="\n")
    return 0 if all_held else 1


if __name__ == "__main__":
    sys.exit(main())

"""Kills and races at full size, each in a process of its own; prints the tables that the README shows.

python benchmarks/torture.py
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PARTS = (
    ("Races: one run per key", [str(HERE / "torture_races.py")]),
    (
        "Kills, cancels and fencing: a run of three steps",
        [str(HERE / "torture_kills.py"), "--trials", "12", "--cancels", "40", "--fences", "25"],
    ),
    (
        "Kills of a real training at every named step, worker and server: same state, same bytes",
        [
            "-m",
            "pytest",
            "-v",
            "--no-header",
            "-m",
            "slow or not slow",
            "-k",
            "killed",
            str(HERE.parent / "tests/journeys"),
        ],
    ),
)


def main() -> int:
    """Run every part; the exit code says whether all held."""
    worst = 0
    for title, command in PARTS:
        print(f"\n## {title}\n", flush=True)
        worst = max(worst, subprocess.run([sys.executable, *command], check=False).returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main())

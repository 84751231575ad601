"""Kills and races at full size, each in a process of its own; prints the tables that the README shows.

python benchmarks/torture.py
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PARTS = (
    ("Races: one run per key", ["torture_races.py"]),
    ("Kills, cancels and fencing", ["torture_kills.py", "--trials", "12", "--cancels", "40", "--fences", "25"]),
)


def main() -> int:
    """Run every part; the exit code says whether all held."""
    here, worst = Path(__file__).parent, 0
    for title, command in PARTS:
        print(f"\n## {title}\n", flush=True)
        worst = max(
            worst, subprocess.run([sys.executable, str(here / command[0]), *command[1:]], check=False).returncode
        )
    return worst


if __name__ == "__main__":
    sys.exit(main())

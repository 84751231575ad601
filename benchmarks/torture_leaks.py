"""34 ways to let the future into a training: does each run fail by its guard, and lead to nothing?

    python benchmarks/torture_leaks.py [--only MUTANT] [--only MUTANT]

Each leak of tests/engine/leakage/mutants.toml is put into the real code, or into the data, and a training is planned,
submitted, claimed and worked on in a home of its own, by the `default` profile; the guards are as they are. One line a
leak: the guards that catch it, and CPU seconds. Then the same trainings without a leak. Exits with 1 if a leak slips
through, leads to anything, or is not found by its guard, or if an honest training does not pass every guard.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "engine"))

ROW = "{:32}{:26}{:>8}  {}"


def timed(name: str, run: Callable[[Path, pytest.MonkeyPatch], Any], judge: Callable[[Any], list[str]]) -> bool:
    """One training in a home of its own; prints the line, True if nothing is wrong with how it ended."""
    began = time.process_time()
    with tempfile.TemporaryDirectory(prefix="torture-") as folder, pytest.MonkeyPatch.context() as patch:
        ended = run(Path(folder), patch)
        wrong = judge(ended)
        caught = ", ".join(ended.caught_by) or "-"
        ended.home.database.close()
    print(ROW.format(name, caught, f"{time.process_time() - began:.1f}", "; ".join(wrong) or "-"), flush=True)
    return not wrong


def _alarms(ended: Any) -> list[str]:
    return list(ended.alarms)


def main() -> int:
    """Try each leak and then the honest trainings; 0 where all went as it should, else 1."""
    from leaking_runs import HONEST, LISTED, leaked, trained

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", choices=sorted(LISTED), help="a leak; may be repeated")
    asked = parser.parse_args().only
    print(ROW.format("leak", "caught by", "CPU s", "wrong"))
    held = [
        timed(name, lambda folder, patch, n=name: leaked(n, folder, patch), lambda one, n=name: one.holes(LISTED[n]))
        for name in asked or LISTED
    ]
    print(f"{sum(held)} of {len(held)} caught\n")
    for name, work in ({} if asked else HONEST).items():
        held.append(timed(f"honest, {name}", lambda folder, patch, w=work: trained(w, folder, patch), _alarms))
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())

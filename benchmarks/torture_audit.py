"""Tamper with a sealed log, 10,000 times on each database: flipped bits, deletions, swaps and cuts are all found.

python benchmarks/torture_audit.py [--trials 10000] [--entries 1000] [--database sqlite|postgresql]
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parent.parent / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "audit")]

from postgres_server import PostgresServer  # noqa: E402
from sealed_log import COLUMNS, TAMPERINGS, SealedLog, flip, sealed_log  # noqa: E402

# Of 1,000 trials: most flip a bit, over all columns in turn; the others change whole rows.
SHARES = {"flip": 850, "delete": 60, "swap": 50, "truncate": 40}


def main() -> int:
    """Run the trials; the exit code says whether all were found."""
    asked = argparse.ArgumentParser()
    asked.add_argument("--trials", type=int, default=10_000)
    asked.add_argument("--entries", type=int, default=1_000)
    asked.add_argument("--database", choices=("sqlite", "postgresql"))
    given = asked.parse_args()
    missed = 0
    print("| database | entries | tampering | trials | found | s |\n|---|---|---|---|---|---|")
    for database in [given.database] if given.database else ["sqlite", "postgresql"]:
        with tempfile.TemporaryDirectory() as folder:
            if database == "sqlite":
                missed += _trials(sealed_log(Path(folder), "", entries=given.entries), given.trials)
                continue
            server = PostgresServer()
            try:
                missed += _trials(sealed_log(Path(folder), server.fresh(), entries=given.entries), given.trials)
            finally:
                server.close()
    return 1 if missed else 0


def _trials(log: SealedLog, trials: int) -> int:
    before = log.verify()
    assert before.intact, before.problems
    kinds = [kind for kind, share in SHARES.items() for _ in range(share)]
    made, found, seconds = Counter[str](), Counter[str](), Counter[str]()
    for trial in range(trials):
        kind = kinds[trial * 617 % len(kinds)]
        began = time.perf_counter()
        done, was_found = _trial(log, kind, random.Random(trial))
        seconds[kind] += int((time.perf_counter() - began) * 1e6)
        made[kind] += 1
        found[kind] += was_found
        if not was_found:
            print(f"NOT FOUND, trial {trial}: {done}", file=sys.stderr)
    for kind in SHARES:
        row = (log.database.kind, before.entries, kind, made[kind], found[kind], f"{seconds[kind] / 1e6:.0f}")
        print("| " + " | ".join(str(value) for value in row) + " |", flush=True)
    log.database.close()
    return sum(made.values()) - sum(found.values())


def _trial(log: SealedLog, kind: str, rng: random.Random) -> tuple[str, bool]:
    while True:
        with log.tampering() as connection:
            done = flip(connection, rng, *rng.choice(COLUMNS)) if kind == "flip" else TAMPERINGS[kind](connection, rng)
            if done is not None:
                return done, not log.verify(connection).intact


if __name__ == "__main__":
    sys.exit(main())

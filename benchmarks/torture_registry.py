"""Many clients on one registry: is there ever a second ACTIVE bundle, or a state that no event explains?

    python benchmarks/torture_registry.py [--database sqlite] [--clients 16] [--operations 10000]

Processes promote, roll back and resolve at random in three scopes of one home, half of the changes under the token they
have just read. Afterwards the events are replayed by a model of lists that shares no code with the registry: every
answer that any client was given has to be the one of its token, every change that was answered has to be one event and
no other, and what is ACTIVE has to be where the events lead. Exits with 1 if anything was otherwise.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from databases import KINDS, fresh_databases

from mcp_forecast.home.opening import open_home

ROW = "{:12}{:>8}{:>8}{:>9}{:>10}{:>10}{:>11}{:>9}  {}"


def counted(line: dict[str, Any]) -> str:
    """What came of an operation."""
    if line["op"] == "resolve":
        return "resolved"
    return "conflict" if line.get("conflict") else "moved" if line["changed"] else "held"


def torture(kind: str, clients: int, operations: int) -> bool:
    """All clients on one database; prints the line, True if the events explain everything."""
    from registry_toy import CANDIDATES, publish, race, unexplained

    with (
        fresh_databases(kind) as fresh,
        fresh() as address,
        tempfile.TemporaryDirectory(prefix="torture-") as folder,
        closing(open_home(Path(folder), address)) as database,
    ):
        with database.command() as connection:
            publish(connection, *CANDIDATES)
        began = time.monotonic()
        lines = race(address or Path(folder) / "forecast.db", clients, operations // clients)
        seconds = time.monotonic() - began
        with database.command() as connection:
            database.unhurried(connection)
            wrong = unexplained(connection, lines)
    found = Counter(map(counted, lines))
    numbers = (found[name] for name in ("resolved", "moved", "held", "conflict"))
    print(ROW.format(kind, clients, len(lines), *numbers, f"{seconds:.0f}", "; ".join(wrong[:3]) or "-"), flush=True)
    return not wrong and len(lines) == operations // clients * clients


def main() -> int:
    """Race on the databases that were asked for and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=KINDS, action="append", help="default: both")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--operations", type=int, default=10_000)
    asked = parser.parse_args()
    print(
        ROW.format("database", "clients", "asked", "resolved", "moved", "held", "conflicts", "seconds", "unexplained")
    )
    held = [torture(kind, asked.clients, asked.operations) for kind in asked.database or KINDS]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())

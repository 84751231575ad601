"""A server killed while eight clients write: is every answer it gave still true, and every call done once?

    python benchmarks/torture_writes.py [--database sqlite] [--kills 50]

Eight connections write to a real HTTP server as fast as they can, each call under a key of its own, until `kill -9` at
a random time. The next server on the same home is asked every call again, under its key: what was answered before has
to come back as a replay with the same result and the request it belongs to; what was under way has to work now. At the
end the whole history is replayed, each answer stands in the audit log exactly once, each run exists once, and the log
has no gaps. Exits with 1 if anything was otherwise.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from callers import GIVEN_UP_S, Asked, Caller, Heard, HttpCaller, open_caller
from databases import KINDS, fresh_databases
from sqlalchemy import text
from wire import MODERN

from mcp_forecast_engine.store.database import open_database

CLIENTS = 8
ROWS = [{"ds": f"2025-{m:02d}-{d:02d}", "y": float(d + 3 * m)} for m in range(1, 13) for d in range(1, 29)]
SETTINGS = {
    "MCP_FORECAST_WORKERS": "0", "MCP_FORECAST_RUNS_PER_DAY": "1000000000",
    "MCP_FORECAST_RUNS_AT_ONCE": "1000000", "MCP_FORECAST_QUEUE_LIMIT": "1000000",
}  # fmt: skip


@dataclass
class History:
    """What was asked and what was answered. answered: (tool, key) → the first answer's request and result."""

    asked: dict[str, Asked] = field(default_factory=dict)
    answered: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    cut: int = 0
    lost: int = 0
    doubled: int = 0

    def take(self, key: str, heard: Heard) -> None:
        """Note an answer, and compare it with the one that was given before under this key."""
        answer = heard.messages[0]["result"]["structuredContent"] if heard.messages else None
        if answer is None:
            self.cut += 1
        elif key not in self.answered:
            self.answered[key] = (answer.get("replay_of", answer["request_id"]), answer.get("result", {}))
            self.lost += not answer["ok"]
        else:
            request, result = self.answered[key]
            # Not replayed: the answer that a client holds was forgotten and its work done again.
            self.doubled += not answer["replayed"]
            self.lost += (answer.get("replay_of"), answer.get("result")) != (request, result)


def write_until_killed(caller: HttpCaller, history: History, dataset: str, round_: int, dice: random.Random) -> None:
    """Eight clients write until the server is killed; what each was answered is in the history."""
    first = threading.Event()  # until then the server may still be opening its home

    def client(number: int) -> None:
        for count in range(100_000):
            key = f"r{round_}-c{number}-{count}"
            asked = _call(key, dataset, number, count, round_)
            history.asked[key] = asked
            heard = caller.ask_over_one(asked)
            history.take(key, heard)
            first.set()
            if not heard.messages:
                return

    clients = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for one in clients:
        one.start()
    first.wait(GIVEN_UP_S)
    time.sleep(dice.uniform(0.02, 1.0))
    caller.process.kill()
    caller.process.wait()
    for one in clients:
        one.join(timeout=GIVEN_UP_S)


def replay(caller: Caller, history: History, keys: list[str]) -> None:
    """Ask again for what these keys asked."""
    for key, heard in zip(keys, caller.ask_all([history.asked[key] for key in keys]), strict=True):
        history.take(key, heard)


def _call(key: str, dataset: str, number: int, count: int, round_: int) -> Asked:
    """Trainings on one dataset and new datasets in turn; no two clients ask for the same."""
    if count % 2:
        rows = [{"ds": f"2025-01-{day:02d}", "y": float(round_ * 1000 + number * 100 + day)} for day in range(1, 15)]
        rows[-1]["y"] = float(count)
        return Asked("register_dataset", {"rows": rows, "idempotency_key": key})
    horizon, windows = 1 + (count // 2) % 20, 1 + round_ % 40
    return Asked(
        "run_training",
        {"dataset_id": dataset, "horizon": horizon, "test_windows": windows, "season_length": 1 + number,
         "idempotency_key": key},
    )  # fmt: skip


def torture(kind: str, kills: int) -> bool:
    """All kills on one database; prints the line, True if nothing was lost or done twice."""
    history, killed_under_way, began = History(), 0, time.monotonic()
    with fresh_databases(kind) as fresh, fresh() as address, tempfile.TemporaryDirectory(prefix="torture-") as folder:
        home = Path(folder) / "home"
        more = {**SETTINGS, "MCP_FORECAST_DATABASE": address}
        caller = open_caller("http", MODERN, home, more)
        (heard,) = caller.ask_all([Asked("register_dataset", {"rows": ROWS, "freq": "D"})])
        dataset = heard.messages[0]["result"]["structuredContent"]["result"]["dataset_id"]
        for round_ in range(kills):
            assert isinstance(caller, HttpCaller)
            cut = history.cut
            write_until_killed(caller, history, dataset, round_, random.Random(f"{kind} {round_}"))
            killed_under_way += history.cut - cut
            caller = open_caller("http", MODERN, home, more)
            replay(caller, history, [key for key in history.asked if key.startswith(f"r{round_}-")])
        replay(caller, history, list(history.asked))
        caller.close()
        wrong = _wrong(address or home / "forecast.db", history)
    unanswered = len(history.asked) - len(history.answered)
    held = not (history.lost or history.doubled or unanswered or wrong)
    print(
        f"{kind:12}{kills:>6}{len(history.asked):>8}{killed_under_way:>10}{history.lost:>6}{history.doubled:>9}"
        f"{time.monotonic() - began:>8.0f}  {', '.join(wrong) or '-'}",
        flush=True,
    )
    return held


def _wrong(address: str | Path, history: History) -> list[str]:
    """What ledger and log say otherwise than the answers."""
    database = open_database(address)
    with database.read() as connection:
        entries = connection.execute(text("SELECT seq, body FROM audit_entry ORDER BY seq")).all()
        runs = Counter(connection.execute(text("SELECT run_key FROM run")).scalars())
        keys = connection.execute(text("SELECT count(*) FROM idempotency_key")).scalar_one()
    database.close()
    logged = Counter(json.loads(body).get("request_id") for _, body in entries)
    first = {request for request, _ in history.answered.values()}
    named = {result["run_id"] for _, result in history.answered.values() if "run_id" in result}
    found = {
        "answers not in the log exactly once": sum(logged[request] != 1 for request in first),
        "gaps in the log": entries[-1].seq - entries[0].seq + 1 - len(entries),
        "runs made twice": sum(count > 1 for count in runs.values()),
        "runs that nobody was told of": len(runs) - len(named),
        "keys too many or too few": keys - len(history.answered),
    }
    return [f"{count} {what}" for what, count in found.items() if count]


def main() -> int:
    """Kill servers on the databases that were asked for and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=KINDS, action="append", help="default: both")
    parser.add_argument("--kills", type=int, default=50)
    asked = parser.parse_args()
    print(f"{'database':12}{'kills':>6}{'writes':>8}{'cut off':>10}{'lost':>6}{'doubled':>9}{'seconds':>8}  wrong")
    held = [torture(kind, asked.kills) for kind in asked.database or KINDS]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())

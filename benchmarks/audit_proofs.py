"""A log of a million entries, sealed every 256: seconds to verify it all, milliseconds for a proof.

python benchmarks/audit_proofs.py [--entries 1000000] [--proofs 500] [--postgres]
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mcp_forecast.home.opening import open_home
from mcp_forecast.home.sealing import home_id_of, origin_of
from mcp_forecast.home.signing_key import signer_of
from mcp_forecast_audit import log as audit_log
from mcp_forecast_audit.checkpoint import Checkpoint, keys_of, read_note
from mcp_forecast_audit.entry import Entry
from mcp_forecast_audit.proof import Prover
from mcp_forecast_audit.seal import SEAL_ENTRIES, seal
from mcp_forecast_audit.stored import note_at, standing
from mcp_forecast_audit.verify import verify
from mcp_forecast_engine.store.database import Database

AT_ONCE = 32 * SEAL_ENTRIES  # entries of one transaction
NOW = 1_795_262_400.0


def main() -> int:
    """Build, verify, prove; the exit code says whether the log was intact."""
    asked = argparse.ArgumentParser()
    asked.add_argument("--entries", type=int, default=1_000_000)
    asked.add_argument("--proofs", type=int, default=500)
    asked.add_argument("--postgres", action="store_true", help="on a PostgreSQL server of its own")
    given = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not given.postgres:
            return _measure(Path(folder), "", given.entries, given.proofs)
        sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
        from postgres_server import PostgresServer

        server = PostgresServer()
        try:
            return _measure(Path(folder), server.fresh(), given.entries, given.proofs)
        finally:
            server.close()


def entry(number: int) -> Entry:
    """An entry as a read leaves it, about 470 bytes."""
    return Entry(
        request_id=f"req_{number:024x}", at=NOW + number / 50, caller="local:bench", door="stdio",
        tool="get_run_status", contract="get_run_status@0.1.0",
        arguments={"digest": f"sha256:{number:064x}", "size": 40},
        decision={"verdict": "allow", "policy_id": "default", "digest": "sha256:" + "1" * 64}, code="OK",
        refs={"run_id": f"run_{number % 1000:024x}"},
    )  # fmt: skip


def fill(database: Database, home: Path, entries: int) -> str:
    """Enter so many, sealed every 256; returns the origin."""
    with database.read() as connection:
        origin = origin_of(home_id_of(connection))
    signer = signer_of(home, origin)
    for first in range(0, entries, AT_ONCE):
        with database.command() as connection:
            for start in range(first, min(first + AT_ONCE, entries), SEAL_ENTRIES):
                numbers = range(start, min(start + SEAL_ENTRIES, entries))
                audit_log.append(connection, [entry(number) for number in numbers])
                seal(connection, standing(connection), signer, now=NOW + numbers[-1] / 50)
    return origin


def _measure(home: Path, address: str, entries: int, proofs: int) -> int:
    database = open_home(home, address)
    began = time.perf_counter()
    origin = fill(database, home, entries)
    print(f"{database.kind}: {entries} entries entered and sealed in {time.perf_counter() - began:.1f} s")
    with database.read() as connection:
        note = standing(connection).note
    trusted = keys_of((home / "audit.pub").read_text().splitlines())
    began, worked = time.perf_counter(), time.process_time()
    report = verify(database.read, origin=origin, outside=note, trusted=trusted)
    seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    print(f"verified {report.entries} entries, {report.checkpoints} checkpoints: {seconds:.1f} s ({cpu:.1f} s of CPU)")
    print(f"intact: {report.intact}", *report.problems[:5], sep="\n")
    rng = random.Random(9)
    seqs = [rng.randint(1, entries) for _ in range(proofs)]
    _print("inclusion", [_timed(lambda seq=seq: _prove(database, seq)) for seq in seqs])  # type: ignore[misc]
    olds = [_checkpoint(database, SEAL_ENTRIES * rng.randint(1, entries // SEAL_ENTRIES)) for _ in range(proofs)]
    _print("consistency", [_timed(lambda old=old: _join(database, old)) for old in olds])  # type: ignore[misc]
    database.close()
    return 0 if report.intact else 1


def _prove(database: Database, seq: int) -> None:
    with database.read() as connection:
        Prover(connection).inclusion(seq)


def _join(database: Database, old: Checkpoint) -> None:
    with database.read() as connection:
        Prover(connection).consistency(old)


def _checkpoint(database: Database, size: int) -> Checkpoint:
    with database.read() as connection:
        note = note_at(connection, size)
    assert note is not None
    return read_note(note)


def _timed(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def _print(what: str, times: list[float]) -> None:
    times.sort()
    print(f"{what} proof: p50 {times[len(times) // 2]:.2f} ms, p99 {times[int(len(times) * 0.99)]:.2f} ms")


if __name__ == "__main__":
    sys.exit(main())

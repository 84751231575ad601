"""A sealed log to tamper with: filled, unlocked, changed inside a transaction that is rolled back."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from postgres_server import as_role
from sqlalchemy import Connection, text

from mcp_forecast.home.opening import open_home
from mcp_forecast.home.sealing import home_id_of, origin_of
from mcp_forecast.home.signing_key import signer_of
from mcp_forecast_audit import log as audit_log
from mcp_forecast_audit.checkpoint import Signer
from mcp_forecast_audit.entry import Entry
from mcp_forecast_audit.report import Report
from mcp_forecast_audit.seal import seal
from mcp_forecast_audit.stored import standing
from mcp_forecast_audit.verify import verify
from mcp_forecast_engine.store.database import Database, open_database

NOW: Final = 1_795_262_400.0
TABLES: Final[dict[str, tuple[tuple[str, ...], dict[str, str]]]] = {
    "audit_entry": (("seq",), {"seq": "int", "request_id": "text", "at": "float", "tool": "text", "caller": "text",
                               "code": "text", "body": "bytes", "leaf_hash": "bytes"}),
    "audit_ref": (("seq", "name"), {"seq": "int", "name": "text", "ref": "text"}),
    "audit_node": (("level", "position"), {"level": "int", "position": "int", "hash": "bytes"}),
    "audit_checkpoint": (("size",), {"size": "int", "at": "float", "note": "text"}),
    "audit_key": (("key_id",), {"key_id": "text", "public_key": "text", "since_size": "int"}),
}  # fmt: skip
COLUMNS: Final = [(table, column) for table, (_, columns) in TABLES.items() for column in columns]


def entry(number: int) -> Entry:
    """The entry of a call; every third one refers to something."""
    refs = {"run_id": f"run_{number % 7:024x}", "dataset_id": f"ds_{number % 3:024x}"} if number % 3 == 0 else {}
    return Entry(
        request_id=f"req_{number:024x}", at=NOW + number / 4, caller=f"local:{number % 5}", door="stdio",
        tool=("list_runs", "run_training")[number % 2], contract="list_runs@0.1.0",
        arguments={"digest": f"sha256:{number:064x}", "size": 40}, decision={"verdict": "allow"},
        code="OK" if number % 4 else "FORBIDDEN", refs=refs,
    )  # fmt: skip


class RolledBack(Exception):
    """Ends a transaction without a trace."""


@dataclass(frozen=True)
class SealedLog:
    """A log whose triggers are off. note: its newest checkpoint, as kept outside; address: as a superuser's."""

    database: Database
    home: Path
    signer: Signer
    note: str

    def verify(self, connection: Connection | None = None, *, outside: str | None = "", trust: bool = True) -> Report:
        """Verify it, inside a transaction if one is given, with the checkpoint and key that were kept."""
        return verify(
            self.database.read if connection is None else lambda: nullcontext(connection),
            origin=self.signer.name,
            outside=self.note if outside == "" else outside,
            trusted={self.signer.public.key_id: self.signer.public} if trust else None,
        )

    @contextmanager
    def tampering(self) -> Iterator[Connection]:
        """A transaction in which anything may be changed, and nothing is."""
        try:
            with self.database.command() as connection:
                yield connection
                raise RolledBack
        except RolledBack:
            pass


def sealed_log(home: Path, address: str, *, entries: int = 1000, every: int = 256) -> SealedLog:
    """A new home whose entries are all sealed."""
    database = open_home(home, address)
    with database.read() as connection:
        signer = signer_of(home, origin_of(home_id_of(connection)))
    for first in range(0, entries, every):
        with database.command() as connection:
            last = min(first + every, entries)
            audit_log.append(connection, [entry(number) for number in range(first, last)])
            seal(connection, standing(connection), signer, now=NOW + last / 4)
    with database.read() as connection:
        note = standing(connection).note
    assert note is not None
    database.close()
    return SealedLog(unlocked(home, address), home, signer, note)


def unlocked(home: Path, address: str) -> Database:
    """The database as somebody has it who can do anything to it."""
    database = open_database(as_role(address, "postgres") if address else home / "forecast.db")
    with database.command() as connection:
        if address:
            for table in TABLES:
                connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
        else:
            for name in (
                connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all()
            ):
                connection.execute(text(f"DROP TRIGGER {name}"))
    return database


def flip(connection: Connection, rng: random.Random, table: str, column: str) -> str | None:
    """Flip one bit of one value; returns what was done, or None where the database cannot hold that value."""
    key, columns = TABLES[table]
    rows = connection.execute(text(f"SELECT * FROM {table} ORDER BY {', '.join(key)}")).mappings().all()
    row = rng.choice(rows)
    changed = _flipped(row[column], columns[column], rng, sqlite=connection.dialect.name == "sqlite")
    if changed is None or _is_taken(rows, key, row, column, changed):
        return None
    as_text = isinstance(changed, bytes) and columns[column] == "text"
    where = " AND ".join(f"{name} = :{name}_was" for name in key)
    connection.execute(
        text(f"UPDATE {table} SET {column} = {'CAST(:changed AS TEXT)' if as_text else ':changed'} WHERE {where}"),
        {"changed": changed, **{f"{name}_was": row[name] for name in key}},
    )
    return f"{table}.{column} of {[row[name] for name in key]}: {row[column]!r:.60} to {changed!r:.60}"


def _is_taken(rows: Any, key: tuple[str, ...], row: Any, column: str, changed: Any) -> bool:
    """Whether another row has the key that this one would get: the database refuses that."""
    value = changed.decode("utf-8", "surrogateescape") if isinstance(changed, bytes) and column != "body" else changed
    made = tuple(value if name == column else row[name] for name in key)
    return column in key and any(tuple(other[name] for name in key) == made for other in rows)


def _flipped(value: Any, kind: str, rng: random.Random, *, sqlite: bool) -> Any:
    if kind == "int":
        return value ^ 1 << rng.randrange(62 if sqlite else 31)
    if kind == "float":
        bits: int = struct.unpack("<Q", struct.pack("<d", value))[0] ^ 1 << rng.randrange(64)
        made: float = struct.unpack("<d", struct.pack("<Q", bits))[0]
        return made if made == made and abs(made) != float("inf") else None
    data = bytearray(value.encode() if kind == "text" else value)
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    if kind == "bytes" or sqlite:
        return bytes(data)
    try:
        return None if 0 in data else bytes(data).decode()
    except UnicodeDecodeError:
        return None


def delete_row(connection: Connection, rng: random.Random) -> str:
    """Delete one row of one of the tables."""
    table = rng.choice([*TABLES, "audit_entry", "audit_entry"])
    key, _ = TABLES[table]
    row = rng.choice(connection.execute(text(f"SELECT {', '.join(key)} FROM {table}")).mappings().all())
    where = " AND ".join(f"{name} = :{name}" for name in key)
    connection.execute(text(f"DELETE FROM {table} WHERE {where}"), dict(row))
    return f"deleted {table} {dict(row)}"


def swap(connection: Connection, rng: random.Random) -> str:
    """Let two entries change places, with all their columns and refs."""
    count = connection.execute(text("SELECT max(seq) FROM audit_entry")).scalar_one()
    one, other = rng.sample(range(1, count + 1), 2)
    for table in ("audit_entry", "audit_ref"):
        for was, now in ((one, -1), (other, one), (-1, other)):
            connection.execute(text(f"UPDATE {table} SET seq = :now WHERE seq = :was"), {"was": was, "now": now})
    return f"swapped {one} and {other}"


def truncate(connection: Connection, rng: random.Random) -> str:
    """Cut the end off, and sometimes all that would tell of it inside the database."""
    count = connection.execute(text("SELECT max(seq) FROM audit_entry")).scalar_one()
    sizes = connection.execute(text("SELECT size FROM audit_checkpoint ORDER BY size")).scalars().all()
    thorough = len(sizes) > 1 and rng.random() < 0.5
    last = rng.choice(sizes[:-1]) if thorough else rng.randrange(count)
    for table in ("audit_entry", "audit_ref"):
        connection.execute(text(f"DELETE FROM {table} WHERE seq > :last"), {"last": last})
    if thorough:
        connection.execute(text("DELETE FROM audit_checkpoint WHERE size > :last"), {"last": last})
        connection.execute(
            text("DELETE FROM audit_node WHERE level = 1 AND (position + 1) * 256 > :last"), {"last": last}
        )
    return f"cut after {last}{', with its checkpoints and nodes' if thorough else ''}"


def flip_anywhere(connection: Connection, rng: random.Random) -> str:
    """Flip one bit of one value of a random column."""
    while True:
        done = flip(connection, rng, *rng.choice(COLUMNS))
        if done is not None:
            return done


TAMPERINGS: Final[dict[str, Callable[[Connection, random.Random], str]]] = {
    "flip": flip_anywhere, "delete": delete_row, "swap": swap, "truncate": truncate,
}  # fmt: skip

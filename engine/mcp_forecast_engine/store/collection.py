"""What nothing refers to any more is removed: mark from what the rows name, then sweep what is old.

A digest counts as named wherever its text stands: in any text column of any table, or in the bytes of an artifact that
is itself named. So nothing has to be told here about plans, results or documents, and doubt keeps a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Boolean, Column, Connection, Float, Integer, LargeBinary, Numeric, Table, select

from mcp_forecast_engine.errors import StoreUnavailable
from mcp_forecast_engine.store.artifacts import ArtifactStore, Stored

DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_DIGEST_BYTES: Final = re.compile(rb"sha256:[0-9a-f]{64}")
_DIGEST_LENGTH: Final = 71
_NO_TEXT: Final = (Integer, Float, Numeric, Boolean, LargeBinary)  # any other type is searched, also one not known here
_CHUNK: Final = 1 << 20
_LEAF: Final = b"PK"  # an .npz (a zip): numbers, which refer to nothing
_AT_ONCE: Final = 16  # files removed under one hold of the lock


@dataclass(frozen=True)
class Collection:
    """What a collection removed (or would have) and what it kept, files and bytes; `put_again` came back in between."""

    removed: int
    removed_bytes: int
    unfinished: int
    named: int
    named_bytes: int
    young: int
    young_bytes: int
    put_again: int


def digests_named(connection: Connection, tables: Iterable[Table]) -> set[str]:
    """Every digest that stands in a text column of these tables, wherever in the text; also what names no artifact."""
    found: set[str] = set()
    for table in tables:
        for column in table.columns:
            if not isinstance(column.type, _NO_TEXT):
                found.update(_in_column(connection, column))
    return found


def reachable(artifacts: ArtifactStore, roots: Iterable[str]) -> set[str]:
    """The roots, and every digest that stands in the bytes of an artifact that is reached. Raises StoreUnavailable."""
    reached: set[str] = set()
    ahead = set(roots)
    while ahead:
        digest = ahead.pop()
        reached.add(digest)
        ahead |= _digests_in(artifacts.path(digest)) - reached
    return reached


def collect(
    artifacts: ArtifactStore, named: Callable[[], set[str]], *, before: float, dry_run: bool = False
) -> Collection:
    """Remove every file that is reached from no root and was last put before `before` (seconds since 1970).

    named: reads the roots; called once the files are known, so that a row that came meanwhile counts. One collection
    at a time, and none beside a backup. Raises StoreUnavailable.
    """
    with artifacts.collecting(alone=True, within_s=0.0):
        files = list(artifacts.files())
        old = [file for file in files if file.changed_at < before]
        reached = reachable(artifacts, named()) if old else set()
        unnamed = [file for file in old if file.digest not in reached]
        removed = unnamed if dry_run else _removed(artifacts, unnamed, before=before)
    kept_named = [file for file in old if file.digest in reached]
    young = [file for file in files if file.changed_at >= before]
    return Collection(
        removed=len(removed), removed_bytes=_bytes(removed), unfinished=sum(file.digest is None for file in removed),
        named=len(kept_named), named_bytes=_bytes(kept_named), young=len(young), young_bytes=_bytes(young),
        put_again=len(unnamed) - len(removed),
    )  # fmt: skip


def _removed(artifacts: ArtifactStore, files: Sequence[Stored], *, before: float) -> list[Stored]:
    starts = range(0, len(files), _AT_ONCE)
    return [one for at in starts for one in artifacts.remove(files[at : at + _AT_ONCE], before=before)]


def _bytes(files: Iterable[Stored]) -> int:
    return sum(file.size for file in files)


def _in_column(connection: Connection, column: Column[str]) -> Iterator[str]:
    for text in connection.execute(select(column).where(column.contains("sha256:"))).scalars():
        yield from DIGEST.findall(text)


def _digests_in(path: Path) -> set[str]:
    """Digests in a file's bytes, read piece by piece; of what is not there or holds numbers, none."""
    found: set[str] = set()
    try:
        with path.open("rb") as file:
            piece = file.read(_CHUNK)
            if piece.startswith(_LEAF):
                return found
            while piece:
                found.update(match.decode() for match in _DIGEST_BYTES.findall(piece))
                rest = file.read(_CHUNK)
                piece = piece[-_DIGEST_LENGTH:] + rest if rest else b""
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StoreUnavailable(f"cannot read artifact {path.name}: {error.strerror}") from error
    return found

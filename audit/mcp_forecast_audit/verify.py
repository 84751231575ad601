"""Verify the whole log over the stored bytes: entries, refs, tree, checkpoints, and the checkpoint kept outside.

What this finds, it finds against signed checkpoints. Who holds the home's signing key can write another log and sign
it, which only a checkpoint and a public key that were kept elsewhere contradict: so pass both.
"""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from mcp_forecast_audit.checkpoint import Checkpoint, NoteInvalid, PublicKey, parse_key, verified_note
from mcp_forecast_audit.row import check_refs, checked_rows, shown
from mcp_forecast_audit.tree import BITS, Frontier, Node, root_hash

Read = Callable[[], AbstractContextManager[Connection]]  # Database.read: lent for one piece at a time
PIECE: Final = 4096  # entries that are read at once
MOST_SHOWN: Final = 100  # problems of a report
_BLOCK: Final = 1 << BITS
_ENTRIES = "SELECT seq, request_id, at, tool, caller, code, body, leaf_hash FROM audit_entry"
_REFS = "SELECT seq, name, ref FROM audit_ref"
_KEYS = "SELECT key_id, public_key, since_size FROM audit_key ORDER BY key_id"
_DEEPEST: Final = 6  # 256^6 entries are more than a log will have


@dataclass(frozen=True)
class Problem:
    """One contradiction: where, what was found and what was expected."""

    where: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.where}: found {self.found}; expected {self.expected}"


@dataclass(frozen=True)
class Report:
    """What was verified.

    sealed: entries under the newest checkpoint; root: that one's, base64, computed from the bytes. outside: entries
    under the checkpoint that was kept outside, None without one. keys: public keys whose signatures stand. problems:
    the first MOST_SHOWN of problem_count.
    """

    entries: int
    sealed: int
    checkpoints: int
    root: str | None
    outside: int | None
    keys: tuple[str, ...]
    problems: tuple[Problem, ...]
    problem_count: int

    @property
    def intact(self) -> bool:
        """Whether nothing contradicts anything."""
        return self.problem_count == 0

    @property
    def is_signed(self) -> bool:
        """Whether there was a signed checkpoint to verify anything against."""
        return self.sealed > 0 or self.outside is not None

    @property
    def ends_early(self) -> bool:
        """Whether an export that nothing contradicts ends before the checkpoint outside, which so proves nothing."""
        return self.intact and self.outside is not None and self.outside > self.entries


def verify(
    read: Read, *, origin: str, outside: str | None = None, trusted: Mapping[str, PublicKey] | None = None
) -> Report:
    """Read every row of the log and say what contradicts what; entries that come meanwhile are left to the next time.

    origin: the name that checkpoints of this home carry. outside: the checkpoint that was kept elsewhere. trusted: the
    only keys that may have signed, by key id; without them the home's own are taken, which proves less.
    """
    return _Walk(read, origin=origin, outside=outside, trusted=trusted).report()


class _Walk:
    """One pass over the log, a piece at a time."""

    def __init__(
        self, read: Read, *, origin: str, outside: str | None, trusted: Mapping[str, PublicKey] | None
    ) -> None:
        self._read, self._origin, self._trusted = read, origin, trusted
        self._problems: list[Problem] = []
        self._count = 0
        self._frontier, self._tail = Frontier(), list[bytes]()
        self._placed = True  # False once an entry is missing: what follows has no place in the tree
        self._last_seen: int | None = None
        self._entries = 0
        self._before, self._sealed, self._checkpoints, self._rooted = 0, 0, 0, True
        self._root: bytes | None = None
        self._nodes: list[Node] = []
        self._since = dict[str, Any]()
        self._keys = dict(trusted or {})
        with read() as connection:
            self._last = int(_fetched(connection, "SELECT coalesce(max(seq), 0) FROM audit_entry")[0][0])
            self._learn_keys(connection)
        self._signed_since: dict[str, int] = {}
        self._outside_note = outside
        self._outside = None if outside is None else self._opened("the checkpoint outside", outside)

    def report(self) -> Report:
        """Walk to the end."""
        while self._piece():
            pass
        with self._read() as connection:
            self._finish(connection)
        keys = tuple(key.vkey for key_id, key in sorted(self._keys.items()) if key_id in self._signed_since)
        return Report(
            entries=self._entries, sealed=self._sealed, checkpoints=self._checkpoints,
            root=None if self._root is None else base64.b64encode(self._root).decode(),
            outside=None if self._outside is None else self._outside.size, keys=keys,
            problems=tuple(self._problems), problem_count=self._count,
        )  # fmt: skip

    def _say(self, where: str, found: object, expected: object) -> None:
        self._count += 1
        if len(self._problems) < MOST_SHOWN:
            self._problems.append(Problem(where, str(found), str(expected)))

    def _learn_keys(self, connection: Connection) -> None:
        """Read the stored keys; one may come while this walks, with the first checkpoint that it signs."""
        for key_id, line, since in _fetched(connection, _KEYS):
            if str(key_id) in self._since:
                continue
            self._since[str(key_id)] = since
            key = self._key(key_id, line)
            if key is not None:
                self._keys.setdefault(key.key_id, key)

    def _key(self, key_id: object, line: object) -> PublicKey | None:
        try:
            key = parse_key(str(line))
        except NoteInvalid as error:
            self._say(f"public key {key_id!a}", error, "the key that signed")
            return None
        if key.key_id != key_id:
            self._say(f"public key {key_id!a}", "another id", key.key_id)
        return key

    def _opened(self, where: str, note: object) -> Checkpoint | None:
        """What a signed note says, if its signature stands and it is of this log."""
        try:
            checkpoint, key = verified_note(str(note), self._keys)
        except NoteInvalid as error:
            self._say(where, error, "a checkpoint of this home with a signature that stands")
            return None
        if checkpoint.origin != self._origin:
            self._say(where, f"origin {checkpoint.origin}", self._origin)
        if self._trusted is not None and key.key_id not in self._trusted and key.key_id not in self._signed_since:
            since = "" if where == "the checkpoint outside" else f"from entry {checkpoint.after + 1} on "
            self._say(
                where, f"signed {since}by a key that you did not give ({key.vkey})", "one of the public keys given"
            )
        if where != "the checkpoint outside":
            self._signed_since.setdefault(key.key_id, checkpoint.size)
        return checkpoint

    def _piece(self) -> bool:
        """Verify the next entries with all that belongs to them; False when there is none."""
        with self._read() as connection:
            rows = _fetched(
                connection, f"{_ENTRIES} WHERE {self._within('seq', self._last)} ORDER BY seq LIMIT {PIECE}"
            )
            upto = int(rows[-1][0]) if len(rows) == PIECE else self._last
            refs = _fetched(connection, f"{_REFS} WHERE {self._within('seq', upto)} ORDER BY seq, name")
            sealed = _fetched(
                connection,
                f"SELECT size, at, note FROM audit_checkpoint WHERE {self._within('size', upto)} ORDER BY size",
            )
            self._learn_keys(connection)  # after the checkpoints, so that none is here without its key
            leaves, expected = checked_rows(rows, self._say)
            check_refs(refs, expected, self._say)
            self._place([row[0] for row in rows])
            self._grow(leaves, sealed)
            self._check_nodes(connection)
        self._last_seen = upto
        return len(rows) == PIECE

    def _within(self, column: str, upto: int) -> str:
        after = "" if self._last_seen is None else f"{column} > {self._last_seen} AND "  # the first piece has no start
        return f"{after}{column} <= {upto}"

    def _place(self, numbers: list[Any]) -> None:
        if numbers != list(range(self._entries + 1, self._entries + 1 + len(numbers))) and self._placed:
            expected = next(n for n, seq in enumerate(numbers, self._entries + 1) if n != seq)
            self._say("entries", f"{numbers[expected - self._entries - 1]}", f"{expected}, the next without a gap")
            self._placed = False
        self._entries += len(numbers)

    def _grow(self, leaves: list[bytes], sealed: list[tuple[Any, ...]]) -> None:
        """Add the leaves, stopping where a checkpoint says what the root is there."""
        first = self._entries - len(leaves)
        stops: list[tuple[int, tuple[Any, ...] | None]] = [(int(row[0]), row) for row in sealed]
        if self._outside is not None and first < self._outside.size <= self._entries:
            stops.append((self._outside.size, None))
        done = 0
        for size, row in sorted(stops, key=lambda stop: stop[0]):
            upto = min(max(size - first, done), len(leaves))
            self._add(leaves[done:upto])
            done = upto
            self._check_checkpoint(row) if row is not None else self._check_outside()
        self._add(leaves[done:])

    def _add(self, leaves: list[bytes]) -> None:
        self._tail += leaves
        whole = len(self._tail) - len(self._tail) % _BLOCK
        for at in range(0, whole, _BLOCK):
            self._nodes += self._frontier.push(root_hash(self._tail[at : at + _BLOCK]), BITS)
        del self._tail[:whole]

    def _check_checkpoint(self, row: tuple[Any, ...]) -> None:
        size, at, note = row
        where = f"checkpoint {size}"
        self._checkpoints += 1
        checkpoint = self._opened(where, note)
        if checkpoint is not None:
            if (checkpoint.size, checkpoint.at) != (size, at):
                self._say(where, f"size {size}, at {at!r}", f"{checkpoint.size}, {checkpoint.at!r} as signed")
            if checkpoint.after != self._before:
                self._say(where, f"the checkpoint before it is {self._before}", f"{checkpoint.after}, as signed")
            self._compare_root(where, checkpoint)
        self._before = self._sealed = size

    def _check_outside(self) -> None:
        assert self._outside is not None
        self._compare_root("the checkpoint outside", self._outside)

    def _compare_root(self, where: str, checkpoint: Checkpoint) -> None:
        """Compare a signed root with that of the bytes; once they differ they differ from there on, so say it once."""
        if not self._placed or self._frontier.size + len(self._tail) != checkpoint.size:
            return
        self._root = self._frontier.root(self._tail)
        if self._root != checkpoint.root and self._rooted:
            made, signed = (base64.b64encode(root).decode() for root in (self._root, checkpoint.root))
            self._say(where, f"root {made} over the stored bytes", f"{signed}, as signed (and so in later ones)")
            self._rooted = False

    def _check_nodes(self, connection: Connection) -> None:
        """Compare the subtrees that are complete and sealed with the stored ones."""
        ready = [node for node in self._nodes if (node.position + 1) << BITS * node.level <= self._sealed]
        self._nodes = [node for node in self._nodes if (node.position + 1) << BITS * node.level > self._sealed]
        for level in sorted({node.level for node in ready}) if self._placed else ():
            made = {node.position: node.hash for node in ready if node.level == level}
            between = f"position >= {min(made)} AND position <= {max(made)}"
            rows = _fetched(connection, f"SELECT position, hash FROM audit_node WHERE level = {level} AND {between}")
            found = dict(rows)  # as they are: what was changed may be of any type
            for position, hash in made.items():
                if found.get(position) != hash:
                    was = shown(found[position]) if position in found else "no row"
                    self._say(f"node {level}/{position}", was, hash.hex())

    def _finish(self, connection: Connection) -> None:
        """What no piece covers: rows beyond the entries, and how the checkpoint outside stands to the stored ones."""
        # Single statements, so that entries and checkpoints of one moment are compared while a server goes on.
        top = "(SELECT coalesce(max(seq), 0) FROM audit_entry)"
        for (size,) in _fetched(connection, f"SELECT size FROM audit_checkpoint WHERE size > {top} ORDER BY size"):
            self._say(f"checkpoint {size}", f"{self._entries} entries", f"the {size} that it seals")
        lost = f"{_REFS} WHERE seq > {self._last} AND seq > {top} ORDER BY seq"
        check_refs(_fetched(connection, lost), [], self._say)
        self._count_nodes(connection)
        self._check_since(connection)
        for key_id in self._signed_since.keys() - self._since.keys():
            self._say(f"public key {key_id!a}", "no row", "the key that signed checkpoints")
        if self._outside is not None:
            self._compare_outside(connection, self._outside)

    def _check_since(self, connection: Connection) -> None:
        newest = "(SELECT coalesce(max(size), 0) FROM audit_checkpoint)"
        rows = _fetched(connection, f"SELECT key_id FROM audit_key WHERE since_size > {newest}")
        ahead = {str(key_id) for (key_id,) in rows}  # of every stored checkpoint
        for key_id, since in self._since.items():
            signed = self._signed_since.get(key_id)
            # One that signed only what came after this walk began is left to the next time.
            later = signed is None and key_id not in ahead and type(since) is int and since > self._last
            if signed != since and not later:
                first = "none" if signed is None else str(signed)
                self._say(
                    f"public key {key_id!a}", f"since checkpoint {shown(since)}", f"{first}, the first that it signed"
                )

    def _count_nodes(self, connection: Connection) -> None:
        newest = "(SELECT coalesce(max(size), 0) FROM audit_checkpoint)"
        rows = _fetched(
            connection,
            f"SELECT level, min(position), max(position), count(*), {newest} FROM audit_node GROUP BY level",
        )
        for level, first, last, count, sealed in rows:
            known = type(level) is int and 0 < level <= _DEEPEST
            full = int(sealed) >> BITS * level if known else 0
            if (first, last, count) != (0, full - 1, full):
                found = f"{count}, from {shown(first)} to {shown(last)}"
                self._say(f"nodes of level {shown(level)}", found, f"{full}, from 0")

    def _compare_outside(self, connection: Connection, outside: Checkpoint) -> None:
        where = "the checkpoint outside"
        rows = _fetched(connection, f"SELECT note FROM audit_checkpoint WHERE size = {outside.size}")
        if not rows:
            newest = f"the newest stored one is over {self._sealed} of {self._entries} entries"
            self._say(where, f"no stored checkpoint over {outside.size} entries; {newest}", "the same one in the home")
        elif rows[0][0] != self._outside_note:
            self._say(where, f"another stored checkpoint over {outside.size} entries", "the same one in the home")


def _fetched(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    """All rows of a query of fixed words and numbers, as the driver has them: SQLAlchemy's own rows cost seconds."""
    try:
        return _driver_rows(connection, query)
    except (OperationalError, sqlite3.OperationalError):
        raw: Any = connection.connection.driver_connection
        if not isinstance(raw, sqlite3.Connection):
            raise
        # Text that was changed may be no text any more: read it all the same, to say where.
        raw.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
        try:
            return _driver_rows(connection, query)
        finally:
            raw.text_factory = str


def _driver_rows(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    result = connection.exec_driver_sql(query)
    try:
        return list(result.cursor.fetchall())
    finally:
        result.close()

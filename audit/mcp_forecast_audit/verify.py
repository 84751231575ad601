"""Verify the whole log over the stored bytes: entries, refs, tree, checkpoints, and the checkpoint kept outside.

What this finds, it finds against signed checkpoints. Who holds the home's signing key can write another log and sign
it, which only a checkpoint and a public key that were kept elsewhere contradict: so pass both.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final

from sqlalchemy import Connection

from mcp_forecast_audit.checkpoint import Checkpoint, PublicKey
from mcp_forecast_audit.driver_rows import fetched
from mcp_forecast_audit.report import Findings, Report
from mcp_forecast_audit.row import check_refs, checked_rows, shown
from mcp_forecast_audit.signers import OUTSIDE, Signers
from mcp_forecast_audit.tree import BITS, Frontier, Node, root_hash

Read = Callable[[], AbstractContextManager[Connection]]  # Database.read: lent for one piece at a time
PIECE: Final = 4096  # entries that are read at once
_BLOCK: Final = 1 << BITS
_ENTRIES = "SELECT seq, request_id, at, tool, caller, code, body, leaf_hash FROM audit_entry"
_REFS = "SELECT seq, name, ref FROM audit_ref"
_DEEPEST: Final = 6  # 256^6 entries are more than a log will have


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
        self._read, self._findings = read, Findings()
        self._say = self._findings.say
        self._signers = Signers(origin=origin, trusted=trusted, say=self._say)
        self._frontier, self._tail = Frontier(), list[bytes]()
        self._placed = True  # False once an entry is missing: what follows has no place in the tree
        self._last_seen: int | None = None
        self._entries = 0
        self._before, self._sealed, self._checkpoints, self._rooted = 0, 0, 0, True
        self._root: bytes | None = None
        self._nodes: list[Node] = []
        with read() as connection:
            self._last = int(fetched(connection, "SELECT coalesce(max(seq), 0) FROM audit_entry")[0][0])
            self._signers.learn(connection)
        self._outside_note = outside
        self._outside = None if outside is None else self._signers.opened(OUTSIDE, outside)

    def report(self) -> Report:
        """Walk to the end."""
        while self._piece():
            pass
        with self._read() as connection:
            self._finish(connection)
        return Report(
            entries=self._entries, sealed=self._sealed, checkpoints=self._checkpoints,
            root=None if self._root is None else base64.b64encode(self._root).decode(),
            outside=None if self._outside is None else self._outside.size, keys=self._signers.signed,
            problems=tuple(self._findings.problems), problem_count=self._findings.count,
        )  # fmt: skip

    def _piece(self) -> bool:
        """Verify the next entries with all that belongs to them; False when there is none."""
        with self._read() as connection:
            rows = fetched(connection, f"{_ENTRIES} WHERE {self._within('seq', self._last)} ORDER BY seq LIMIT {PIECE}")
            upto = int(rows[-1][0]) if len(rows) == PIECE else self._last
            refs = fetched(connection, f"{_REFS} WHERE {self._within('seq', upto)} ORDER BY seq, name")
            sealed = fetched(
                connection,
                f"SELECT size, at, note FROM audit_checkpoint WHERE {self._within('size', upto)} ORDER BY size",
            )
            self._signers.learn(connection)  # after the checkpoints, so that none is here without its key
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
        checkpoint = self._signers.opened(where, note)
        if checkpoint is not None:
            if (checkpoint.size, checkpoint.at) != (size, at):
                self._say(where, f"size {size}, at {at!r}", f"{checkpoint.size}, {checkpoint.at!r} as signed")
            if checkpoint.after != self._before:
                self._say(where, f"the checkpoint before it is {self._before}", f"{checkpoint.after}, as signed")
            self._compare_root(where, checkpoint)
        self._before = self._sealed = size

    def _check_outside(self) -> None:
        assert self._outside is not None
        self._compare_root(OUTSIDE, self._outside)

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
            rows = fetched(connection, f"SELECT position, hash FROM audit_node WHERE level = {level} AND {between}")
            found = dict(rows)  # as they are: what was changed may be of any type
            for position, hash in made.items():
                if found.get(position) != hash:
                    was = shown(found[position]) if position in found else "no row"
                    self._say(f"node {level}/{position}", was, hash.hex())

    def _finish(self, connection: Connection) -> None:
        """What no piece covers: rows beyond the entries, and how the checkpoint outside stands to the stored ones."""
        # Single statements, so that entries and checkpoints of one moment are compared while a server goes on.
        top = "(SELECT coalesce(max(seq), 0) FROM audit_entry)"
        for (size,) in fetched(connection, f"SELECT size FROM audit_checkpoint WHERE size > {top} ORDER BY size"):
            self._say(f"checkpoint {size}", f"{self._entries} entries", f"the {size} that it seals")
        lost = f"{_REFS} WHERE seq > {self._last} AND seq > {top} ORDER BY seq"
        check_refs(fetched(connection, lost), [], self._say)
        self._count_nodes(connection)
        self._signers.check_since(connection, last=self._last)
        if self._outside is not None:
            self._compare_outside(connection, self._outside)

    def _count_nodes(self, connection: Connection) -> None:
        newest = "(SELECT coalesce(max(size), 0) FROM audit_checkpoint)"
        rows = fetched(
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
        where = OUTSIDE
        rows = fetched(connection, f"SELECT note FROM audit_checkpoint WHERE size = {outside.size}")
        if not rows:
            newest = f"the newest stored one is over {self._sealed} of {self._entries} entries"
            self._say(where, f"no stored checkpoint over {outside.size} entries; {newest}", "the same one in the home")
        elif rows[0][0] != self._outside_note:
            self._say(where, f"another stored checkpoint over {outside.size} entries", "the same one in the home")

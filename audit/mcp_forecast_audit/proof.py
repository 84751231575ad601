"""Proofs of one entry, or of one checkpoint against an older one, each verified before it is handed out.

A proof and the checkpoint's note are all that anyone needs to check it, without this home and without this program
(RFC 9162, 2.1.3.2 and 2.1.4.2).
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select

from mcp_forecast_audit.checkpoint import Checkpoint, NoteInvalid, read_note
from mcp_forecast_audit.stored import LogBroken, StoredTree, standing
from mcp_forecast_audit.tables import EntryRow
from mcp_forecast_audit.tree import consistency_path, inclusion_path, is_consistent, is_included, leaf_hash

_TABLE = EntryRow.__table__  # type: ignore[attr-defined]
_BY_SEQ = select(_TABLE.c.seq, _TABLE.c.body).where(_TABLE.c.seq == bindparam("seq"))
_BY_REQUEST = (
    select(_TABLE.c.seq, _TABLE.c.body).where(_TABLE.c.request_id == bindparam("request_id")).order_by(_TABLE.c.seq)
)


class NoProof(ValueError):
    """There is nothing to prove: no such entry, or no checkpoint over it yet."""


@dataclass(frozen=True)
class Inclusion:
    """Entry `seq`, leaf `seq - 1`, is under the checkpoint in `note`. body: the bytes that were hashed."""

    seq: int
    body: bytes
    leaf_hash: bytes
    size: int
    path: tuple[bytes, ...]
    note: str


@dataclass(frozen=True)
class Consistency:
    """The checkpoint over `old` entries is the beginning of the one over `new`."""

    old: int
    new: int
    path: tuple[bytes, ...]


class Prover:
    """Proofs against the newest checkpoint of a log, as one connection sees it; build it anew for each answer."""

    def __init__(self, connection: Connection) -> None:
        """Raises NoProof without a checkpoint, LogBroken where it cannot be read."""
        self._connection, self._tree = connection, StoredTree(connection)
        log = standing(connection)
        if log.note is None:
            raise NoProof("nothing is sealed yet; a server seals what it enters within 5 seconds")
        self.note = log.note
        try:
            self.checkpoint = read_note(log.note)
        except NoteInvalid as error:
            raise LogBroken(f"checkpoint {log.sealed}: {error}") from error

    def inclusion(self, seq: int) -> Inclusion:
        """That an entry is under the checkpoint. Raises NoProof, LogBroken."""
        row = self._connection.execute(_BY_SEQ, {"seq": seq}).first()
        if row is None:
            raise NoProof(f"no entry {seq}; the log has {standing(self._connection).entries}")
        return self.included(seq, bytes(row.body))

    def included(self, seq: int, body: bytes) -> Inclusion:
        """The same for a body that was read already."""
        size = self.checkpoint.size
        if seq > size:
            raise NoProof(f"entry {seq} is not sealed yet; the newest checkpoint is over {size}")
        leaf = leaf_hash(body)
        path = inclusion_path(self._tree, seq - 1, size)
        if not is_included(leaf, seq - 1, size, path, self.checkpoint.root):
            raise LogBroken(f"entry {seq} is not what was sealed under the checkpoint over {size} entries")
        return Inclusion(seq, body, leaf, size, tuple(path), self.note)

    def consistency(self, old: Checkpoint) -> Consistency:
        """That an older checkpoint of this log is its beginning. Raises LogBroken where it is not."""
        new = self.checkpoint
        if old.origin != new.origin:
            raise LogBroken(f"the checkpoint is of {old.origin}, this log is {new.origin}")
        if not 0 < old.size <= new.size:
            raise LogBroken(f"the checkpoint is over {old.size} entries, the newest stored one over {new.size}")
        path = consistency_path(self._tree, old.size, new.size)
        if not is_consistent(old=old.size, new=new.size, old_root=old.root, new_root=new.root, path=path):
            raise LogBroken(f"the first {old.size} entries are not those that the checkpoint was signed over")
        return Consistency(old.size, new.size, tuple(path))


def seq_of(connection: Connection, name: str) -> int:
    """The entry that a sequence number or a request id names; of several, the first. Raises NoProof."""
    if name.isascii() and name.isdigit():
        return min(int(name), 2**31 - 1)
    row = connection.execute(_BY_REQUEST, {"request_id": name}).first()
    if row is None:
        raise NoProof(f"no entry of the request {name!a}")
    return int(row.seq)

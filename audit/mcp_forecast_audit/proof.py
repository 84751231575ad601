"""Proofs of one entry, or of one checkpoint against an older one, each verified before it is handed out.

A proof, the checkpoint's note and the public key that signed it are all that anyone needs to check it, without this
home and without this program (RFC 9162, 2.1.3.2 and 2.1.4.2). The key proves most where it was kept elsewhere: the one
that comes with a proof is what the home says it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select

from mcp_forecast_audit.checkpoint import Checkpoint, NoteInvalid, PublicKey, keys_of, verified_note
from mcp_forecast_audit.continued import require_beginning
from mcp_forecast_audit.stored import LogBroken, StoredTree, raw, standing, stored_bytes
from mcp_forecast_audit.tables import EntryRow, SigningKeyRow
from mcp_forecast_audit.tree import inclusion_path, is_included, leaf_hash

_TABLE = EntryRow.__table__  # type: ignore[attr-defined]
_KEYS = select(SigningKeyRow.__table__.c.public_key)  # type: ignore[attr-defined]
_BY_SEQ = select(_TABLE.c.seq, raw(_TABLE.c.body)).where(_TABLE.c.seq == bindparam("seq"))
_BY_REQUEST = select(_TABLE.c.seq).where(_TABLE.c.request_id == bindparam("request_id")).order_by(_TABLE.c.seq)


_MOST_DIGITS = 9  # what both databases hold in a sequence number


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

    def __init__(self, connection: Connection, keys: Mapping[str, PublicKey] | None = None) -> None:
        """keys: those that may have signed, by key id; without them the stored ones, which proves less.

        Raises NoProof without a checkpoint, LogBroken where its signature does not stand.
        """
        self._connection, self._tree = connection, StoredTree(connection)
        log = standing(connection)
        if log.note is None:
            raise NoProof("nothing is sealed yet; a server seals what it enters within 5 seconds")
        self.note = log.note
        try:
            self.checkpoint, self.key = verified_note(log.note, _stored_keys(connection) if keys is None else keys)
        except NoteInvalid as error:
            raise LogBroken(f"checkpoint {log.sealed}: {error}") from error

    def inclusion(self, seq: int) -> Inclusion:
        """That an entry is under the checkpoint. Raises NoProof, LogBroken."""
        row = self._connection.execute(_BY_SEQ, {"seq": seq}).first()
        if row is None:
            raise NoProof(f"no entry {seq}; the log has {standing(self._connection).entries}")
        return self.included(seq, stored_bytes(row.body, f"the body of entry {seq}"))

    def included(self, seq: int, body: bytes) -> Inclusion:
        """The same for a body that was read already."""
        size = self.checkpoint.size
        if seq < 1:
            raise LogBroken(f"an entry has the number {seq}, which has no place in the tree")
        if seq > size:
            raise NoProof(f"entry {seq} is not sealed yet; the newest checkpoint is over {size}")
        leaf = leaf_hash(body)
        path = inclusion_path(self._tree, seq - 1, size)
        if not is_included(leaf, seq - 1, size, path, self.checkpoint.root):
            raise LogBroken(f"entry {seq} is not what was sealed under the checkpoint over {size} entries")
        return Inclusion(seq, body, leaf, size, tuple(path), self.note)

    def consistency(self, old: Checkpoint) -> Consistency:
        """That an older checkpoint of this log is its beginning. Raises LogBroken where it is not."""
        path = require_beginning(self._tree, old=old, new=self.checkpoint)
        return Consistency(old.size, self.checkpoint.size, path)


def seq_of(connection: Connection, name: str) -> int:
    """The entry that a sequence number or a request id names; of several, the first. Raises NoProof."""
    if name.isascii() and name.isdigit():
        if len(name) > _MOST_DIGITS:
            raise NoProof(f"no entry has a number of {len(name)} digits")
        return int(name)
    row = connection.execute(_BY_REQUEST, {"request_id": name}).first()
    if row is None:
        raise NoProof(f"no entry of the request {name!a}")
    return int(row.seq)


def _stored_keys(connection: Connection) -> dict[str, PublicKey]:
    try:
        return keys_of(str(line) for line in connection.execute(_KEYS).scalars())
    except NoteInvalid as error:
        raise LogBroken(f"a stored public key: {error}") from error

"""Seal what was entered since the last checkpoint: the tree grows, its root is signed, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, insert, select

from mcp_forecast_audit.checkpoint import Checkpoint, PublicKey, Signer
from mcp_forecast_audit.continued import continued
from mcp_forecast_audit.stored import LogBroken, Standing, raw, stored_bytes
from mcp_forecast_audit.tables import CheckpointRow, EntryRow, NodeRow, SigningKeyRow

SEAL_ENTRIES: Final = 256
SEAL_S: Final = 5.0
MOST_AT_ONCE: Final = 16_384  # entries of one checkpoint: commands stand behind it
_ENTRY = EntryRow.__table__  # type: ignore[attr-defined]
_KEY = SigningKeyRow.__table__  # type: ignore[attr-defined]
_NEW = (
    select(_ENTRY.c.seq, raw(_ENTRY.c.leaf_hash))
    .where(_ENTRY.c.seq > bindparam("after"), _ENTRY.c.seq <= bindparam("last"))
    .order_by(_ENTRY.c.seq)
)
_ADD_NODE = insert(NodeRow.__table__)  # type: ignore[attr-defined]
_ADD_CHECKPOINT = insert(CheckpointRow.__table__)  # type: ignore[attr-defined]
_ADD_KEY = insert(_KEY)
_KNOWN = select(_KEY.c.key_id).where(_KEY.c.key_id == bindparam("key"))


def is_due(log: Standing, *, now: float) -> bool:
    """Whether there is enough to seal, or what there is has waited long enough."""
    if log.unsealed <= 0 or log.oldest_at is None:
        return False
    # A clock that was set back must not leave entries unsealed until it is there again.
    return log.unsealed >= SEAL_ENTRIES or not 0 <= now - log.oldest_at < SEAL_S


def seal(
    connection: Connection,
    log: Standing,
    signer: Signer,
    *,
    now: float,
    keys: Mapping[str, PublicKey] | None = None,
    anchors: Sequence[Checkpoint] = (),
) -> str | None:
    """Seal the entries that are not, at most MOST_AT_ONCE, and return the note; None where there are none.

    log: the standing as this transaction sees it. keys: those that may have signed the newest checkpoint, by key id;
    without them the signer's alone. anchors: checkpoints that are known to hold from elsewhere than the database. The
    caller's transaction keeps all of it, or nothing. Raises LogBroken where the stored tree is not the one that was
    signed last, or does not begin with every anchor: then nothing may be signed over it.
    """
    last = min(log.entries, log.sealed + MOST_AT_ONCE)
    if last <= log.sealed:
        return None
    own = {signer.public.key_id: signer.public} if keys is None else keys
    frontier = continued(connection, log, origin=signer.name, keys=own, anchors=anchors)
    nodes = []
    for seq, leaf in connection.execute(_NEW, {"after": log.sealed, "last": last}):
        if seq != frontier.size + 1:
            raise LogBroken(f"entry {frontier.size + 1} is missing")
        nodes += frontier.push(stored_bytes(leaf, f"the leaf hash of entry {seq}"))
    if nodes:
        connection.execute(_ADD_NODE, [vars(node) for node in nodes])
    checkpoint = Checkpoint(signer.name, frontier.size, frontier.root(), round(now, 6), log.sealed)
    note = signer.note(checkpoint)
    if connection.execute(_KNOWN, {"key": signer.public.key_id}).first() is None:
        key = {"key_id": signer.public.key_id, "public_key": signer.public.vkey, "since_size": checkpoint.size}
        connection.execute(_ADD_KEY, [key])
    connection.execute(_ADD_CHECKPOINT, [{"size": checkpoint.size, "at": checkpoint.at, "note": note}])
    return note

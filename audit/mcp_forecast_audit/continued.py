"""That a log goes on from what was signed: who can write the database alone can write any tree, but not its signatures.

An anchor is a checkpoint that is known from elsewhere than the database: the one kept outside, the last one that this
process signed or compared. Nothing may be signed over a log that does not begin with every anchor.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from mcp_forecast_audit.checkpoint import Checkpoint, NoteInvalid, PublicKey, read_note, verified_note
from mcp_forecast_audit.stored import LogBroken, Standing, StoredTree
from mcp_forecast_audit.tree import Frontier, consistency_path, frontier_at, is_consistent


def continued(
    connection: Connection,
    log: Standing,
    *,
    origin: str,
    keys: Mapping[str, PublicKey],
    anchors: Sequence[Checkpoint],
) -> Frontier:
    """The frontier of what is sealed, proved to be what the newest checkpoint signs and to begin with every anchor.

    log: its standing; keys: by key id, those that may have signed. Reads a few hundred rows. Raises LogBroken.
    """
    longest = max((anchor.size for anchor in anchors), default=0)
    if log.sealed < longest:
        raise LogBroken(
            f"a checkpoint over {longest} entries was signed, the newest stored one is over {log.sealed}: checkpoints "
            "were removed, or an older copy was restored"
        )
    if log.note is None:
        return Frontier()
    signed = _signed(log.note, log.sealed, keys, anchors)
    tree = StoredTree(connection)
    frontier = frontier_at(tree, log.sealed)
    if (signed.origin, signed.size, signed.root) != (origin, log.sealed, frontier.root()):
        found = base64.b64encode(frontier.root()).decode()
        raise LogBroken(
            f"the stored tree of {origin} over {log.sealed} entries has the root {found}, the checkpoint signed for it "
            f"says {base64.b64encode(signed.root).decode()} over {signed.size} of {signed.origin}"
        )
    for anchor in anchors:
        require_beginning(tree, old=anchor, new=signed)
    return frontier


def require_beginning(tree: StoredTree, *, old: Checkpoint, new: Checkpoint) -> tuple[bytes, ...]:
    """The proof that one checkpoint is the beginning of another, as the stored tree has it. Raises LogBroken."""
    if old.origin != new.origin:
        raise LogBroken(f"the checkpoint is of {old.origin}, this log is {new.origin}")
    if not 0 < old.size <= new.size:
        raise LogBroken(f"the checkpoint is over {old.size} entries, the newest stored one over {new.size}")
    path = consistency_path(tree, old.size, new.size)
    if not is_consistent(old=old.size, new=new.size, old_root=old.root, new_root=new.root, path=path):
        raise LogBroken(f"the first {old.size} entries are not those that the checkpoint was signed over")
    return tuple(path)


def _signed(note: str, size: int, keys: Mapping[str, PublicKey], anchors: Sequence[Checkpoint]) -> Checkpoint:
    """What the newest stored note says, if an anchor says the same or one of the keys signed it."""
    try:
        checkpoint = read_note(note)
        # An anchor needs no signature: a home that was moved may not have the key of its last checkpoint.
        return checkpoint if checkpoint in anchors else verified_note(note, keys)[0]
    except NoteInvalid as error:
        raise LogBroken(f"checkpoint {size}: {error}") from error

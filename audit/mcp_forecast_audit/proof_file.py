"""A proof as one JSON text that verifies anywhere: the entry's bytes, its path, the signed checkpoint, the public key.

{format, entry, seq, leaf_index, leaf_hash, tree_size, path, checkpoint, public_key} and, where an older checkpoint was
named, consistency: {old_size, new_size, old_checkpoint, path}. Hashes of a path are base64, `leaf_hash` hexadecimal.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mcp_forecast_audit.checkpoint import Checkpoint, NoteInvalid, PublicKey, parse_key, read_note, verified_note
from mcp_forecast_audit.proof import Consistency, Inclusion
from mcp_forecast_audit.tree import is_consistent, is_included, leaf_hash

FORMAT: Final = "mcp-forecast-proof/1"
NEW_KEY: Final = (
    "after a restore a home signs with a new key; if you expected that, add its line of audit.pub to your copy"
)
_NUMBERS: Final = ("seq", "leaf_index", "tree_size")
_TEXTS: Final = ("entry", "leaf_hash", "checkpoint", "public_key")


@dataclass(frozen=True)
class Finding:
    """What a proof is worth, in one line. holds: None where it says nothing of the checkpoint that was kept."""

    holds: bool | None
    text: str


class _Broken(ValueError):
    """Something in a proof contradicts the rest: says what."""


def proof_text(made: Inclusion, *, key: PublicKey, joined: Consistency | None = None, old: str | None = None) -> str:
    """The JSON of a proof. key: the one that signed its checkpoint; joined, old: of and from an older checkpoint."""
    content: dict[str, Any] = {
        "format": FORMAT, "entry": made.body.decode(), "seq": made.seq, "leaf_index": made.seq - 1,
        "leaf_hash": made.leaf_hash.hex(), "tree_size": made.size, "path": _texts(made.path), "checkpoint": made.note,
        "public_key": key.vkey,
    }  # fmt: skip
    if joined is not None:
        sizes = {"old_size": joined.old, "new_size": joined.new}
        content["consistency"] = {**sizes, "old_checkpoint": old, "path": _texts(joined.path)}
    return json.dumps(content, indent=1, ensure_ascii=False)


def check_proof(text: str, *, trusted: Mapping[str, PublicKey] | None = None, kept: str | None = None) -> Finding:
    """Check a proof with nothing but what it says, and with what was kept elsewhere.

    trusted: the only keys that may have signed, by key id; without them its own is taken, which proves less. kept: a
    checkpoint that the proof's has to be, or begin with; it is the reader's own, so its signature is not checked.
    Raises NoteInvalid where the text is no proof or `kept` no checkpoint. Source: RFC 9162, 2.1.3.2 and 2.1.4.2.
    """
    proof, anchor = _read(text), None if kept is None else read_note(kept)
    try:
        newest, key = _signed(proof, trusted)
        _check_inclusion(proof, newest)
        old = _joined(proof, newest)
        same = None if anchor is None else _met(anchor, newest, old)
    except _Broken as error:
        return Finding(False, f"the proof does not hold: {error}")
    if anchor is not None and same is None:
        return Finding(
            None,
            f"not proved: this proof is over {newest.size} entries and says nothing of the checkpoint over "
            f"{anchor.size} that you gave; make a new one with --consistency-from that checkpoint",
        )
    begins = "" if anchor is None or same is newest else f", which begins with yours over {anchor.size}"
    held = f"the proof holds: entry {proof['seq']} is under the checkpoint over {newest.size} entries{begins}"
    less = "; the key is the proof's own: one kept elsewhere (--public-key) proves more" if trusted is None else ""
    return Finding(True, f"{held}, signed by {key.name} {key.key_id}{less}")


def _read(text: str) -> dict[str, Any]:
    """The parts of a proof, each of its type; paths as hashes. Raises NoteInvalid."""
    try:
        content = json.loads(text)
        if content["format"] == FORMAT and _is_typed(content, _NUMBERS, int) and _is_typed(content, _TEXTS, str):
            proof = {**content, "entry": content["entry"].encode(), "path": _hashes(content["path"])}
            if "consistency" not in content:
                return proof
            join = content["consistency"]
            if _is_typed(join, ("old_size", "new_size"), int) and _is_typed(join, ("old_checkpoint",), str):
                return {**proof, "consistency": {**join, "path": _hashes(join["path"])}}
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise NoteInvalid(f"the file is no proof of this kind ({FORMAT})")


def _is_typed(content: Any, names: Iterable[str], kind: type) -> bool:
    return all(type(content[name]) is kind for name in names)


def _signed(proof: Mapping[str, Any], trusted: Mapping[str, PublicKey] | None) -> tuple[Checkpoint, PublicKey]:
    try:
        own = parse_key(proof["public_key"])
        newest, key = verified_note(proof["checkpoint"], {own.key_id: own, **(trusted or {})})
    except NoteInvalid as error:
        raise _Broken(str(error)) from error
    if trusted is not None and key.key_id not in trusted:
        raise _Broken(f"it is signed by a key that you did not give ({key.vkey}): {NEW_KEY}")
    if key != own:
        raise _Broken(f"it is signed by {key.vkey}, and says {own.vkey}")
    return newest, key


def _check_inclusion(proof: Mapping[str, Any], newest: Checkpoint) -> None:
    index, leaf = proof["leaf_index"], leaf_hash(proof["entry"])
    if (proof["tree_size"], proof["seq"]) != (newest.size, index + 1):
        raise _Broken(
            f"it says entry {proof['seq']}, leaf {index} of {proof['tree_size']}; its checkpoint is over {newest.size}"
        )
    if leaf.hex() != proof["leaf_hash"]:
        raise _Broken(f"its entry hashes to {leaf.hex()}, not to the leaf hash that it says")
    if not is_included(leaf, index, newest.size, proof["path"], newest.root):
        raise _Broken(f"its entry and path do not lead to the root that was signed over {newest.size} entries")


def _joined(proof: Mapping[str, Any], newest: Checkpoint) -> Checkpoint | None:
    """The older checkpoint that the proof shows to be the beginning of its own."""
    join = proof.get("consistency")
    if join is None:
        return None
    try:
        old = read_note(join["old_checkpoint"])
    except NoteInvalid as error:
        raise _Broken(f"its older checkpoint: {error}") from error
    roots = {"old_root": old.root, "new_root": newest.root}
    is_same_log = old.origin == newest.origin and (join["old_size"], join["new_size"]) == (old.size, newest.size)
    if not is_same_log or not is_consistent(old=old.size, new=newest.size, **roots, path=join["path"]):
        raise _Broken(
            f"its older checkpoint over {old.size} entries is not the beginning of the one over {newest.size}"
        )
    return old


def _met(anchor: Checkpoint, newest: Checkpoint, old: Checkpoint | None) -> Checkpoint | None:
    """The checkpoint of the proof that is the one kept elsewhere; None where neither is over as many entries."""
    if anchor.origin != newest.origin:
        raise _Broken(f"it is of {newest.origin}, the checkpoint that you gave is of {anchor.origin}")
    for checkpoint in (newest, old):
        if checkpoint is not None and checkpoint.size == anchor.size:
            if checkpoint.root != anchor.root:
                raise _Broken(f"its checkpoint over {anchor.size} entries has another root than the one that you gave")
            return checkpoint
    return None


def _texts(hashes: Iterable[bytes]) -> list[str]:
    return [base64.b64encode(hash).decode() for hash in hashes]


def _hashes(texts: list[str]) -> list[bytes]:
    """Raises ValueError, TypeError where they are no list of hashes in base64."""
    hashes = [base64.b64decode(text, validate=True) for text in texts]
    if type(texts) is not list or _texts(hashes) != texts or any(len(hash) != 32 for hash in hashes):
        raise ValueError("a path is a list of hashes")
    return hashes

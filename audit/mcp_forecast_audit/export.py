"""The log as one file of JSON lines that verifies anywhere: the exact bytes of every entry, the checkpoint, the keys.

First a line {format, origin, checkpoint, keys, entries}, then one {seq, body} for each entry. `body` is the canonical
text that was hashed; where bytes are no text (they were changed), it is `body_base64`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from sqlalchemy import bindparam, select

from mcp_forecast_audit.checkpoint import Checkpoint, NoteInvalid, PublicKey, keys_of, verified_note
from mcp_forecast_audit.report import Problem, Report
from mcp_forecast_audit.stored import raw, standing, stored_bytes
from mcp_forecast_audit.tables import EntryRow, SigningKeyRow
from mcp_forecast_audit.tree import BITS, Frontier, leaf_hash, root_hash
from mcp_forecast_audit.verify import PIECE, Read

FORMAT: Final = "mcp-forecast audit export 1"
_TABLE = EntryRow.__table__  # type: ignore[attr-defined]
_KEY = SigningKeyRow.__table__  # type: ignore[attr-defined]
_KEYS = select(_KEY.c.public_key).order_by(_KEY.c.key_id)
_BODIES = (
    select(_TABLE.c.seq, raw(_TABLE.c.body))
    .where(_TABLE.c.seq > bindparam("after"), _TABLE.c.seq <= bindparam("last"))
    .order_by(_TABLE.c.seq)
    .limit(PIECE)
)


def export_lines(read: Read, *, origin: str) -> Iterator[str]:
    """The lines of an export, as of the moment it begins. Raises LogBroken."""
    with read() as connection:
        log, keys = standing(connection), list(connection.execute(_KEYS).scalars())
    yield _line({"format": FORMAT, "origin": origin, "checkpoint": log.note, "keys": keys, "entries": log.entries})
    after = 0
    while True:
        with read() as connection:
            rows = connection.execute(_BODIES, {"after": after, "last": log.entries}).all()
        yield from (_line({"seq": seq, **_body(stored_bytes(body, f"the body of entry {seq}"))}) for seq, body in rows)
        if len(rows) < PIECE:
            return
        after = rows[-1].seq


def verify_export(
    lines: Iterable[str], *, outside: str | None = None, trusted: Mapping[str, PublicKey] | None = None
) -> Report:
    """Verify an export without a home: its entries hash to the root that its checkpoint was signed over.

    outside, trusted: as for a log; an export that ends before `outside` contradicts nothing (`ends_early`).
    Raises NoteInvalid where the lines are no export, a key or checkpoint none.
    """
    rest = iter(lines)
    head = _head(next(rest, ""))
    keys = {**keys_of(head["keys"]), **(trusted or {})}
    problems: list[Problem] = []
    signers = dict[str, PublicKey]()
    opened = partial(_opened, keys=keys, trusted=trusted, origin=str(head["origin"]), problems=problems, into=signers)
    sealed = opened("the checkpoint of the export", head["checkpoint"])
    kept = opened("the checkpoint outside", outside)
    entries, roots = _roots(rest, {c.size for c in (sealed, kept) if c is not None}, problems)
    if entries != head["entries"]:
        problems.append(Problem("entries", str(entries), str(head["entries"])))
    for where, checkpoint in (("the checkpoint of the export", sealed), ("the checkpoint outside", kept)):
        is_later = checkpoint is kept and kept is not None and kept.size > entries == head["entries"]
        if checkpoint is not None and not is_later and roots.get(checkpoint.size) != checkpoint.root:
            found = roots.get(checkpoint.size)
            made = f"{entries} entries" if found is None else f"root {base64.b64encode(found).decode()}"
            signed = base64.b64encode(checkpoint.root).decode()
            problems.append(Problem(where, made, f"{signed} over {checkpoint.size}, as signed"))
    root = None if sealed is None else roots.get(sealed.size)
    return Report(
        entries=entries, sealed=0 if sealed is None else sealed.size, checkpoints=int(sealed is not None),
        root=None if root is None else base64.b64encode(root).decode(), outside=None if kept is None else kept.size,
        keys=tuple(key.vkey for key in signers.values()), problems=tuple(problems), problem_count=len(problems),
    )  # fmt: skip


def _head(line: str) -> dict[str, Any]:
    try:
        head = json.loads(line)
        texts = [head["origin"], *head["keys"]] + ([] if head["checkpoint"] is None else [head["checkpoint"]])
        is_list = type(head["keys"]) is list and type(head["entries"]) is int
        if head["format"] == FORMAT and is_list and all(type(text) is str for text in texts):
            return dict(head)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise NoteInvalid(f"the file does not begin as an export does ({FORMAT})")


def _opened(
    where: str,
    note: str | None,
    *,
    keys: Mapping[str, PublicKey],
    trusted: Mapping[str, PublicKey] | None,
    origin: str,
    problems: list[Problem],
    into: dict[str, PublicKey],
) -> Checkpoint | None:
    """What a signed note says; its key is added to `into`, what speaks against it to `problems`."""
    if note is None:
        return None
    try:
        checkpoint, key = verified_note(note, keys)
    except NoteInvalid as error:
        problems.append(Problem(where, str(error), "a checkpoint with a signature that stands"))
        return None
    into[key.key_id] = key
    if trusted is not None and key.key_id not in trusted:
        found = f"signed by a key that you did not give ({key.vkey})"
        problems.append(Problem(where, found, "one of the public keys given"))
    if checkpoint.origin != origin:
        problems.append(Problem(where, checkpoint.origin, origin))
    return checkpoint


def _roots(lines: Iterator[str], sizes: set[int], problems: list[Problem]) -> tuple[int, dict[int, bytes]]:
    """How many entries there are, and the root at each of these sizes."""
    frontier, tail, count, roots = Frontier(), list[bytes](), 0, dict[int, bytes]()
    for line in lines:
        seq, body = _entry(line)
        count += 1
        if seq != count and not problems:
            problems.append(Problem("entries", f"{seq!a}", f"{count}, the next without a gap"))
        tail.append(leaf_hash(body))
        if count in sizes:
            roots[count] = frontier.root(tail)
        if len(tail) == 1 << BITS:
            frontier.push(root_hash(tail), BITS)
            tail.clear()
    return count, roots


def _entry(line: str) -> tuple[Any, bytes]:
    try:
        row = json.loads(line)
        body = row["body"].encode() if "body" in row else base64.b64decode(row["body_base64"], validate=True)
        return row["seq"], body
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NoteInvalid(f"a line of the export is no entry: {line[:80]!a}") from error


def _body(body: bytes) -> dict[str, str]:
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"

"""What an entry's row has to say: its leaf is the hash of its body, and its columns and refs repeat the body."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from operator import itemgetter
from typing import Any, Final

import rfc8785
from pydantic_core import from_json, to_json

COLUMNS: Final = ("request_id", "at", "tool", "caller", "code")  # as they are selected, between seq and body
Row = tuple[Any, ...]  # seq, COLUMNS…, body, leaf_hash
Ref = tuple[int, str, str]  # seq, name, ref
Say = Callable[[str, object, object], None]  # where, found, expected
_SORTED: Final[set[tuple[str, ...]]] = set()  # orders of names that were found to be canonical; entries have few
_SAID: Final = itemgetter(*COLUMNS)
_MOST_ORDERS: Final = 10_000


def checked_rows(rows: list[Row], say: Say) -> tuple[list[bytes], list[Ref]]:
    """The leaf hashes of these rows' bodies and the refs they name; `say` hears where a row contradicts its body."""
    leaves: list[bytes] = []
    refs: list[Ref] = []
    for seq, request_id, at, tool, caller, code, body, leaf in rows:
        if type(body) is not bytes:
            say(f"entry {seq}", f"a body of type {type(body).__name__}", "bytes")
            body = str(body).encode("utf-8", "surrogateescape")
        made = sha256(b"\x00" + body).digest()
        leaves.append(made)
        if made != leaf:
            say(f"entry {seq}, leaf_hash", shown(leaf), f"{shown(made)}, the hash of its body")
        content = _content(body)
        try:
            said = _SAID(content)
        except KeyError:
            say(f"entry {seq}, body", _short(body), "an entry in canonical JSON")
            continue
        found = (request_id, at, tool, caller, code)
        if found != said:
            _say_columns(seq, found, said, say)
        refs += [(seq, name, ref if type(ref) is str else repr(ref)) for name, ref in content["refs"].items()]
    return leaves, refs


def check_refs(found: list[Ref], expected: list[Ref], say: Say) -> None:
    """Compare the stored refs with those that the bodies name."""
    if found == expected or (len(found) == len(expected) and set(found) == set(expected)):
        return  # names may be in another order, which a database has its own idea of
    for seq, name, ref in sorted(set(found) - set(expected), key=repr):
        say(f"ref {_short(name)} of entry {seq}", _short(ref), "no such ref: the entry's body does not name it")
    for seq, name, ref in sorted(set(expected) - set(found), key=repr):
        say(f"ref {_short(name)} of entry {seq}", "no row", _short(ref))


def shown(value: object) -> str:
    """A stored value as a problem names it: bytes in hexadecimal, a long one cut."""
    if not isinstance(value, bytes | memoryview):
        return _short(value)
    text = bytes(value).hex()
    return text if len(text) <= 120 else f"{text[:120]}…"


def _content(body: bytes) -> dict[str, Any]:
    """The entry in a body; nothing where it is none, or not in its one spelling."""
    try:
        content = from_json(body)
        if type(content) is not dict or type(content.get("refs")) is not dict:
            return {}
        # Written back in the order read; with all names sorted that is RFC 8785 but for rare numbers.
        if to_json(content) == body and (tuple(content) in _SORTED or _sorted(content)):
            for part in content.values():
                if type(part) is dict and tuple(part) not in _SORTED and not _sorted(part):
                    break
            else:
                return content
        return content if rfc8785.dumps(content) == body else {}
    except (ValueError, RecursionError):
        return {}


def _sorted(part: dict[str, Any]) -> bool:
    """Whether an object's names are in order; deeper than an entry's own objects nobody looks."""
    order = tuple(part)
    # By UTF-16 code units, as RFC 8785 3.2.3 says.
    if list(order) != sorted(order, key=lambda name: name.encode("utf-16-be")):
        return False
    if len(_SORTED) < _MOST_ORDERS:
        _SORTED.add(order)
    return True


def _say_columns(seq: int, found: tuple[Any, ...], said: tuple[Any, ...], say: Say) -> None:
    for name, value, expected in zip(COLUMNS, found, said, strict=True):
        if value != expected:
            say(f"entry {seq}, {name}", _short(value), f"{_short(expected)}, as in its body")


def _short(value: object) -> str:
    text = ascii(value)  # what was changed may be no text any more
    return text if len(text) <= 120 else f"{text[:120]}…"

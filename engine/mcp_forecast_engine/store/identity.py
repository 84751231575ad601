"""Names made from content: RFC 8785 canonical bytes, SHA-256 digests and the ids cut from them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, Final

import rfc8785

from mcp_forecast_engine.errors import DataInvalid

ALGORITHM: Final = "sha256"
ID_HEX: Final = 24  # 96 bits: a billion runs collide with a chance below 1e-11
MOST_INT: Final = 2**53 - 1  # the largest integer that every JSON reader keeps exactly (RFC 8785, 3.2.2.3)


def canonical_bytes(value: Any) -> bytes:
    """The one byte string of a JSON value (RFC 8785): key order, spacing and 1 vs 1.0 do not matter.

    Raises DataInvalid for what JSON cannot carry (NaN, infinity, lone surrogates, integers beyond 2^53, other types),
    with the place of the first of them.
    """
    try:
        return rfc8785.dumps(value)
    except RecursionError as error:
        raise DataInvalid(
            "not a canonical JSON value: nested too deeply", next_step="send the value in fewer levels"
        ) from error
    except ValueError as error:  # also what Python refuses to print: integers of thousands of digits
        path, what = _first_fault(value, "") or ("", "it cannot be written")
        place = path or "the value"
        raise DataInvalid(
            f"not a canonical JSON value: {place} is {what}", field=path or None,
            allowed="text, true, false, null, finite numbers, integers up to 9007199254740991 (2^53 - 1) either way",
            next_step="correct that value, or leave it out",
        ) from error  # fmt: skip


def read_canonical(data: bytes | str) -> Any:
    """The value that `canonical_bytes` wrote: a float beyond 2^53, which stands there without a point, is one again."""
    return json.loads(data, parse_int=_number)


def _number(text: str) -> int | float:
    value = int(text)
    return value if abs(value) <= MOST_INT else float(text)


def digest_of_bytes(data: bytes) -> str:
    """`sha256:<64 hex>` of these bytes."""
    return f"{ALGORITHM}:{hashlib.sha256(data).hexdigest()}"


def digest(recipe: str, payload: Mapping[str, Any]) -> str:
    """Digest of a payload under a named recipe; the recipe's version is part of the identity."""
    return digest_of_bytes(canonical_bytes({"recipe": recipe, "payload": payload}))


def short_id(prefix: str, full_digest: str) -> str:
    """An id for people and agents: prefix, underscore, the first 24 hex characters of a digest."""
    return f"{prefix}_{full_digest.removeprefix(ALGORITHM + ':')[:ID_HEX]}"


def _first_fault(value: Any, path: str) -> tuple[str, str] | None:
    """Where the first value that JSON cannot carry stands, and what it is."""
    if isinstance(value, dict):
        if not all(isinstance(key, str) and _is_text(key) for key in value):
            return path, "an object with a key that is no text"
        faults = (_first_fault(inner, f"{path}.{key}" if path else key) for key, inner in value.items())
        return next((fault for fault in faults if fault), None)
    if isinstance(value, list | tuple):
        faults = (_first_fault(inner, f"{path}[{at}]") for at, inner in enumerate(value))
        return next((fault for fault in faults if fault), None)
    what = _fault_of(value)
    return None if what is None else (path, what)


def _fault_of(value: Any) -> str | None:
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int):
        return None if abs(value) <= MOST_INT else "an integer beyond 2^53 - 1"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{float(value)}, no number"
    if isinstance(value, str):
        return None if _is_text(value) else "text with half a character (a lone surrogate)"
    return f"of the type {type(value).__name__}"


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True

"""Names made from content: RFC 8785 canonical bytes, SHA-256 digests and the ids cut from them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import rfc8785

from mcp_forecast_engine.errors import DataInvalid

ALGORITHM: Final = "sha256"
ID_HEX: Final = 24  # 96 bits: a billion runs collide with a chance below 1e-11


def canonical_bytes(value: Any) -> bytes:
    """The one byte string of a JSON value (RFC 8785): key order, spacing and 1 vs 1.0 do not matter.

    Raises DataInvalid for what JSON cannot carry: NaN, infinity, lone surrogates, integers beyond 2^53, other types.
    """
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
        raise DataInvalid(f"not a canonical JSON value: {error}") from error


def digest_of_bytes(data: bytes) -> str:
    """`sha256:<64 hex>` of these bytes."""
    return f"{ALGORITHM}:{hashlib.sha256(data).hexdigest()}"


def digest(recipe: str, payload: Mapping[str, Any]) -> str:
    """Digest of a payload under a named recipe; the recipe's version is part of the identity."""
    return digest_of_bytes(canonical_bytes({"recipe": recipe, "payload": payload}))


def short_id(prefix: str, full_digest: str) -> str:
    """An id for people and agents: prefix, underscore, the first 24 hex characters of a digest."""
    return f"{prefix}_{full_digest.removeprefix(ALGORITHM + ':')[:ID_HEX]}"

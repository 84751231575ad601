"""Once per key: claim a key, replay its stored answer, or refuse other arguments under it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.dialects.postgresql import insert

from mcp_forecast.errors import Refusal
from mcp_forecast.home.tables import KeyRow

_TABLE = KeyRow.__table__  # type: ignore[attr-defined]
# Compact, not canonical: nothing is named after an answer, and this costs a tenth.
_ANSWERS = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_SCOPE = ("caller", "tool", "key")
_AT = [_TABLE.c[name] == bindparam(f"at_{name}") for name in _SCOPE]
_FIND = select(_TABLE.c.fingerprint, _TABLE.c.request_id, _TABLE.c.answer).where(*_AT)
# The PostgreSQL construct compiles for SQLite too.
_CLAIM = insert(_TABLE).on_conflict_do_nothing(index_elements=_SCOPE).returning(_TABLE.c.key)
_ANSWER = update(_TABLE).where(*_AT).values(answer=bindparam("new_answer"), request_id=bindparam("new_request_id"))


@dataclass(frozen=True)
class Claim:
    """One use of a key by one call. fingerprint: digest of the canonical validated arguments, the key left out."""

    caller: str
    tool: str
    key: str
    fingerprint: str
    request_id: str

    @property
    def at(self) -> dict[str, str]:
        """Bind values of the key's row."""
        return {"at_caller": self.caller, "at_tool": self.tool, "at_key": self.key}


@dataclass(frozen=True)
class Stored:
    """The answer an earlier call left under a key."""

    request_id: str
    result: dict[str, Any]
    warnings: list[str]


def find(connection: Connection, claim: Claim) -> Stored | None:
    """The stored answer of this key, if any. Raises Refusal IDEMPOTENCY_CONFLICT if it stands for other arguments."""
    row = connection.execute(_FIND, claim.at).first()
    if row is None:
        return None
    if row.fingerprint != claim.fingerprint:
        raise Refusal(
            "IDEMPOTENCY_CONFLICT",
            f"key {claim.key!r} of {claim.tool} was used with other arguments in {row.request_id}",
            field="idempotency_key",
        )
    answer = json.loads(row.answer)
    return Stored(row.request_id, answer["result"], answer["warnings"])


def claim_key(connection: Connection, claim: Claim, *, now: float) -> bool:
    """Take the key in this transaction. False: another call has it; `find` says what it answered."""
    row = {
        "caller": claim.caller, "tool": claim.tool, "key": claim.key, "fingerprint": claim.fingerprint,
        "request_id": claim.request_id, "answer": "", "created_at": now,
    }  # fmt: skip
    return connection.execute(_CLAIM, row).first() is not None


def store_answer(connection: Connection, claim: Claim, *, result: dict[str, Any], warnings: list[str]) -> None:
    """Keep the answer under the key, in the transaction that did the work."""
    text = _ANSWERS.encode({"result": result, "warnings": warnings})
    connection.execute(_ANSWER, claim.at | {"new_answer": text, "new_request_id": claim.request_id})

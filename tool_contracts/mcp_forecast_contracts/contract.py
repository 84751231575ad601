"""One tool's contract: its words, its models, its effect, its errors; and the document generated from it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final, Literal

from mcp_forecast_contracts.envelope import envelope_schema
from mcp_forecast_contracts.errors import Code
from mcp_forecast_contracts.schema import Answer, Arguments, flat_schema

Effect = Literal["read", "command"]
KeyRule = Literal["none", "optional", "required"]
EVERY_TOOL: Final[tuple[Code, ...]] = (
    "INVALID_ARGUMENTS", "RATE_LIMITED", "FORBIDDEN", "STORE_UNAVAILABLE", "OUTCOME_UNKNOWN", "HOME_NEWER", "INTERNAL",
)  # fmt: skip


@dataclass(frozen=True)
class Contract:
    """What a tool promises.

    effect: "read" changes nothing; "command" commits key, state and audit entry together. key: whether it takes an
    `idempotency_key`. errors: codes beyond those every tool may answer. examples: argument objects that validate.
    """

    name: str
    version: str
    title: str
    description: str
    arguments: type[Arguments]
    result: type[Answer]
    scope: str
    effect: Effect
    key: KeyRule
    errors: tuple[Code, ...]
    examples: tuple[dict[str, Any], ...]
    destructive: bool = False

    def document(self) -> dict[str, Any]:
        """The published JSON: names, schemas, annotations, errors, examples and the digest of all that."""
        body = {
            "name": self.name,
            "version": self.version,
            "title": self.title,
            "description": self.description,
            "scope": self.scope,
            "effect": self.effect,
            "idempotency_key": self.key,
            "input_schema": flat_schema(self.arguments),
            "output_schema": envelope_schema(flat_schema(self.result)),
            "annotations": {
                "readOnlyHint": self.effect == "read",
                "destructiveHint": self.destructive,
                "idempotentHint": True,
                "openWorldHint": False,
            },
            "errors": sorted({*self.errors, *EVERY_TOOL}),
            "examples": list(self.examples),
        }
        packed = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        return {**body, "digest": f"sha256:{hashlib.sha256(packed).hexdigest()}"}

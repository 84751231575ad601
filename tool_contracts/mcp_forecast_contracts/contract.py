"""One tool's contract: its words, its models, its effect, its errors; and the document generated from it.

Anyone can recompute a digest: read the published JSON, take its member `digest` out, write the rest as canonical JSON
(RFC 8785), hash the bytes with SHA-256, put `sha256:` before the hexadecimal digits. `_meta` of the listed tool names
the same digest with the contract's name and version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from mcp_forecast_contracts.envelope import envelope_schema
from mcp_forecast_contracts.errors import Code
from mcp_forecast_contracts.schema import Answer, Arguments, flat_schema

Effect = Literal["read", "command"]
KeyRule = Literal["none", "optional", "required"]
EVERY_TOOL: Final[tuple[Code, ...]] = (
    "INVALID_ARGUMENTS", "RATE_LIMITED", "FORBIDDEN", "STORE_UNAVAILABLE", "OUTCOME_UNKNOWN", "HOME_MISMATCH",
    "HOME_NEWER", "INTERNAL",
)  # fmt: skip


@dataclass(frozen=True)
class Contract:
    """What a tool promises.

    effect: "read" changes nothing; "command" commits key, state and audit entry together. errors: codes beyond those
    every tool may answer. examples: argument objects that validate. listed: whether tools/list shows it; one that is
    not is how a resource is read, on the path of every call. room: what a caller's scope names before read or write.
    """

    name: str
    version: str
    title: str
    description: str
    arguments: type[Arguments]
    result: type[Answer]
    effect: Effect
    errors: tuple[Code, ...]
    examples: tuple[dict[str, Any], ...]
    destructive: bool = False
    listed: bool = True
    room: Literal["forecast", "registry"] = "forecast"

    @property
    def scope(self) -> str:
        """What a caller must be allowed to do."""
        return f"{self.room}:{'read' if self.effect == 'read' else 'write'}"

    @property
    def key(self) -> KeyRule:
        """Whether it takes an `idempotency_key`."""
        field = self.arguments.model_fields.get("idempotency_key")
        if field is None:
            return "none"
        return "required" if field.is_required() else "optional"

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
            **({} if self.listed else {"listed": False}),
        }
        return {**body, "digest": digest_of(body)}


def digest_of(document: Mapping[str, Any]) -> str:
    """`sha256:<hex>` of a contract document, its own `digest` left out."""
    import rfc8785  # on the way of generating and checking, not of serving

    body = {name: value for name, value in document.items() if name != "digest"}
    return f"sha256:{hashlib.sha256(rfc8785.dumps(body)).hexdigest()}"

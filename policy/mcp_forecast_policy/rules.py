"""The scope table: which scope each tool needs. No row for a tool means deny."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from mcp_forecast_policy.decision import Action, Decision
from mcp_forecast_policy.errors import PolicyInvalid

DEFAULT_POLICY: Final = Path(__file__).with_name("default_policy.json")


@dataclass(frozen=True)
class ScopeTable:
    """A policy document in force. scopes: tool → scope; digest: SHA-256 of the document's bytes."""

    policy_id: str
    revision: str
    digest: str
    scopes: tuple[tuple[str, str], ...]

    def decide(self, action: Action) -> Decision:
        """Allow when the caller holds the tool's scope; deny otherwise, and for tools without a row."""
        return _decide(self, action)

    @property
    def stamp(self) -> Mapping[str, str]:
        """What receipts and audit entries quote: id, revision, digest."""
        return {"policy_id": self.policy_id, "revision": self.revision, "digest": self.digest}


def load_policy(document: bytes) -> ScopeTable:
    """The scope table of a JSON document. Raises PolicyInvalid."""
    try:
        body = json.loads(document)
    except ValueError as error:
        raise PolicyInvalid(f"the policy is no JSON: {error}") from error
    if not isinstance(body, dict) or set(body) != {"policy_id", "revision", "scopes"}:
        raise PolicyInvalid("a policy has exactly policy_id, revision and scopes")
    scopes = body["scopes"]
    if not isinstance(scopes, dict) or not all(isinstance(v, str) and v for v in scopes.values()):
        raise PolicyInvalid('scopes maps each tool to one scope, e.g. {"list_runs": "forecast:read"}')
    digest = f"sha256:{hashlib.sha256(document).hexdigest()}"
    return ScopeTable(str(body["policy_id"]), str(body["revision"]), digest, tuple(sorted(scopes.items())))


@lru_cache(maxsize=4096)
def _decide(table: ScopeTable, action: Action) -> Decision:
    needed = dict(table.scopes).get(action.tool)
    if needed is None:
        verdict, reason = "deny", f"no rule allows {action.tool}"
    elif needed in action.scopes:
        verdict, reason = "allow", f"scope {needed}"
    else:
        verdict, reason = (
            "deny",
            f"{action.tool} needs scope {needed}; the caller has {', '.join(sorted(action.scopes)) or 'none'}",
        )
    return Decision(verdict, reason, table.policy_id, table.revision, table.digest)  # type: ignore[arg-type]

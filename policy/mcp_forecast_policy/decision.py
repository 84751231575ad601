"""An action that a caller wants, and the decision about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["allow", "deny", "ask"]


@dataclass(frozen=True)
class Action:
    """A caller (by scopes) wants to use a tool."""

    tool: str
    scopes: frozenset[str]


@dataclass(frozen=True)
class Decision:
    """The verdict, the sentence that explains it and the policy that made it."""

    verdict: Verdict
    reason: str
    policy_id: str
    revision: str
    digest: str

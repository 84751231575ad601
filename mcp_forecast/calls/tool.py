"""A tool: its contract and what it does, split where the path of a call splits."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from mcp_forecast.calls.caller import Caller
from mcp_forecast_contracts.contract import Contract

if TYPE_CHECKING:
    from mcp_forecast.app import App

Report = Callable[[float, float | None, str], Awaitable[None]]


@dataclass(frozen=True)
class Call:
    """One call in flight. at: seconds since 1970; began: the same on the monotonic clock; stop: its caller left."""

    request_id: str
    caller: Caller
    at: float
    began: float
    report: Report | None
    stop: threading.Event


@dataclass(frozen=True)
class Outcome:
    """What a tool's work came to. refs: ids and digests for the audit entry that
    the arguments do not name; those they name are in it already."""

    result: dict[str, Any]
    refs: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tool:
    """A contract with its parts; only those it needs.

    wait: async, on the loop, before a read. read: the answer of a read tool; `short` says it may run on the loop, or
    of which requests it may.
    prepare: the long part of a command, in a worker thread, leaving nothing but content-addressed bytes.
    commit: the effect, inside the one transaction. replay: what a stored answer says now; None: it no longer stands,
    and the key works again. Without it, an answer is replayed as it was.
    wakes: its commit may leave a run to start or to end.
    """

    contract: Contract
    read: Callable[[App, Call, Any], Outcome] | None = None
    short: bool | Callable[[Any], bool] = True
    wait: Callable[[App, Call, Any], Awaitable[None]] | None = None
    prepare: Callable[[App, Call, Any], Any] | None = None
    commit: Callable[[App, Call, Any, Any, Connection], Outcome] | None = None
    replay: Callable[[App, Connection, dict[str, Any]], dict[str, Any] | None] | None = None
    wakes: bool = False

    def is_short(self, request: Any) -> bool:
        """Whether a read of this may run on the loop."""
        return self.short if isinstance(self.short, bool) else self.short(request)

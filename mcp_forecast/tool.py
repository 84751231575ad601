"""A tool: its contract and what it does, split where the path of a call splits."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mcp_forecast_contracts.contract import Contract
from sqlalchemy import Connection

from mcp_forecast.caller import Caller

if TYPE_CHECKING:
    from mcp_forecast.app import App

Report = Callable[[float, float | None, str], Awaitable[None]]


@dataclass(frozen=True)
class Call:
    """One call in flight. at: seconds since 1970; stop: set when the caller has gone."""

    request_id: str
    caller: Caller
    at: float
    report: Report | None
    stop: threading.Event


@dataclass(frozen=True)
class Outcome:
    """What a tool's work came to. refs: ids and digests for the audit entry."""

    result: dict[str, Any]
    refs: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tool:
    """A contract with its parts; only those it needs.

    wait: async, on the loop, before a read. read: the answer of a read tool; `short` says it may run on the loop.
    prepare: the long part of a command, in a worker thread, leaving nothing but content-addressed bytes.
    commit: the effect, inside the one transaction. settled: whether a stored answer still stands; if not, the key works
    again.
    """

    contract: Contract
    read: Callable[[App, Call, Any], Outcome] | None = None
    short: bool = True
    wait: Callable[[App, Call, Any], Awaitable[None]] | None = None
    prepare: Callable[[App, Call, Any], Any] | None = None
    commit: Callable[[App, Call, Any, Any, Connection], Outcome] | None = None
    settled: Callable[[App, Connection, dict[str, Any]], bool] | None = None

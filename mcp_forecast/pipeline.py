"""The one path of a call: caller → limit → contract → policy → key → work → one commit → envelope."""

from __future__ import annotations

import json
import secrets
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
from mcp_forecast_audit import log as audit_log
from mcp_forecast_audit.entry import Entry
from mcp_forecast_contracts.schema import Arguments
from mcp_forecast_engine.store.identity import canonical_bytes, digest_of_bytes
from mcp_forecast_policy.decision import Action, Decision
from pydantic import ValidationError
from sqlalchemy import Connection

from mcp_forecast import idempotency
from mcp_forecast.caller import Caller
from mcp_forecast.errors import Refusal, error_body
from mcp_forecast.idempotency import Claim, Stored
from mcp_forecast.refusals import invalid_arguments, unknown_tool
from mcp_forecast.tool import Call, Report, Tool

if TYPE_CHECKING:
    from mcp_forecast.app import App


@dataclass
class Trail:
    """What one call leaves in the audit log, filled in along the path. entered: a commit already carries the entry."""

    call: Call
    tool: str
    arguments: object
    contract: str = ""
    effect: bool = False
    canonical: bytes | None = None
    decision: Decision | None = None
    replay_of: str | None = None
    refs: dict[str, str] = field(default_factory=dict)
    entered: bool = False

    def entry(self, code: str) -> Entry:
        """The entry; for invalid calls it holds size and digest of what was sent, never the bytes."""
        raw = self.canonical if self.canonical is not None else _raw_bytes(self.arguments)
        made = self.decision
        decision = {} if made is None else {"verdict": made.verdict, "policy_id": made.policy_id, "digest": made.digest}
        return Entry(
            request_id=self.call.request_id, at=self.call.at, caller=self.call.caller.id, door=self.call.caller.door,
            tool=self.tool, contract=self.contract, arguments={"digest": digest_of_bytes(raw), "size": len(raw)},
            decision=decision, code=code, replay_of=self.replay_of, refs=self.refs,
        )  # fmt: skip


async def call(
    app: App, tool: str, arguments: object, caller: Caller, progress: Report | None = None
) -> dict[str, Any]:
    """Answer one call with its envelope, whatever it is: good, bad, unknown, limited or refused.

    Never raises but for cancellation; then the work is told to stop, and a commit that began still ends.
    """
    made = Call(_new_request_id(), caller, app.clock(), progress, threading.Event())
    trail = Trail(made, tool=_printable(tool), arguments=arguments)
    try:
        envelope = await _answer(app, trail, tool)
    except anyio.get_cancelled_exc_class():
        made.stop.set()
        raise
    except Exception as error:
        body = error_body(error, correlation_id=made.request_id, effect=trail.effect)
        envelope = _envelope(made, error=body)
    if not trail.entered:
        code = envelope["error"]["code"] if not envelope["ok"] else "OK"
        app.enter(trail, code)
    return envelope


def unopened(error: Exception) -> dict[str, Any]:
    """The envelope of a call that found no home to work on (it could not be opened)."""
    request_id = _new_request_id()
    body = error_body(error, correlation_id=request_id)
    return {"ok": False, "error": body, "request_id": request_id, "replayed": False, "warnings": []}


async def _answer(app: App, trail: Trail, name: str) -> dict[str, Any]:
    app.limits.take(trail.call.caller.id)
    tool, request = _contracted(app, trail, name)
    await _decide(app, trail, tool)
    if tool.contract.effect == "read":
        return await _read(app, trail, tool, request)
    return await _command(app, trail, tool, request)


def _contracted(app: App, trail: Trail, name: str) -> tuple[Tool, Any]:
    tool = app.tools.get(name) if isinstance(name, str) else None
    if tool is None:
        raise unknown_tool(trail.tool, list(app.tools))
    trail.contract, trail.effect = f"{tool.contract.name}@{tool.contract.version}", tool.contract.effect == "command"
    try:
        return tool, tool.contract.arguments.model_validate({} if trail.arguments is None else trail.arguments)
    except ValidationError as error:
        raise invalid_arguments(tool.contract, error) from error
    except RecursionError as error:
        raise Refusal("INVALID_ARGUMENTS", "the arguments are nested too deeply") from error


async def _decide(app: App, trail: Trail, tool: Tool) -> None:
    trail.decision = decision = app.policy.decide(Action(tool.contract.name, trail.call.caller.scopes))
    if decision.verdict == "allow":
        return
    if tool.contract.effect == "command":
        # A refused effect is on record before the caller hears of it.
        await app.commit(lambda connection: audit_log.append(connection, [trail.entry("FORBIDDEN")]))
        trail.entered = True
    raise Refusal(
        "FORBIDDEN", decision.reason, details={"policy_id": decision.policy_id, "policy_digest": decision.digest}
    )


async def _read(app: App, trail: Trail, tool: Tool, request: Arguments) -> dict[str, Any]:
    assert tool.read is not None
    if tool.wait is not None:
        await tool.wait(app, trail.call, request)
    if tool.short:
        outcome = tool.read(app, trail.call, request)
    else:
        outcome = await anyio.to_thread.run_sync(
            tool.read, app, trail.call, request, limiter=app.threads, abandon_on_cancel=True
        )
    trail.refs = dict(outcome.refs)
    return _envelope(trail.call, result=outcome.result, warnings=outcome.warnings)


async def _command(app: App, trail: Trail, tool: Tool, request: Arguments) -> dict[str, Any]:
    trail.canonical = canonical_bytes(request.model_dump(mode="json", exclude_none=True, exclude={"idempotency_key"}))
    claim = _claim(trail, request)
    if claim is not None:
        with app.database.read() as connection:
            stored = _standing(app, tool, connection, claim)
        if stored is not None:
            return _replay(trail, stored)
    prepared = None
    if tool.prepare is not None:
        prepared = await anyio.to_thread.run_sync(
            tool.prepare, app, trail.call, request, limiter=app.threads, abandon_on_cancel=True
        )
    return await app.commit(lambda connection: _effect(app, trail, tool, request, prepared, claim, connection))


def _effect(
    app: App, trail: Trail, tool: Tool, request: Arguments, prepared: Any, claim: Claim | None, connection: Connection
) -> dict[str, Any]:
    """Key, state and audit entry, in that order, in the caller's transaction."""
    assert tool.commit is not None
    app.milestone(f"{tool.contract.name}:begun")
    if claim is not None and not idempotency.claim_key(connection, claim, now=trail.call.at):
        # Another call took the key since we looked: its answer is ours, unless it no longer stands.
        stored = _standing(app, tool, connection, claim)
        if stored is not None:
            return _replay(trail, stored)
    outcome = tool.commit(app, trail.call, request, prepared, connection)
    if claim is not None:
        idempotency.store_answer(connection, claim, result=outcome.result, warnings=list(outcome.warnings))
    trail.refs = dict(outcome.refs)
    audit_log.append(connection, [trail.entry("OK")])
    trail.entered = True
    app.milestone(f"{tool.contract.name}:written")
    return _envelope(trail.call, result=outcome.result, warnings=outcome.warnings)


def _standing(app: App, tool: Tool, connection: Connection, claim: Claim) -> Stored | None:
    stored = idempotency.find(connection, claim)
    if stored is None or (tool.settled is not None and not tool.settled(app, connection, stored.result)):
        return None
    return stored


def _claim(trail: Trail, request: Arguments) -> Claim | None:
    key = getattr(request, "idempotency_key", None)
    if key is None:
        return None
    assert trail.canonical is not None
    return Claim(trail.call.caller.id, trail.tool, key, digest_of_bytes(trail.canonical), trail.call.request_id)


def _replay(trail: Trail, stored: Stored) -> dict[str, Any]:
    trail.replay_of = stored.request_id
    return _envelope(trail.call, result=stored.result, warnings=stored.warnings, replay_of=stored.request_id)


def _envelope(
    made: Call,
    *,
    result: dict[str, Any] | None = None,
    error: dict[str, Any] | None = None,
    warnings: tuple[str, ...] | list[str] = (),
    replay_of: str | None = None,
) -> dict[str, Any]:
    body = {"ok": True, "result": result} if error is None else {"ok": False, "error": error}
    origin = {} if replay_of is None else {"replay_of": replay_of}
    replayed = replay_of is not None
    return {**body, "request_id": made.request_id, "replayed": replayed, **origin, "warnings": list(warnings)}


def _new_request_id() -> str:
    return f"req_{secrets.token_hex(12)}"


def _printable(tool: object) -> str:
    return tool[:100].encode("utf-8", "replace").decode() if isinstance(tool, str) else f"<{type(tool).__name__}>"


def _raw_bytes(arguments: object) -> bytes:
    return json.dumps(arguments, default=repr, ensure_ascii=True).encode()

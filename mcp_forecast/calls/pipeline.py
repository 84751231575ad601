"""The one path of a call: caller → limit → contract → policy → key → work → one commit → envelope."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
from pydantic import ValidationError
from sqlalchemy import Connection

from mcp_forecast.calls import idempotency
from mcp_forecast.calls.caller import Caller
from mcp_forecast.calls.idempotency import Claim
from mcp_forecast.calls.refusals import invalid_arguments, unknown_tool
from mcp_forecast.calls.tool import Call, Report, Tool
from mcp_forecast.errors import Refusal, error_body
from mcp_forecast_audit import log as audit_log
from mcp_forecast_audit.entry import Entry
from mcp_forecast_contracts.schema import Arguments
from mcp_forecast_engine.errors import DataInvalid
from mcp_forecast_engine.store.identity import canonical_bytes, digest_of_bytes
from mcp_forecast_policy.decision import Action, Decision

if TYPE_CHECKING:
    from mcp_forecast.app import App

R = TypeVar("R")
# What a call names is in its entry, also where it was refused: by these the log is searched.
_IDS: Final = ("run_id", "dataset_id", "preprocessing_id", "baseline_run_id", "bundle_id", "digest")


@dataclass
class Trail:
    """What one call leaves in the audit log, filled in along the path. entered: a commit carries the entry."""

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
        """The entry, with size and digest of the arguments: canonical for commands, as sent for all other calls."""
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
    trail = _begun(app, tool, arguments, caller, progress)
    made = trail.call
    try:
        envelope = await _answer(app, trail, tool)
    except anyio.get_cancelled_exc_class():
        made.stop.set()
        if not trail.entered:
            app.enter(trail, "CANCELLED")
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


def _begun(app: App, tool: Any, arguments: object, caller: Caller, progress: Report | None) -> Trail:
    made = Call(_new_request_id(), caller, app.clock(), time.monotonic(), progress, threading.Event())
    return Trail(made, tool=_printable(tool), arguments=arguments)


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
        raise unknown_tool(trail.tool, [known for known, one in app.tools.items() if one.contract.listed])
    trail.contract, trail.effect = f"{tool.contract.name}@{tool.contract.version}", tool.contract.effect == "command"
    try:
        request = tool.contract.arguments.model_validate({} if trail.arguments is None else trail.arguments)
        trail.refs = {n: value for n in _IDS if isinstance(value := getattr(request, n, None), str)}
        return tool, request
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
        await _committed(app, trail, lambda connection: audit_log.append(connection, [trail.entry("FORBIDDEN")]))
    raise Refusal(
        "FORBIDDEN", decision.reason, details={"policy_id": decision.policy_id, "policy_digest": decision.digest}
    )


async def _read(app: App, trail: Trail, tool: Tool, request: Arguments) -> dict[str, Any]:
    assert tool.read is not None
    if tool.wait is not None:
        await tool.wait(app, trail.call, request)
    outcome = await app.read(partial(tool.read, app, trail.call, request), short=tool.is_short(request))
    trail.refs = {**trail.refs, **outcome.refs}
    return _envelope(trail.call, result=outcome.result, warnings=outcome.warnings)


async def _command(app: App, trail: Trail, tool: Tool, request: Arguments) -> dict[str, Any]:
    trail.canonical = _canonical(request)
    claim = _claim(trail, request)
    if claim is not None:
        replayed = await app.read(partial(_looked_up, app, trail, tool, claim))
        if replayed is not None:
            return replayed
    prepared = None
    if tool.prepare is not None:
        prepared = await app.off_loop("command", partial(tool.prepare, app, trail.call, request))
    answer = await _committed(app, trail, partial(_effect, app, trail, tool, request, prepared, claim))
    if tool.wakes:
        app.supervisor.notify()
    return answer


async def _committed(app: App, trail: Trail, work: Callable[[Connection], R]) -> R:
    """One commit that carries the call's entry. If it fails, nothing of it is there, and the entry goes its own way."""
    trail.entered = True
    try:
        return await app.commit(work, abandoned=lambda: app.enter(trail, "CANCELLED"))
    except Exception:
        trail.entered = False
        raise


def _effect(
    app: App, trail: Trail, tool: Tool, request: Arguments, prepared: Any, claim: Claim | None, connection: Connection
) -> dict[str, Any]:
    """Key, state and audit entry, in that order, in the caller's transaction."""
    assert tool.commit is not None
    app.milestone(f"{tool.contract.name}:begun")
    if claim is not None and not idempotency.claim_key(connection, claim, now=trail.call.at):
        # Another call took the key since we looked: its answer is ours, unless it no longer stands.
        replayed = _replayed(app, trail, tool, claim, connection)
        if replayed is not None:
            audit_log.append(connection, [trail.entry("OK")])
            return replayed
    outcome = tool.commit(app, trail.call, request, prepared, connection)
    if claim is not None:
        idempotency.store_answer(connection, claim, result=outcome.result, warnings=list(outcome.warnings))
    trail.refs = {**trail.refs, **outcome.refs}
    audit_log.append(connection, [trail.entry("OK")])
    app.milestone(f"{tool.contract.name}:written")
    return _envelope(trail.call, result=outcome.result, warnings=outcome.warnings)


def _looked_up(app: App, trail: Trail, tool: Tool, claim: Claim) -> dict[str, Any] | None:
    with app.database.read() as connection:
        return _replayed(app, trail, tool, claim, connection)


def _replayed(app: App, trail: Trail, tool: Tool, claim: Claim, connection: Connection) -> dict[str, Any] | None:
    """The answer under this key, or None when there is none or it no longer stands."""
    stored = idempotency.find(connection, claim)
    if stored is None:
        return None
    result = stored.result if tool.replay is None else tool.replay(app, connection, stored.result)
    if result is None:
        return None
    trail.replay_of = stored.request_id
    return _envelope(trail.call, result=result, warnings=stored.warnings, replay_of=stored.request_id)


def _canonical(request: Arguments) -> bytes:
    """Canonical bytes of the validated arguments, the key left out. NaN in free-form rows ends here, not as null."""
    try:
        return canonical_bytes(request.model_dump(exclude_none=True, exclude={"idempotency_key"}))
    except DataInvalid as error:
        raise Refusal("INVALID_ARGUMENTS", error.message, field=error.field) from error


def _claim(trail: Trail, request: Arguments) -> Claim | None:
    key = getattr(request, "idempotency_key", None)
    if key is None:
        return None
    assert trail.canonical is not None
    return Claim(trail.call.caller.id, trail.tool, key, digest_of_bytes(trail.canonical), trail.call.request_id)


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
    if not isinstance(tool, str):
        return f"<{type(tool).__name__}>"
    return tool[:100].encode("utf-8", "replace").decode().replace("\0", "\ufffd")  # PostgreSQL keeps no NUL in text


def _raw_bytes(arguments: object) -> bytes:
    return json.dumps(arguments, default=repr, ensure_ascii=True).encode()

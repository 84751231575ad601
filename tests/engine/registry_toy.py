"""A registry with a few bundles, a model of it in plain dicts, and clients that race on one home.

python registry_toy.py client ADDRESS SEED OPERATIONS     one racing client; its history comes as lines of JSON
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection

from mcp_forecast_engine.errors import OutcomeUnknown, RegistryConflict, StoreUnavailable
from mcp_forecast_engine.registry import events, lifecycle
from mcp_forecast_engine.registry.bundles import Bundle, BundleRef
from mcp_forecast_engine.registry.events import MOVES, Order
from mcp_forecast_engine.registry.explain import explain
from mcp_forecast_engine.registry.resolution import resolve
from mcp_forecast_engine.registry.scope import Scope
from mcp_forecast_engine.store.database import Database, open_database

EVERYBODY: Final = Scope()
TENANT: Final = Scope(tenant="acme")
FALLBACK: Final = Scope(slot="fallback")
PLACES: Final = {EVERYBODY: (EVERYBODY, FALLBACK), TENANT: (TENANT, EVERYBODY, FALLBACK), FALLBACK: (FALLBACK,)}
SCOPES: Final = tuple(PLACES)
PASSED: Final = {
    "target": "y", "freq": "D", "horizon": 14, "levels": [0.05, 0.5, 0.95], "input_contract_version": "input_spec.v2",
    "feature_set_id": "fs", "feature_set_version": "1", "covariate_schema_hash": "sha256:" + "c" * 64,
    "input_spec_digest": "sha256:" + "d" * 64,
}  # fmt: skip


def bundle(name: str, *, gate: str = "PASS", kind: str = "forecast", version: str = "1", **capabilities: Any) -> Bundle:
    """A bundle on record that can do what most can, but for what is named."""
    return Bundle(
        bundle_id=f"bnd_{name}", version=version, kind=kind, run_id=f"run_{name}", manifest="sha256:" + "a" * 64,
        compatibility={**PASSED, **capabilities}, gate_decision=gate, gate_receipt="sha256:" + "b" * 64,
    )  # fmt: skip


def order(actor: str = "anna", at: float = 5.0, **more: Any) -> Order:
    """Who asks, and when."""
    return Order(actor=actor, at=at, **more)


def publish(connection: Connection, *made: Bundle) -> list[BundleRef]:
    """Put bundles on record."""
    return [lifecycle.publish(connection, EVERYBODY, one, order()).bundle.ref for one in made]


class Model:
    """What is ACTIVE after each move, told by a list of moves alone, without any code of the registry's."""

    def __init__(self) -> None:
        self.stacks: dict[Scope, list[str]] = {}
        self.timeline: dict[Scope, list[tuple[int, str | None]]] = {scope: [(0, None)] for scope in SCOPES}

    def move(self, scope: Scope, seq: int, to: str | None, *, back: bool) -> None:
        """Let a promotion or a rollback happen."""
        stack = self.stacks.setdefault(scope, [])
        if not back:
            stack.append(str(to))
        else:
            gone = stack.pop()
            while stack and stack[-1] == gone:
                stack.pop()
            assert (stack[-1] if stack else None) == to, f"event {seq} goes back to {to}, {stack} was before"
        self.timeline[scope].append((seq, to))

    def answer(self, scope: Scope, token: int) -> str | None:
        """What answers in a scope right after the move with this number."""
        for place in PLACES[scope]:
            standing = [ref for seq, ref in self.timeline[place] if seq <= token][-1]
            if standing is not None:
                return standing
        return None


CANDIDATES: Final = tuple(bundle(f"c{number}") for number in range(6))


@contextmanager
def opened(address: str | Path) -> Iterator[Database]:
    """The database of a home that is there already."""
    with closing(open_database(address)) as database:
        yield database


def run_client(address: str | Path, seed: int, operations: int) -> Iterator[dict[str, Any]]:
    """Promote, roll back and resolve at random; each line is an operation and what was answered."""
    dice, refs = random.Random(seed), [one.ref for one in CANDIDATES]
    with opened(address) as database:
        for _ in range(operations):
            scope = dice.choice(SCOPES)
            while True:
                try:
                    if dice.random() < 0.4:
                        yield _resolve(database, seed, scope)
                    else:
                        yield _change(database, seed, scope, dice.choice([*refs, None, None]), dice.random() < 0.5)
                    break
                except StoreUnavailable as error:  # others wrote all the time: nothing was done
                    if isinstance(error, OutcomeUnknown):
                        raise


def _resolve(database: Database, seed: int, scope: Scope) -> dict[str, Any]:
    with database.read() as connection:
        found = resolve(connection, scope)
    served = str(found.bundle.ref) if found.bundle else None
    return {"op": "resolve", "client": seed, "scope": str(scope), "token": found.token, "bundle": served}


def _change(database: Database, seed: int, scope: Scope, ref: BundleRef | None, careful: bool) -> dict[str, Any]:
    expected = None
    if careful:
        with database.read() as connection:
            expected = resolve(connection, scope).token
    told = {"op": "change", "client": seed, "scope": str(scope), "expected": expected}
    try:
        with database.command() as connection:
            asked = order(f"client-{seed}", database.clock())
            if ref is None:
                made = lifecycle.rollback(connection, scope, asked, expected_token=expected)
            else:
                made = lifecycle.promote(connection, scope, ref, asked, expected_token=expected)
    except RegistryConflict as conflict:
        return {**told, "conflict": True, "token": conflict.allowed}
    return {**told, "changed": made.changed, "token": made.token, "bundle": str(made.active) if made.active else None}


def race(address: str | Path, clients: int, operations: int) -> list[dict[str, Any]]:
    """Let that many processes race, that many operations each; the lines of all of them."""
    command = [sys.executable, __file__, "client", str(address)]
    racers = [
        subprocess.Popen(
            [*command, str(seed), str(operations)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for seed in range(clients)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    lines = [json.loads(line) for racer in racers for line in racer.communicate(timeout=900)[0].splitlines()]
    assert all(racer.returncode == 0 for racer in racers)
    return lines


def unexplained(connection: Connection, lines: Sequence[dict[str, Any]]) -> list[str]:
    """What the clients saw that the events do not explain: nothing, if all is well."""
    told, model = list(events.every(connection)), Model()
    wrong = list(explain(connection).faults)
    moves = {one.seq: one for one in told if one.event_type in MOVES}
    before: dict[int, int] = {}
    for seq, one in moves.items():
        before[seq] = model.timeline[one.scope][-1][0]
        model.move(one.scope, seq, str(one.bundle) if one.bundle else None, back=one.event_type == "BUNDLE_ROLLED_BACK")
    named = {str(scope): scope for scope in SCOPES}
    newest: dict[tuple[int, str], int] = {}
    made = [line["token"] for line in lines if line.get("changed")]
    if sorted(made) != sorted(moves):
        wrong.append(f"{len(made)} changes were answered, {len(moves)} events are stored")
    for line in lines:
        scope = named[line["scope"]]
        if line["op"] == "resolve":
            seen = newest.get((line["client"], line["scope"]), 0)
            newest[line["client"], line["scope"]] = line["token"]
            fits = line["bundle"] == model.answer(scope, line["token"]) and line["token"] >= seen
        elif line.get("changed"):
            event = moves.get(line["token"])
            fits = event is not None and (str(event.bundle) if event.bundle else None) == line["bundle"]
            fits = fits and (line["expected"] is None or before[line["token"]] <= line["expected"])
        else:
            fits = not line.get("conflict") or line["token"] > line["expected"]
        if not fits:
            wrong.append(f"no event explains {line}")
    return wrong


def _client(address: str, seed: str, operations: str) -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    lines = list(run_client(address if "://" in address else Path(address), int(seed), int(operations)))
    print(*map(json.dumps, lines), sep="\n")


if __name__ == "__main__":
    _client(*sys.argv[2:])

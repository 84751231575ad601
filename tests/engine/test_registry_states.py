"""The registry beside a model of plain dicts: whatever is asked of both in whatever order, both say the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

import pytest
import registry_toy as toy
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import Connection

from mcp_forecast.home.opening import open_home
from mcp_forecast_engine.errors import EngineError
from mcp_forecast_engine.registry import lifecycle
from mcp_forecast_engine.registry.active import active
from mcp_forecast_engine.registry.bundles import Bundle
from mcp_forecast_engine.registry.events import newest
from mcp_forecast_engine.registry.explain import explain
from mcp_forecast_engine.registry.resolution import Needs, resolve
from mcp_forecast_engine.registry.scope import Scope

BOTH_DATABASES = True
RECORDS = (
    toy.bundle("a"), toy.bundle("b"), toy.bundle("c"), toy.bundle("g", horizon=28), toy.bundle("d", target="z"),
    toy.bundle("e", gate="FAIL"), toy.bundle("f", input_contract_version="input_spec.v9"),
)  # fmt: skip
BUNDLES, SCOPES = st.sampled_from(RECORDS), st.sampled_from([toy.EVERYBODY, *toy.SCOPES])
SELDOM = st.sampled_from([False, False, False, False, True])
# Every legal transition, and every refusal; a run that is long enough meets all of them.
TRANSITIONS = {
    "PUBLISHED", "ALREADY_PUBLISHED", "PUBLISH_CONFLICT", "approved", "approved again", "promoted into an empty scope",
    "promoted over another", "promoted again", "rejected GATE_FAIL", "rejected BUNDLE_RETIRED",
    "rejected CAPABILITY_MISMATCH:input_contract_version", "rejected CAPABILITY_MISMATCH:horizon",
    "rejected CAPABILITY_MISMATCH:target", "TOKEN_STALE", "NotFound", "rolled back to the one before",
    "rolled back past a retired one", "rolled back to a named one", "rolled back to nothing", "nothing to roll back",
    "rolled back again", "rolled back and retired", "BUNDLE_NOT_BEHIND", "BUNDLE_STILL_ACTIVE", "BUNDLE_RETIRED",
    "retired", "retired again", "RESOLVED for the tenant", "RESOLVED for everybody", "SAFE_FALLBACK", "FAIL_CLOSED",
}  # fmt: skip


class Undone(Exception):
    """What takes back all that an example has written."""


class RegistryMachine(RuleBasedStateMachine):
    """The registry and, in plain dicts and lists, what it should be."""

    opened: ClassVar[Callable[[], AbstractContextManager[Connection]]]
    met: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.transaction = type(self).opened()
        self.registry = self.transaction.__enter__()
        self.published: dict[str, Bundle] = {}
        self.retired: set[str] = set()
        self.approved: set[tuple[Scope, str, str]] = set()
        self.stacks: dict[Scope, list[str]] = {scope: [] for scope in toy.SCOPES}
        self.tokens: dict[Scope, int] = dict.fromkeys(toy.SCOPES, 0)
        self.events = 0
        for one in RECORDS[:-1]:  # the last is published when it happens
            self.publish(one, changed=False, scope=toy.EVERYBODY)

    def teardown(self) -> None:
        assert explain(self.registry).faults == ()
        self.transaction.__exit__(Undone, Undone(), None)

    def ask(self, expected: str | None, change: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        """Make a change that the model expects to be refused for this reason, or to succeed."""
        try:
            made = change(self.registry, *arguments, **more)
        except EngineError as error:
            reason = error.reason or type(error).__name__
            assert reason == expected
            self.met[reason] += 1
            return None
        assert expected is None
        return made

    @rule(record=BUNDLES, changed=SELDOM, scope=SCOPES)
    def publish(self, record: Bundle, changed: bool, scope: Scope) -> None:
        asked = toy.bundle(record.bundle_id[-1], gate="CHANGED") if changed else record
        present = self.published.get(record.bundle_id)
        if present is None and changed:
            return
        made = self.ask("PUBLISH_CONFLICT" if changed else None, lifecycle.publish, scope, asked, toy.order())
        if made is None:
            return
        self.met[made.status] += 1
        assert (made.status == "PUBLISHED") == (present is None)
        self.events += present is None
        self.published[record.bundle_id] = record

    @rule(record=BUNDLES, scope=SCOPES, actor=st.sampled_from(["anna", "ben"]))
    def approve(self, record: Bundle, scope: Scope, actor: str) -> None:
        name = record.bundle_id
        expected = "BUNDLE_RETIRED" if name in self.retired else None
        made = self.ask(expected or self.unknown(name), lifecycle.approve, scope, record.ref, toy.order(actor))
        if made is None:
            return
        again = (scope, name, actor) in self.approved
        self.met["approved again" if again else "approved"] += 1
        self.events += not again
        self.approved.add((scope, name, actor))
        assert (made.actor, made.scope) == (actor, scope)

    @rule(record=BUNDLES, scope=SCOPES, stale=st.none() | SELDOM)
    def promote(self, record: Bundle, scope: Scope, stale: bool | None) -> None:
        name, stack = record.bundle_id, self.stacks[scope]
        token = None if stale is None else self.tokens[scope] - bool(stale)
        holds = bool(stack) and stack[-1] == name
        expected = self.unknown(name) or ("TOKEN_STALE" if stale else None)
        made = self.ask(expected, lifecycle.promote, scope, record.ref, toy.order(), expected_token=token)
        if made is None:
            return
        codes = () if holds else self.against(record, stack)
        assert (made.changed, made.reason_codes) == (not holds and not codes, codes)
        self.events += not holds
        if made.changed:
            self.met["promoted over another" if stack else "promoted into an empty scope"] += 1
            stack.append(name)
            self.tokens[scope] = self.events
        self.met.update(f"rejected {code}" for code in codes)
        self.met["promoted again"] += holds

    @rule(records=st.lists(st.sampled_from(RECORDS[:3]), min_size=2, max_size=4), scope=SCOPES)
    def promote_one_after_the_other(self, records: list[Bundle], scope: Scope) -> None:
        for record in records:
            self.promote(record, scope, stale=None)

    def against(self, record: Bundle, stack: list[str]) -> tuple[str, ...]:
        found, codes = record.compatibility, []
        if record.gate_decision != "PASS":
            codes.append("GATE_FAIL")
        if record.bundle_id in self.retired:
            codes.append("BUNDLE_RETIRED")
        if found["input_contract_version"] != "input_spec.v2":
            codes.append("CAPABILITY_MISMATCH:input_contract_version")
        if stack:
            now = self.published[stack[-1]].compatibility
            codes += ["CAPABILITY_MISMATCH:target"] * (found["target"] != now["target"])
            codes += ["CAPABILITY_MISMATCH:horizon"] * (found["horizon"] < now["horizon"])
        return tuple(codes)

    @rule(scope=SCOPES, to=st.sampled_from([None, None, None, None, *RECORDS]), retire=SELDOM, stale=SELDOM)
    def roll_back(self, scope: Scope, to: Bundle | None, retire: bool, stale: bool) -> None:
        stack, name = self.stacks[scope], to and to.bundle_id
        now = stack[-1] if stack else None
        ahead = [one for one in reversed(stack[:-1]) if one != now and one not in self.retired]
        elsewhere = any(other[-1:] == [now] for place, other in self.stacks.items() if place != scope)
        expected = "TOKEN_STALE" if stale else None
        if now != name and not stale:
            refusals = (
                ("NotFound", name is not None and name not in self.published),
                ("BUNDLE_NOT_BEHIND", name is not None and name not in ahead),
                ("BUNDLE_STILL_ACTIVE", retire and now is not None and elsewhere),
            )
            expected = next((reason for reason, holds in refusals if holds), None)
        made = self.ask(
            expected, lifecycle.rollback, scope, toy.order(), to=to and to.ref, retire_it=retire,
            expected_token=self.tokens[scope] - stale,
        )  # fmt: skip
        if made is None:
            return
        target = name or next(iter(ahead), None)
        if now == name:
            self.met["nothing to roll back" if now is None else "rolled back again"] += 1
            assert (made.changed, made.active and made.active.bundle_id) == (False, now)
            return
        assert (made.changed, made.active and made.active.bundle_id) == (True, target)
        past = stack[:-1] and (stack[-2] in self.retired)
        self.met["rolled back to a named one" if name else "rolled back to the one before"] += target is not None
        self.met["rolled back past a retired one"] += bool(past and target)
        self.met["rolled back to nothing"] += target is None
        stack.pop()
        while stack and stack[-1] != target:
            stack.pop()
        self.events += 1
        self.tokens[scope] = self.events
        if retire and now is not None:
            self.events += now not in self.retired
            self.retired.add(now)
            self.met["rolled back and retired"] += 1

    @rule(record=BUNDLES, scope=SCOPES, really=SELDOM)
    def retire(self, record: Bundle, scope: Scope, really: bool) -> None:
        if not really:
            return  # or soon nothing is left to promote
        name = record.bundle_id
        busy = any(stack[-1:] == [name] for stack in self.stacks.values())
        expected = self.unknown(name) or ("BUNDLE_STILL_ACTIVE" if busy else None)
        if self.ask(expected, lifecycle.retire, scope, record.ref, toy.order()) is None:
            return
        self.met["retired again" if name in self.retired else "retired"] += 1
        self.events += name not in self.retired
        self.retired.add(name)

    @rule(scope=SCOPES)
    def retire_what_was_active_before_and_roll_back(self, scope: Scope) -> None:
        behind = [one for one in RECORDS if one.bundle_id in self.stacks[scope][-2:-1]]
        for record in behind:
            self.retire(record, scope, really=True)
            self.roll_back(scope, None, retire=False, stale=False)

    @rule(scope=SCOPES, horizon=st.sampled_from([None, 28]))
    def resolve(self, scope: Scope, horizon: int | None) -> None:
        found = resolve(self.registry, scope, Needs(horizon=horizon))
        places = toy.PLACES[scope]
        standing = [(place, self.published[self.stacks[place][-1]]) for place in places if self.stacks[place]]
        fits = [(place, one) for place, one in standing if one.compatibility["horizon"] >= (horizon or 0)]
        expected = fits[0] if fits else (None, None)
        assert (found.served_from, found.bundle) == expected
        assert found.token == max(self.tokens[place] for place in places)
        whose = " for the tenant" if found.served_from == toy.TENANT else " for everybody"
        self.met[found.outcome + (whose if found.outcome == "RESOLVED" else "")] += 1

    def unknown(self, name: str) -> str | None:
        return None if name in self.published else "NotFound"

    @invariant()
    def active_and_the_number_of_events_are_the_models(self) -> None:
        for scope, stack in self.stacks.items():
            now = active(self.registry, scope)
            assert (now.ref and now.ref.bundle_id, now.token) == (stack[-1] if stack else None, self.tokens[scope])
        assert newest(self.registry) == self.events


@pytest.fixture
def machine(tmp_path: Path, database_address: str) -> Iterator[type[RegistryMachine]]:
    """A machine whose every example has a registry of its own: a transaction that is taken back."""
    database = open_home(tmp_path, database_address)

    class OnThisDatabase(RegistryMachine):
        opened = database.command
        met: ClassVar[Counter[str]] = Counter()

    yield OnThisDatabase
    database.close()


def run(machine: type[RegistryMachine], examples: int, steps: int) -> None:
    """So many examples of so many steps, the same ones every time."""
    checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    sizes = {"max_examples": examples, "stateful_step_count": steps}
    plain = settings(deadline=None, derandomize=True, database=None, suppress_health_check=checks)
    run_state_machine_as_test(machine, settings=settings(plain, **sizes))


def test_the_registry_and_a_plain_model_never_differ(machine: type[RegistryMachine]) -> None:
    run(machine, 15, 30)
    assert {"promoted over another", "rolled back to the one before", "RESOLVED for everybody"} <= set(machine.met)


@pytest.mark.slow
def test_two_hundred_runs_of_fifty_steps_never_differ_and_meet_every_transition(machine: type[RegistryMachine]) -> None:
    run(machine, 200, 50)
    assert {name for name, count in machine.met.items() if count} == TRANSITIONS

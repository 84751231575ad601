"""Which bundle answers: the tenant's, everybody's, the fallback's or none; always why, and under which token."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import registry_toy as toy
from sqlalchemy import Connection

from mcp_forecast.home.opening import open_home
from mcp_forecast_engine.errors import BundleIncompatible, DataInvalid, NotFound
from mcp_forecast_engine.registry.lifecycle import promote, rollback
from mcp_forecast_engine.registry.policy import default_policy, read_policy
from mcp_forecast_engine.registry.resolution import Needs, pinned, resolve
from mcp_forecast_engine.registry.scope import Scope

BOTH_DATABASES = True
SHORT, LONG = toy.bundle("short", horizon=7), toy.bundle("long", horizon=28)
NONE = "FAIL_CLOSED_NO_COMPATIBLE_BUNDLE"


@pytest.fixture
def registry(tmp_path: Path, database_address: str) -> Iterator[Connection]:
    """A registry with a short and a long bundle."""
    database = open_home(tmp_path, database_address)
    with database.command() as connection:
        toy.publish(connection, SHORT, LONG)
        yield connection
    database.close()


def up(registry: Connection, scope: Scope, bundle: toy.Bundle) -> int:
    """Promote; the token of that."""
    return promote(registry, scope, bundle.ref, toy.order()).token


def test_where_nothing_is_active_nothing_answers(registry: Connection) -> None:
    found = resolve(registry, toy.TENANT)
    assert (found.outcome, found.bundle, found.token) == ("FAIL_CLOSED", None, 0)
    assert found.reason_codes == ("SCOPE_NOT_FOUND", NONE)
    assert [one.scope for one in found.looked] == [toy.TENANT, toy.EVERYBODY, toy.FALLBACK]
    with pytest.raises(NotFound, match="nothing is ACTIVE for local/live/primary/acme"):
        found.require()


def test_the_tenants_bundle_comes_before_everybodys_and_that_before_the_fallback(registry: Connection) -> None:
    tokens = [up(registry, toy.FALLBACK, SHORT)]
    fallback = resolve(registry, toy.TENANT)
    assert (fallback.outcome, fallback.bundle, fallback.served_from) == ("SAFE_FALLBACK", SHORT, toy.FALLBACK)
    assert fallback.reason_codes == ("SCOPE_NOT_FOUND", "FALLBACK_EXPLICIT")
    tokens.append(up(registry, toy.EVERYBODY, LONG))
    general = resolve(registry, toy.TENANT)
    assert (general.outcome, general.bundle, general.served_from) == ("RESOLVED", LONG, toy.EVERYBODY)
    assert general.reason_codes == ("SCOPE_NOT_FOUND",)
    tokens.append(up(registry, toy.TENANT, SHORT))
    own = resolve(registry, toy.TENANT)
    assert (own.outcome, own.served_from, own.reason_codes) == ("RESOLVED", toy.TENANT, ())
    assert own.require() == SHORT
    assert [fallback.token, general.token, own.token] == tokens
    assert resolve(registry, Scope(tenant="other")).bundle == LONG
    assert resolve(registry, Scope(environment="prod")).outcome == "FAIL_CLOSED"


def test_an_active_bundle_that_cannot_do_what_is_needed_is_named_and_the_next_is_tried(registry: Connection) -> None:
    up(registry, toy.TENANT, SHORT)
    up(registry, toy.EVERYBODY, LONG)
    found = resolve(registry, toy.TENANT, Needs(horizon=14))
    assert (found.outcome, found.bundle) == ("RESOLVED", LONG)
    assert found.reason_codes == ("ACTIVE_BUNDLE_INCOMPATIBLE", "CAPABILITY_MISMATCH:horizon")
    assert (found.looked[0].bundle, found.looked[0].misfits) == (SHORT.ref, ("horizon",))
    none = resolve(registry, toy.TENANT, Needs(horizon=99, target="z"))
    assert (none.outcome, none.reason_codes[-1]) == ("FAIL_CLOSED", NONE)
    with pytest.raises(BundleIncompatible, match=r"bnd_short@1 in .*acme: target, horizon; bnd_long@1 in .*") as caught:
        none.require()
    assert (caught.value.field, caught.value.allowed) == ("target", {"target": "y", "horizon": 7})
    levels = resolve(registry, toy.TENANT, Needs(levels=(0.25,)))
    with pytest.raises(BundleIncompatible) as caught:
        levels.require()
    assert (caught.value.field, caught.value.allowed) == ("levels", {"levels": [90]})


def test_the_fallback_answers_with_a_warning_that_names_both_scopes_and_the_slots_there_are(
    registry: Connection,
) -> None:
    up(registry, toy.FALLBACK, LONG)
    up(registry, toy.EVERYBODY, SHORT)
    up(registry, Scope(slot="theirs", tenant="other"), LONG)  # nobody else's business
    misspelt = Scope(slot="primry")
    assert resolve(registry, misspelt).warnings == (
        f"nothing that is ACTIVE in {misspelt} answers this: the fallback {toy.FALLBACK} does; slots with something "
        "ACTIVE: fallback, primary",
    )
    assert resolve(registry, toy.EVERYBODY).warnings == ()


def test_a_scope_without_an_answer_blames_the_part_that_is_astray(registry: Connection) -> None:
    up(registry, toy.EVERYBODY, SHORT)
    for scope, field in (
        (Scope(environment="prod"), "environment"), (Scope(mode="paper"), "mode"), (Scope(slot="other"), "slot"),
    ):  # fmt: skip
        with pytest.raises(NotFound) as caught:
            resolve(registry, scope).require()
        assert (caught.value.field, caught.value.allowed) == (field, [str(toy.EVERYBODY)])


def test_the_token_is_of_the_newest_move_that_may_have_a_say_and_never_falls(registry: Connection) -> None:
    up(registry, toy.TENANT, SHORT)
    seen = [resolve(registry, toy.TENANT).token]
    seen.append(up(registry, toy.EVERYBODY, LONG))
    assert resolve(registry, toy.TENANT).token == seen[-1]
    up(registry, Scope(tenant="other"), LONG)
    assert resolve(registry, toy.TENANT).token == seen[-1]
    seen.append(rollback(registry, toy.TENANT, toy.order()).token)
    assert resolve(registry, toy.TENANT).token == seen[-1]
    assert resolve(registry, toy.TENANT) == resolve(registry, toy.TENANT)
    assert seen == sorted(set(seen))


def test_without_a_fallback_slot_in_the_policy_none_is_looked_at(registry: Connection) -> None:
    up(registry, toy.FALLBACK, LONG)
    policy = replace(default_policy(), fallback_slot=None)
    found = resolve(registry, toy.EVERYBODY, policy=policy)
    assert (found.outcome, len(found.looked)) == ("FAIL_CLOSED", 1)
    assert found.policy_rev == policy.stamp


@pytest.mark.parametrize(
    ("needs", "unmet"),
    [
        (Needs(), ()),
        (Needs(kind="forecast", target="y", freq="D", horizon=28, levels=(0.05, 0.95)), ()),
        (Needs(levels=(0.05, 0.1)), ("levels",)),
        (Needs(kind="x", target="x", freq="x", horizon=29), ("kind", "target", "freq", "horizon")),
        (
            Needs(covariate_schema_hash="sha256:0", input_spec_digest="x"),
            ("covariate_schema_hash", "input_spec_digest"),
        ),
        (Needs(feature_set_version="2", input_contract_version="x"), ("feature_set_version", "input_contract_version")),
    ],
)
def test_a_pinned_bundle_answers_if_it_can_do_every_single_thing(
    registry: Connection, needs: Needs, unmet: tuple[str, ...]
) -> None:
    if not unmet:
        assert pinned(registry, "bnd_long", None, needs) == LONG
        return
    with pytest.raises(BundleIncompatible) as caught:
        pinned(registry, "bnd_long", "1", needs)
    assert (caught.value.field, caught.value.reason) == (unmet[0], f"CAPABILITY_MISMATCH:{unmet[0]}")
    assert tuple(caught.value.allowed) == unmet


@pytest.mark.parametrize(
    ("document", "what"),
    [
        (b"{", "no JSON"),
        (b"[]", "fields"),
        (b'{"policy_id": "p"}', "fields"),
    ],
)
def test_a_policy_that_is_none_is_refused(document: bytes, what: str) -> None:
    with pytest.raises(DataInvalid, match=what):
        read_policy(document)


def test_a_policy_with_a_rule_that_nobody_knows_is_refused() -> None:
    body = {"policy_id": "p", "revision": "1", "input_contracts": [], "approvals": 0, "fallback_slot": None}
    body |= {"promotion": {"horizon": "about"}, "needs": {}, "compared_with_active": {}, "profiles": {}}
    with pytest.raises(DataInvalid, match="'about'") as caught:
        read_policy(json.dumps(body).encode())
    assert "at_least" in caught.value.allowed


@pytest.mark.parametrize(
    ("wrong", "what"),
    [({"compared_with_active": {"prod": "never"}}, "compared_with_active"), ({"profiles": {"prod": 5}}, "profiles")],
)
def test_a_policy_that_says_neither_told_nor_required_or_lists_no_profiles_is_refused(
    wrong: dict[str, object], what: str
) -> None:
    body = {"policy_id": "p", "revision": "1", "input_contracts": [], "approvals": 0, "fallback_slot": None}
    body |= {"promotion": {}, "needs": {}, "compared_with_active": {}, "profiles": {}, **wrong}
    with pytest.raises(DataInvalid, match=what):
        read_policy(json.dumps(body).encode())

"""The registry's changes: what each writes, what makes no second event, what is refused or rejected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import registry_toy as toy
from sqlalchemy import Connection

from mcp_forecast.home.opening import open_home
from mcp_forecast_engine.errors import DataInvalid, NotFound, RegistryConflict
from mcp_forecast_engine.factory.governance import GovernanceProfile
from mcp_forecast_engine.registry import events, lifecycle, listing
from mcp_forecast_engine.registry.active import active
from mcp_forecast_engine.registry.bundles import Bundle, BundleRef, named
from mcp_forecast_engine.registry.explain import explain
from mcp_forecast_engine.registry.lifecycle import Change, approve, promote, publish, retire, rollback
from mcp_forecast_engine.registry.listing import BundleFilter
from mcp_forecast_engine.registry.policy import default_policy, with_profiles
from mcp_forecast_engine.registry.scope import Scope
from mcp_forecast_engine.store.database import Database

BOTH_DATABASES = True
A, B, C = (toy.bundle(name) for name in "abc")


@pytest.fixture
def database(tmp_path: Path, database_address: str) -> Iterator[Database]:
    opened = open_home(tmp_path, database_address)
    yield opened
    opened.close()


@pytest.fixture
def registry(database: Database) -> Iterator[Connection]:
    """A registry with three bundles, in one transaction."""
    with database.command() as connection:
        toy.publish(connection, A, B, C)
        yield connection
        assert explain(connection).faults == ()


def bring(registry: Connection, *refs: BundleRef) -> Change:
    """Promote one after the other; how the scope stands after the last."""
    return [promote(registry, toy.EVERYBODY, ref, toy.order()) for ref in refs][-1]


def types(registry: Connection) -> list[str]:
    """The types of all events, oldest first, after the three publications."""
    return [event.event_type for event in events.every(registry)][3:]


def test_publishing_puts_a_bundle_on_record_once_and_makes_nothing_active(registry: Connection) -> None:
    again = publish(registry, toy.EVERYBODY, A, toy.order("ben", 9.0))
    assert (again.status, again.bundle, again.event.actor, again.event.seq) == ("ALREADY_PUBLISHED", A, "anna", 1)
    assert again.event.evidence["bundle"] == A.to_dict()
    assert active(registry, toy.EVERYBODY) == (None, 0)
    assert types(registry) == []


@pytest.mark.parametrize("changed", [{"manifest": "sha256:" + "9" * 64}, {"gate_decision": "FAIL"}, {"run_id": "x"}])
def test_other_content_under_a_published_name_is_refused(registry: Connection, changed: dict[str, str]) -> None:
    with pytest.raises(RegistryConflict, match=f"another {next(iter(changed))}") as caught:
        publish(registry, toy.EVERYBODY, replace(A, **changed), toy.order())
    assert caught.value.reason == "PUBLISH_CONFLICT"
    assert named(registry, A.bundle_id) == A


@pytest.mark.parametrize(
    ("field", "record"),
    [
        ("compatibility.horizon", toy.bundle("x", horizon=0)),
        ("compatibility.levels", toy.bundle("x", levels=[])),
        ("compatibility.target", toy.bundle("x", target=None)),
        ("version", toy.bundle("x", version="no spaces")),
        ("gate_receipt", replace(A, gate_receipt="")),
    ],
)
def test_a_record_that_says_too_little_is_not_published(registry: Connection, field: str, record: toy.Bundle) -> None:
    with pytest.raises(DataInvalid) as caught:
        publish(registry, toy.EVERYBODY, record, toy.order())
    assert (caught.value.field, caught.value.reason) == (field, "BUNDLE_PUBLICATION_INVALID")


def test_a_promotion_moves_active_with_one_event_that_says_from_what_to_what(registry: Connection) -> None:
    bring(registry, A.ref)
    made = promote(registry, toy.EVERYBODY, B.ref, toy.order("ben", 7.25, reason="better", evidence={"ticket": 4}))
    (event,) = made.events
    assert (made.changed, made.active, made.before, made.token) == (True, B.ref, A.ref, event.seq)
    assert (event.event_type, event.bundle, event.before) == ("BUNDLE_PROMOTED_ACTIVE", B.ref, A.ref)
    assert (event.actor, event.reason, event.evidence["ticket"], event.at) == ("ben", "better", 4, 7.25)
    assert event.policy_rev == default_policy().stamp
    assert event.event_id == event.name_from_content()
    assert active(registry, toy.EVERYBODY) == (B, event.seq)


def test_promoting_what_is_active_makes_no_second_event(registry: Connection) -> None:
    first = bring(registry, A.ref)
    again = promote(registry, toy.EVERYBODY, A.ref, toy.order(), expected_token=first.token)
    assert (again.changed, again.active, again.token, again.events) == (False, A.ref, first.token, ())
    assert types(registry) == ["BUNDLE_PROMOTED_ACTIVE"]


def test_a_stale_token_is_refused_also_where_the_change_already_holds(registry: Connection) -> None:
    token = bring(registry, A.ref).token
    for stale in (0, token - 1, token + 100):
        with pytest.raises(RegistryConflict) as caught:
            promote(registry, toy.EVERYBODY, A.ref, toy.order(), expected_token=stale)
        assert (caught.value.reason, caught.value.allowed) == ("TOKEN_STALE", token)
        with pytest.raises(RegistryConflict):
            rollback(registry, toy.EVERYBODY, toy.order(), to=A.ref, expected_token=stale)


def judged(registry: Connection, name: str, **told: str) -> Bundle:
    """A published bundle whose publication says how it was judged."""
    made = toy.bundle(name)
    evidence = {"judged": {"profile": "default@1", "verdict": "trust", **told}}
    publish(registry, toy.EVERYBODY, made, toy.order(evidence=evidence))
    return made


def test_what_was_not_measured_against_the_active_bundle_is_promoted_with_a_warning_that_names_both(
    registry: Connection,
) -> None:
    bring(registry, A.ref)
    compared, not_compared = judged(registry, "x", compared_with=str(A.ref)), judged(registry, "y")
    first = promote(registry, toy.EVERYBODY, compared.ref, toy.order())
    assert (first.changed, first.warnings, first.events[0].evidence) == (True, (), {})
    second = promote(registry, toy.EVERYBODY, not_compared.ref, toy.order())
    (warning,) = second.warnings
    assert str(compared.ref) in warning
    assert str(not_compared.ref) in warning
    assert second.events[0].evidence == {"warnings": [warning]}


def test_a_bundle_that_was_made_for_another_scope_is_promoted_with_a_warning_that_names_both(
    registry: Connection,
) -> None:
    made = promote(registry, toy.TENANT, judged(registry, "x").ref, toy.order())
    assert made.warnings == (f"bnd_x@1 was made for {toy.EVERYBODY}, and is promoted to {toy.TENANT}",)


def test_whose_tenant_it_was_made_for_is_no_other_tenants_business(registry: Connection) -> None:
    made, own = toy.bundle("x"), toy.TENANT
    publish(registry, own, made, toy.order())
    change = promote(registry, toy.EVERYBODY, made.ref, toy.order())
    (warning,) = change.warnings
    assert warning == f"bnd_x@1 was made for {toy.EVERYBODY} of another tenant, and is promoted to {toy.EVERYBODY}"
    assert own.tenant not in str(change.events[0].evidence)
    assert promote(registry, own, made.ref, toy.order()).warnings == ()
    assert own.told_to(own.tenant) == str(own)


def test_prod_also_takes_what_an_operators_profile_judged_that_says_so(registry: Connection) -> None:
    own = [
        GovernanceProfile(name, "acme", "1", "fits", {}, promotes_to=places)
        for name, places in (("own", ("prod", "local")), ("other", ()))
    ]
    usual, prod = default_policy(), Scope(environment="prod")
    policy = with_profiles(usual, own)
    assert (policy.accepted_profiles("prod"), policy.accepted_profiles("local")) == (["default", "strict", "own"], None)
    assert policy.stamp["digest"] != usual.stamp["digest"]
    assert with_profiles(usual, own[1:]) is usual
    asked = toy.order(policy=policy)
    no = promote(registry, prod, judged(registry, "x", profile="other@1").ref, asked)
    assert no.reason_codes == ("PROFILE_NOT_ACCEPTED",)
    assert promote(registry, prod, judged(registry, "y", profile="own@1").ref, asked).changed


def test_prod_takes_only_what_was_measured_against_its_active_bundle_and_judged_by_a_profile_it_accepts(
    registry: Connection,
) -> None:
    prod = Scope(environment="prod")

    def bring_up(made: Bundle) -> Change:
        return promote(registry, prod, made.ref, toy.order())

    assert bring_up(judged(registry, "o", profile="own@3")).reason_codes == ("PROFILE_NOT_ACCEPTED",)
    assert bring_up(A).reason_codes == ("PROFILE_NOT_ACCEPTED",)  # nobody knows by which
    one = judged(registry, "x")
    assert bring_up(one).changed
    no = bring_up(judged(registry, "y", profile="strict@1"))
    assert (no.reason_codes, no.active) == (("ACTIVE_NOT_COMPARED",), one.ref)
    assert no.events[0].reason_codes == no.reason_codes
    assert bring_up(judged(registry, "z", profile="strict@1", compared_with=str(one.ref))).changed


def test_a_policy_of_an_embedder_may_tell_or_require_by_environment(registry: Connection) -> None:
    bring(registry, A.ref)
    strict = replace(default_policy(), compared_with_active={"*": "required"})
    asked = toy.order(policy=strict)
    assert promote(registry, toy.EVERYBODY, B.ref, asked).reason_codes == ("ACTIVE_NOT_COMPARED",)
    open_ = replace(strict, compared_with_active={"*": "required", "local": "told"})
    assert promote(registry, toy.EVERYBODY, B.ref, toy.order(policy=open_)).changed


def test_a_change_that_was_decided_before_the_last_move_is_refused_with_the_current_token(registry: Connection) -> None:
    token = bring(registry, A.ref).token
    assert promote(registry, toy.EVERYBODY, B.ref, toy.order(), expected_token=token).changed
    for change in (promote, lambda c, s, ref, o, expected_token: rollback(c, s, o, expected_token=expected_token)):
        for stale in (token, token + 100):  # older than the last move, and never given
            with pytest.raises(RegistryConflict, match=f"which is {token + 1}") as caught:
                change(registry, toy.EVERYBODY, C.ref, toy.order(), expected_token=stale)
            assert (caught.value.field, caught.value.allowed) == ("expected_token", token + 1)
    assert active(registry, toy.EVERYBODY).ref == B.ref


def test_what_happens_elsewhere_does_not_make_a_token_stale(registry: Connection) -> None:
    token = bring(registry, A.ref).token
    promote(registry, toy.TENANT, B.ref, toy.order())
    approve(registry, toy.EVERYBODY, C.ref, toy.order())
    assert promote(registry, toy.EVERYBODY, C.ref, toy.order(), expected_token=token).changed


@pytest.mark.parametrize(
    ("candidate", "codes"),
    [
        (toy.bundle("x", gate="FAIL"), ("GATE_FAIL",)),
        (toy.bundle("x", input_contract_version="input_spec.v9"), ("CAPABILITY_MISMATCH:input_contract_version",)),
        (toy.bundle("x", kind="other"), ("CAPABILITY_MISMATCH:kind",)),
        (toy.bundle("x", horizon=13, target="z"), ("CAPABILITY_MISMATCH:target", "CAPABILITY_MISMATCH:horizon")),
        (toy.bundle("x", freq="h", gate="FAIL"), ("GATE_FAIL", "CAPABILITY_MISMATCH:freq")),
        (toy.bundle("x", levels=[0.5]), ("CAPABILITY_MISMATCH:levels",)),
    ],
)
def test_a_promotion_that_the_policy_rejects_is_on_record_and_changes_nothing(
    registry: Connection, candidate: toy.Bundle, codes: tuple[str, ...]
) -> None:
    token = bring(registry, A.ref).token
    (ref,) = toy.publish(registry, candidate)
    made = promote(registry, toy.EVERYBODY, ref, toy.order(reason="try"))
    (event,) = made.events
    assert (made.changed, made.rejected, made.reason_codes, made.active) == (False, True, codes, A.ref)
    assert (event.event_type, event.bundle, event.before, event.reason) == ("PROMOTION_REJECTED", ref, A.ref, "try")
    assert event.reason_codes == codes
    assert active(registry, toy.EVERYBODY) == (A, token)


def test_a_longer_horizon_and_more_levels_are_no_reason_against_a_promotion(registry: Connection) -> None:
    (ref,) = toy.publish(
        registry, toy.bundle("x", horizon=28, levels=[0.01, *toy.PASSED["levels"]], feature_set_id="g")
    )
    bring(registry, A.ref)
    assert bring(registry, ref).active == ref


def test_an_empty_scope_takes_any_bundle_that_passed(registry: Connection) -> None:
    (ref,) = toy.publish(registry, toy.bundle("x", target="z", horizon=1))
    assert bring(registry, ref).active == ref


def test_a_policy_may_want_approvals_of_several_actors(registry: Connection) -> None:
    two = replace(default_policy(), approvals=2)
    approvals = [approve(registry, toy.EVERYBODY, A.ref, toy.order(actor)) for actor in ("anna", "anna")]
    assert approvals[0] == approvals[1]
    assert promote(registry, toy.EVERYBODY, A.ref, toy.order(policy=two)).reason_codes == ("APPROVAL_MISSING",)
    approve(registry, toy.TENANT, A.ref, toy.order("carl"))  # of another scope
    assert promote(registry, toy.EVERYBODY, A.ref, toy.order(policy=two)).rejected
    approve(registry, toy.EVERYBODY, A.ref, toy.order("ben"))
    assert promote(registry, toy.EVERYBODY, A.ref, toy.order(policy=two)).changed


def test_rolling_back_again_walks_further_back_until_the_scope_is_empty(registry: Connection) -> None:
    bring(registry, A.ref, B.ref, C.ref)
    made = [rollback(registry, toy.EVERYBODY, toy.order()) for _ in range(4)]
    assert [(one.changed, one.active, one.before) for one in made] == [
        (True, B.ref, C.ref), (True, A.ref, B.ref), (True, None, A.ref), (False, None, None),
    ]  # fmt: skip
    assert active(registry, toy.EVERYBODY) == (None, made[2].token)
    assert types(registry)[3:] == ["BUNDLE_ROLLED_BACK"] * 3


def test_what_was_rolled_away_from_is_not_gone_back_to(registry: Connection) -> None:
    bring(registry, A.ref, B.ref)
    rollback(registry, toy.EVERYBODY, toy.order())
    bring(registry, C.ref)
    assert rollback(registry, toy.EVERYBODY, toy.order()).active == A.ref


def test_a_rollback_may_name_where_to_and_said_twice_is_done_once(registry: Connection) -> None:
    bring(registry, A.ref, B.ref, C.ref)
    made = [rollback(registry, toy.EVERYBODY, toy.order(), to=A.ref) for _ in range(2)]
    assert [(one.changed, one.active) for one in made] == [(True, A.ref), (False, A.ref)]
    with pytest.raises(RegistryConflict, match="none that scope local/live/primary can be rolled back to") as caught:
        rollback(registry, toy.EVERYBODY, toy.order(), to=B.ref)
    assert (caught.value.reason, caught.value.allowed) == ("BUNDLE_NOT_BEHIND", [])
    with pytest.raises(NotFound):
        rollback(registry, toy.EVERYBODY, toy.order(), to=BundleRef("bnd_x", "1"))


def test_a_rollback_goes_to_nothing_that_was_not_looked_at(registry: Connection) -> None:
    bring(registry, A.ref, B.ref, C.ref)
    before = types(registry)
    for looked_at, to in (((), None), ((A.ref,), None), ((B.ref,), A.ref)):
        with pytest.raises(RegistryConflict, match="moved while its bundle was being checked") as caught:
            rollback(registry, toy.EVERYBODY, toy.order(), to=to, looked_at=looked_at)
        assert (caught.value.reason, caught.value.allowed) == ("TOKEN_STALE", active(registry, toy.EVERYBODY).token)
    assert types(registry) == before
    assert rollback(registry, toy.EVERYBODY, toy.order(), looked_at=(B.ref,)).active == B.ref
    rollback(registry, toy.EVERYBODY, toy.order(), looked_at=(A.ref,))
    assert rollback(registry, toy.EVERYBODY, toy.order(), looked_at=()).active is None


def test_a_rollback_may_retire_what_it_goes_away_from_for_good(registry: Connection) -> None:
    bring(registry, A.ref, B.ref, A.ref)
    made = rollback(registry, toy.EVERYBODY, toy.order(), retire_it=True)
    assert [event.event_type for event in made.events] == ["BUNDLE_ROLLED_BACK", "BUNDLE_RETIRED"]
    assert made.active == B.ref
    assert rollback(registry, toy.EVERYBODY, toy.order()).active is None  # A was before, and is retired
    assert promote(registry, toy.EVERYBODY, A.ref, toy.order()).reason_codes == ("BUNDLE_RETIRED",)
    with pytest.raises(RegistryConflict, match="retired"):
        approve(registry, toy.EVERYBODY, A.ref, toy.order())


def test_a_bundle_that_is_active_anywhere_is_not_retired_and_nothing_is_half_done(registry: Connection) -> None:
    bring(registry, A.ref, B.ref)
    promote(registry, toy.TENANT, B.ref, toy.order())
    before = types(registry)
    with pytest.raises(RegistryConflict, match="local/live/primary, local/live/primary/acme") as caught:
        retire(registry, toy.EVERYBODY, B.ref, toy.order())
    assert caught.value.reason == "BUNDLE_STILL_ACTIVE"
    with pytest.raises(RegistryConflict, match="ACTIVE in local/live/primary/acme"):
        rollback(registry, toy.EVERYBODY, toy.order(), retire_it=True)
    assert types(registry) == before
    first, second = (retire(registry, toy.EVERYBODY, A.ref, toy.order()) for _ in range(2))
    assert first == second


def test_what_is_not_published_cannot_be_changed_and_several_versions_want_a_name(registry: Connection) -> None:
    for change in (promote, approve, retire):
        with pytest.raises(NotFound, match="no bundle bnd_x is published"):
            change(registry, toy.EVERYBODY, BundleRef("bnd_x", "1"), toy.order())
    with pytest.raises(NotFound, match="no version 7") as caught:
        promote(registry, toy.EVERYBODY, BundleRef("bnd_a", "7"), toy.order())
    assert caught.value.allowed == ["1"]
    toy.publish(registry, toy.bundle("a", version="2"))
    assert named(registry, "bnd_a", "2").version == "2"
    with pytest.raises(NotFound, match="several versions") as caught:
        named(registry, "bnd_a")
    assert caught.value.allowed == ["1", "2"]


@pytest.mark.parametrize("wrong", [{"slot": ""}, {"tenant": "Acme"}, {"mode": "a b"}, {"environment": "x" * 65}])
def test_a_scope_is_made_of_short_plain_texts(wrong: dict[str, str]) -> None:
    with pytest.raises(DataInvalid) as caught:
        Scope(**wrong)
    assert caught.value.field == next(iter(wrong))


def test_bundles_are_listed_newest_first_by_what_they_are_and_where_they_are_active(registry: Connection) -> None:
    toy.publish(registry, toy.bundle("d", kind="other"))
    bring(registry, A.ref, B.ref)
    promote(registry, toy.TENANT, B.ref, toy.order())
    retire(registry, toy.EVERYBODY, C.ref, toy.order())

    def ids(**which: object) -> list[str]:
        return [one.bundle.bundle_id[-1] for one in listing.page(registry, BundleFilter(**which))]  # type: ignore[arg-type]

    assert (ids(), ids(kind="forecast"), ids(run_id="run_b"), ids(bundle_id="bnd_x")) == (
        ["d", "c", "b", "a"], ["c", "b", "a"], ["b"], []
    )  # fmt: skip
    assert [ids(state=state) for state in ("ACTIVE", "RETIRED", "PUBLISHED")] == [["b"], ["c"], ["d", "a"]]
    assert (ids(scope=toy.TENANT), ids(scope=toy.FALLBACK)) == (["b"], [])
    first = listing.page(registry, limit=3)
    assert [one.bundle.bundle_id for one in listing.page(registry, after=first[-1].seq)] == ["bnd_a"]
    assert (listing.total(registry), listing.total(registry, BundleFilter(kind="other"))) == (4, 1)
    states = {one.bundle.bundle_id[-1]: (one.state, one.active_in) for one in first}
    assert states["b"] == ("ACTIVE", (toy.EVERYBODY, toy.TENANT))
    assert states["c"] == ("RETIRED", ())


def test_the_history_of_a_scope_is_paged_newest_first(registry: Connection) -> None:
    bring(registry, A.ref, B.ref)
    promote(registry, toy.TENANT, A.ref, toy.order())
    first = events.page(registry, scope=toy.EVERYBODY, limit=2)
    assert [(event.seq, event.bundle) for event in first] == [(5, B.ref), (4, A.ref)]
    assert [event.seq for event in events.page(registry, scope=toy.EVERYBODY, after=4)] == [3, 2, 1]
    assert [event.seq for event in events.page(registry, bundle=A.ref)] == [6, 4, 1]


def test_the_events_of_a_change_name_what_the_lifecycle_allows_and_nothing_else(registry: Connection) -> None:
    bring(registry, A.ref, B.ref)
    rollback(registry, toy.EVERYBODY, toy.order(), retire_it=True)
    approve(registry, toy.EVERYBODY, C.ref, toy.order())
    promote(registry, toy.EVERYBODY, B.ref, toy.order())
    signed = [
        lifecycle.sign(registry, toy.EVERYBODY, C.ref, toy.order(), key=key, signature="sha256:" + "1" * 64)
        for key in ("sha256:a", "sha256:b", "sha256:a")
    ]
    assert [one.seq for one in signed] == [signed[0].seq, signed[0].seq + 1, signed[0].seq]  # once a key
    assert events.signatures(registry, C.ref) == signed[:2]
    assert set(types(registry)) | {"BUNDLE_PUBLISHED"} == set(events.EVENT_TYPES)
    assert lifecycle.is_retired(registry, B.ref)

"""The scope table decides, and fails closed."""

from __future__ import annotations

import json

import pytest

from mcp_forecast_policy.decision import Action
from mcp_forecast_policy.errors import PolicyInvalid
from mcp_forecast_policy.rules import DEFAULT_POLICY, load_policy

TABLE = load_policy(DEFAULT_POLICY.read_bytes())


def test_a_caller_with_the_scope_may() -> None:
    assert TABLE.decide(Action("list_runs", frozenset({"forecast:read"}))).verdict == "allow"


def test_a_caller_without_the_scope_may_not_and_hears_which_it_needs() -> None:
    decision = TABLE.decide(Action("run_training", frozenset({"forecast:read"})))
    assert decision.verdict == "deny"
    assert "forecast:write" in decision.reason


def test_a_tool_without_a_rule_is_denied() -> None:
    assert TABLE.decide(Action("drop_everything", frozenset({"forecast:write"}))).verdict == "deny"


def test_every_decision_names_the_policy_it_was_made_under() -> None:
    decision = TABLE.decide(Action("list_runs", frozenset()))
    assert (decision.policy_id, decision.digest) == (TABLE.policy_id, TABLE.digest)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{}",
        b'{"policy_id": "x", "revision": "1", "scopes": {"a": 1}}',
        b'{"policy_id": "x", "scopes": {}}',
    ],
)
def test_a_broken_policy_is_refused(document: bytes) -> None:
    with pytest.raises(PolicyInvalid):
        load_policy(document)


def test_another_document_has_another_digest() -> None:
    body = json.loads(DEFAULT_POLICY.read_bytes())
    assert load_policy(json.dumps({**body, "revision": "2"}).encode()).digest != TABLE.digest

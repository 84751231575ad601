"""By whom a model was judged, as its forecasts repeat it: what is not usual is a warning."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_forecast_engine.factory.judged import judged, judged_told, judged_warnings


def trained(profile: str = "default", verdict: str = "trust") -> dict[str, Any]:
    return {"gate": {"profile": {"name": profile, "revision": "7"}}, "trust": {"verdict": verdict}}


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (trained(), ()),
        (trained("strict"), ()),
        (trained("own"), ("this model was judged by the profile own@7, not by default or strict",)),
        (trained(verdict="caution"), ("trust in this model is caution: see trust.reasons",)),
        (trained(verdict="do_not_trust"), ("trust in this model is do_not_trust: see trust.reasons",)),
        ({"trust": {"verdict": "caution"}}, ()),  # of a release without gates
    ],
)
def test_another_profile_and_less_than_trust_are_told_with_every_forecast(
    document: dict[str, Any], told: tuple[str, ...]
) -> None:
    assert judged_warnings(document) == told


def test_what_is_told_of_a_forecast_is_what_the_registry_records_of_its_bundle() -> None:
    document = trained("own", "caution")
    made = judged(document, {"profile": document["gate"]["profile"]}, "bnd_a@1")
    assert made.to_dict() == {**judged_told(document), "compared_with": "bnd_a@1"}

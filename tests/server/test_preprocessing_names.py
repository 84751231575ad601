"""The name of preprocessing steps: one for all their spellings, and the arguments the contract has."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from mcp_forecast_contracts.catalogue import documents
from mcp_forecast_contracts.preprocessing import StepArguments
from mcp_forecast_engine.data.steps import (
    ALLOWED,
    preprocessing_id,
    step_from_dict,
    step_to_dict,
    steps_from_dicts,
)


def test_the_contract_names_exactly_the_arguments_of_the_steps() -> None:
    assert set(StepArguments.model_fields) == {"kind"} | {name for names in ALLOWED.values() for name in names}
    schema = documents()["run_preprocessing"]["input_schema"]["properties"]["steps"]["items"]["properties"]
    assert schema["kind"]["enum"] == list(ALLOWED)
    for name in ("how", "target", "action"):
        words = {word for names in ALLOWED.values() if name in names for word in names[name]}
        assert set(schema[name]["enum"]) == words


STEP = st.one_of(
    st.fixed_dictionaries(
        {"kind": st.just("merge_duplicates")}, optional={"how": st.sampled_from(ALLOWED["merge_duplicates"]["how"])}
    ),
    st.fixed_dictionaries(
        {"kind": st.just("fill_gaps")},
        optional={"target": st.sampled_from(ALLOWED["fill_gaps"]["target"]), "causal": st.just(True)},
    ),
    st.just({"kind": "fill_gaps", "target": "interpolate", "causal": False}),
    st.fixed_dictionaries({"kind": st.just("fill_covariates")}),
    st.fixed_dictionaries(
        {
            "kind": st.just("resample"), "freq": st.sampled_from(["D", "d", "daily", "W", "W-SUN", "MS", "monthly"]),
            "target": st.sampled_from(ALLOWED["resample"]["target"]),
        }
    ),
    st.fixed_dictionaries(
        {"kind": st.just("outliers")},
        optional={"action": st.sampled_from(ALLOWED["outliers"]["action"]), "threshold": st.integers(1, 20)},
    ),
)  # fmt: skip


@examples(max_examples=200, deadline=None)
@given(st.lists(STEP, min_size=1, max_size=6), st.randoms())
def test_an_id_ignores_the_order_of_keys_and_defaults_that_are_spelled_out(
    steps: list[dict[str, Any]], chance: random.Random
) -> None:
    named = preprocessing_id(steps_from_dicts(steps))
    spelled = []
    for step in steps:
        items = list(step_to_dict(step_from_dict(step)).items())
        chance.shuffle(items)
        spelled.append(dict(items))
    assert preprocessing_id(steps_from_dicts(spelled)) == named
    assert preprocessing_id(steps_from_dicts([*steps, {"kind": "fill_covariates"}])) != named

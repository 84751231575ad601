"""What a model is handed has one description, the same where it was trained and where it answers."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest

from mcp_forecast_engine.data.input_spec import input_spec, read_input_spec, require_same_inputs
from mcp_forecast_engine.data.schema import CovariateSchema, covariate_schema_hash
from mcp_forecast_engine.errors import CovariatesMismatch


@dataclass(frozen=True)
class Columns:
    horizon: int = 24
    lookback: int = 168
    past: int = 24
    historical: tuple[str, ...] = ("heat",)
    known_future: tuple[str, ...] = ("load", "wind")
    static: tuple[str, ...] = ("region",)

    @property
    def cov_hist(self) -> tuple[str, ...]:
        return (*self.historical, *self.known_future)


def test_it_names_every_tensor_with_its_shape_and_columns_in_order() -> None:
    tensors = input_spec(Columns(), target="price").to_dict()["tensors"]
    assert [(one["name"], one["shape"], one["columns"]) for one in tensors] == [
        ("target", ["batch", 168], ["price"]),
        ("cov_hist", ["batch", 24, 3], ["heat", "load", "wind"]),
        ("cov_future", ["batch", 24, 2], ["load", "wind"]),
        ("static", ["batch", 1], ["region"]),
    ]
    assert {one["dtype"] for one in tensors} == {"float32"}


def test_it_is_read_back_and_its_digest_is_bound_to_the_order() -> None:
    spec = input_spec(Columns())
    assert read_input_spec(json.loads(json.dumps(spec.to_dict()))) == spec
    assert spec.digest() == input_spec(Columns()).digest()
    assert spec.digest() != input_spec(Columns(known_future=("wind", "load"))).digest()
    require_same_inputs(spec, input_spec(Columns()))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"known_future": ("load",)}, "input 'cov_hist': 'wind' is missing"),
        ({"static": ("region", "size")}, "input 'static': 'size' was not there in training"),
        ({"known_future": ("wind", "load")}, "input 'cov_hist': column 1 is 'wind', in training it was 'load'"),
        ({"horizon": 48}, r"input 'cov_future': its shape is \('batch', 48, 2\)"),
        ({"lookback": 24}, "input 'target': its shape is"),
    ],
)
def test_the_first_difference_is_named(change: dict[str, object], told: str) -> None:
    with pytest.raises(CovariatesMismatch, match=told) as refusal:
        require_same_inputs(input_spec(Columns()), input_spec(replace(Columns(), **change)))
    assert refusal.value.next_step


def test_another_type_is_a_difference_too() -> None:
    spec = input_spec(Columns())
    with pytest.raises(CovariatesMismatch, match="of type int64, in training of float32"):
        require_same_inputs(spec, replace(spec, static=replace(spec.static, dtype="int64")))


def test_the_hash_of_the_covariates_knows_no_order_but_every_property() -> None:
    heat = CovariateSchema("heat", "historical", "numeric", False, "", "why")
    sky = CovariateSchema("sky", "known_future", "categorical", False, "", "why", ("rain", "sun"))
    bound = covariate_schema_hash([heat, sky])
    assert covariate_schema_hash([sky, heat]) == bound
    assert covariate_schema_hash([replace(heat, reason="another sentence"), sky]) == bound
    changes = [
        replace(heat, name="heat2"), replace(heat, role="known_future"), replace(heat, role="static"),
        replace(heat, type="boolean"), replace(heat, nullable=True), replace(heat, source="met office"),
    ]  # fmt: skip
    hashes = {covariate_schema_hash([changed, sky]) for changed in changes}
    hashes |= {covariate_schema_hash([heat, replace(sky, categories=("sun",))]), bound}
    assert len(hashes) == len(changes) + 2

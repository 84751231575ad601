"""Identities: golden vectors, and what they do not depend on."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_forecast_engine.errors import ArtifactCorrupt, DataInvalid, NotFound
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.identity import canonical_bytes, digest, digest_of_bytes, read_canonical, short_id

# Never change these: they are in homes.
GOLDEN = [
    ({}, b"{}"),
    ({"b": 1, "a": [1.0, 1e21, 1e-7, 0.1, -0.0]}, b'{"a":[1,1e+21,1e-7,0.1,0],"b":1}'),
    (
        {"é": "é\u2028\n", "\U0001f600": None, "\ufb33": True},
        '{"é":"é\u2028\\n","\U0001f600":null,"\ufb33":true}'.encode(),
    ),
    ({"n": 9007199254740991, "x": 333333333.33333329}, b'{"n":9007199254740991,"x":333333333.3333333}'),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), GOLDEN)
def test_canonical_bytes_are_the_golden_ones(value: object, expected: bytes) -> None:
    assert canonical_bytes(value) == expected


def test_a_digest_and_an_id_are_the_golden_ones() -> None:
    full = digest("train_run_key.v1", {"horizon": 24, "dataset": "ds_1"})
    assert full == "sha256:61627782ce778b95c78a2b3b7259496a686bb71dcd6fe406790de42f6303858a"
    assert short_id("run", full) == "run_" + full[7:31]


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON, max_size=5))
def test_key_order_does_not_matter(value: dict[str, object]) -> None:
    assert canonical_bytes(value) == canonical_bytes(dict(reversed(value.items())))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**60, "\ud800", {1: 2}, object(), b"x"])
def test_what_json_cannot_carry_is_refused(value: object) -> None:
    with pytest.raises(DataInvalid):
        canonical_bytes({"a": value} if not isinstance(value, dict) else value)


@pytest.mark.parametrize(
    ("value", "path", "what"),
    [
        ({"rows": [{"y": 1.0}] * 3 + [{"y": float("nan")}]}, "rows[3].y", "nan"),
        ({"rows": [{"y": 2**60}, {"y": float("inf")}]}, "rows[0].y", "integer beyond"),
        ({"a": {"b": [[1], [-(10**5000)]]}}, "a.b[1][0]", "integer beyond"),
        ([1, "\ud800"], "[1]", "lone surrogate"),
        ({"a": [{1: 2}]}, "a[0]", "key that is no text"),
        ({"a": [{"\ud800": 2}]}, "a[0]", "key that is no text"),
        ({"a": (None, True, b"x")}, "a[2]", "the type bytes"),
        (float("-inf"), None, "the value is -inf"),
    ],
)
def test_the_refusal_names_the_place_of_the_first_fault(value: object, path: str | None, what: str) -> None:
    with pytest.raises(DataInvalid) as refused:
        canonical_bytes(value)
    assert refused.value.field == path
    assert (path or "") in refused.value.message
    assert what in refused.value.message
    assert "2^53" in refused.value.allowed


def test_what_is_nested_too_deeply_is_refused() -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(DataInvalid, match="too deeply"):
        canonical_bytes(value)


@given(st.binary(max_size=2000))
def test_an_artifact_comes_back_and_its_name_is_its_content(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    store = ArtifactStore(tmp_path_factory.mktemp("artifacts"))
    assert store.put(data) == store.put(data) == digest_of_bytes(data)
    assert store.get(digest_of_bytes(data)) == data


def test_one_flipped_bit_in_an_artifact_is_found(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    name = store.put(b"forecast")
    path = store.path(name)
    path.write_bytes(b"forecasu")
    with pytest.raises(ArtifactCorrupt):
        store.get(name)


def test_an_artifact_that_is_gone_from_disk_is_damage_and_putting_it_again_mends_it(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    name = store.put(b"forecast")
    store.path(name).unlink()
    with pytest.raises(ArtifactCorrupt, match="missing from the store"):
        store.get(name)
    store.put(b"forecast")
    assert store.get(name) == b"forecast"


@pytest.mark.parametrize("name", ["sha256:../../etc/passwd", "md5:" + "0" * 64, "", "sha256:" + "A" * 64])
def test_a_name_that_is_no_digest_is_not_found(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFound):
        ArtifactStore(tmp_path).get(name)


def test_a_number_beyond_the_integers_is_written_again_as_it_was_read() -> None:
    data = canonical_bytes({"large": 1.5e20, "whole": 2**53 - 1, "small": 1.0})
    assert canonical_bytes(read_canonical(data)) == data

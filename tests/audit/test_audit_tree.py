"""The tree proves what RFC 6962 says it proves, from stored subtrees as from all leaves, and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_forecast_audit.tree import (
    Frontier,
    Node,
    Stored,
    consistency_path,
    frontier_at,
    inclusion_path,
    is_consistent,
    is_included,
    leaf_hash,
    node_hash,
    root_hash,
)

# The leaves, roots and proofs of Certificate Transparency's reference tests (google/certificate-transparency).
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION_0_OF_8 = [
    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
]
CONSISTENCY_6_TO_8 = [
    "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
]
PUBLISHED = [leaf_hash(bytes.fromhex(leaf)) for leaf in LEAVES]
MANY = [hashlib.sha256(str(n).encode()).digest() for n in range(70_000)]


def stored_of(leaves: Sequence[bytes], bits: int) -> Stored:
    """A tree as the tables hold it: leaves, and roots of full subtrees alone."""

    def stored(level: int, first: int, last: int) -> Sequence[bytes]:
        width = 1 << bits * level
        assert 0 <= first < last <= len(leaves) // width, "only full subtrees are stored"
        assert last - first <= 1 << bits, "few rows"
        return [root_hash(leaves[at * width : (at + 1) * width]) for at in range(first, last)]

    return stored


def plain_root(leaves: Sequence[bytes]) -> bytes:
    """MTH as RFC 6962 2.1 writes it."""
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(plain_root(leaves[:k]), plain_root(leaves[k:]))


def plain_path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH as RFC 6962 2.1.1 writes it."""
    if len(leaves) == 1:
        return []
    k = 1 << (len(leaves) - 1).bit_length() - 1
    if m < k:
        return [*plain_path(m, leaves[:k]), plain_root(leaves[k:])]
    return [*plain_path(m - k, leaves[k:]), plain_root(leaves[:k])]


def plain_subproof(m: int, leaves: Sequence[bytes], whole: bool) -> list[bytes]:
    """SUBPROOF as RFC 6962 2.1.2 writes it."""
    if m == len(leaves):
        return [] if whole else [plain_root(leaves)]
    k = 1 << (len(leaves) - 1).bit_length() - 1
    if m <= k:
        return [*plain_subproof(m, leaves[:k], whole), plain_root(leaves[k:])]
    return [*plain_subproof(m - k, leaves[k:], False), plain_root(leaves[:k])]


def test_roots_and_proofs_are_the_published_ones() -> None:
    stored = stored_of(PUBLISHED, 8)
    assert [root_hash(PUBLISHED[:size]).hex() for size in range(1, 9)] == ROOTS
    assert [hash.hex() for hash in inclusion_path(stored, 0, 8)] == INCLUSION_0_OF_8
    assert [hash.hex() for hash in consistency_path(stored, 6, 8)] == CONSISTENCY_6_TO_8


@pytest.mark.parametrize("bits", [1, 2, 3, 8])
def test_every_proof_of_every_small_tree_is_the_one_of_the_rfc_and_verifies(bits: int) -> None:
    for size in range(1, 71):
        leaves, root = MANY[:size], plain_root(MANY[:size])
        stored = stored_of(leaves, bits)
        assert frontier_at(stored, size, bits).root() == root_hash(leaves) == root
        for index in range(size):
            path = inclusion_path(stored, index, size, bits)
            assert path == plain_path(index, leaves)
            assert is_included(leaves[index], index, size, path, root)
        for old in range(1, size + 1):
            path = consistency_path(stored, old, size, bits)
            assert path == plain_subproof(old, leaves, True)
            assert is_consistent(old=old, new=size, old_root=plain_root(MANY[:old]), new_root=root, path=path)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 70_000), st.data())
def test_a_large_tree_is_proved_from_few_stored_rows(size: int, data: st.DataObject) -> None:
    leaves = MANY[:size]
    stored, root = stored_of(leaves, 8), root_hash(leaves)
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    assert is_included(leaves[index], index, size, inclusion_path(stored, index, size), root)
    path = consistency_path(stored, old, size)
    assert is_consistent(old=old, new=size, old_root=root_hash(leaves[:old]), new_root=root, path=path)
    assert frontier_at(stored, size).root() == root


@settings(max_examples=300, deadline=None)
@given(st.integers(2, 300), st.data())
def test_a_proof_with_one_bit_changed_proves_nothing(size: int, data: st.DataObject) -> None:
    leaves, root = MANY[:size], root_hash(MANY[:size])
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size - 1))
    path = inclusion_path(stored_of(leaves, 8), index, size)
    wrong = _flipped(path, data)
    assert not is_included(leaves[index], index, size, wrong, root)
    assert not is_included(leaves[index], index, size, path[:-1], root)
    assert not is_included(leaves[index], index, size, [*path, root], root)
    path = consistency_path(stored_of(leaves, 8), old, size)
    old_root = root_hash(leaves[:old])
    for bad in (_flipped(path, data), path[:-1], [*path, root]):
        assert not is_consistent(old=old, new=size, old_root=old_root, new_root=root, path=bad)
    assert not is_consistent(old=old, new=size, old_root=MANY[-1], new_root=root, path=path)


def test_a_growing_tree_says_which_subtrees_are_complete() -> None:
    frontier = Frontier(2)
    made = [node for leaf in MANY[:33] for node in frontier.push(leaf)]
    expected = [Node(1, at, root_hash(MANY[4 * at : 4 * at + 4])) for at in range(8)]
    expected += [Node(2, at, root_hash(MANY[16 * at : 16 * at + 16])) for at in range(2)]
    assert sorted(made, key=lambda node: (node.level, node.position)) == expected
    assert frontier.size == 33
    assert frontier.root() == plain_root(MANY[:33])


@pytest.mark.parametrize(("old", "new"), [(0, 3), (4, 3)])
def test_a_tree_of_nothing_or_of_more_is_no_beginning(old: int, new: int) -> None:
    with pytest.raises(ValueError, match="no beginning"):
        consistency_path(stored_of(MANY[:3], 8), old, new)
    assert not is_consistent(old=old, new=new, old_root=MANY[0], new_root=MANY[0], path=[])


def _flipped(path: list[bytes], data: st.DataObject) -> list[bytes]:
    at, bit = data.draw(st.integers(0, len(path) - 1)), data.draw(st.integers(0, 255))
    changed = (int.from_bytes(path[at], "big") ^ 1 << bit).to_bytes(32, "big")
    return [*path[:at], changed, *path[at + 1 :]]

"""RFC 6962 Merkle tree: hashes, roots, proofs of inclusion and consistency, and their verification.

A tree is read through `Stored`: the leaf hashes and, so that no proof reads many rows, the roots of full subtrees of
256, 256², … leaves. What lies between two such levels is computed from at most 256 of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

BITS: Final = 8  # a stored level is 2^8 subtrees of the level below
# (level, first, last) → the hashes at positions first … last - 1 of a level; level 0 are the leaf hashes.
Stored = Callable[[int, int, int], Sequence[bytes]]


@dataclass(frozen=True)
class Node:
    """The root of a full subtree of 256^level leaves; position counts from 0."""

    level: int
    position: int
    hash: bytes


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 || entry), 32 bytes. Source: RFC 6962, section 2.1."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right), 32 bytes. Source: RFC 6962, section 2.1."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_hash(leaves: Sequence[bytes]) -> bytes:
    """Root over leaf hashes; of none, SHA-256 of the empty string. Source: RFC 6962, section 2.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    level = list(leaves)
    while len(level) > 1:
        level = _above(level)
    return level[0]


class Frontier:
    """The full subtrees whose hashes make the root of a growing tree, largest first."""

    def __init__(self, bits: int = BITS) -> None:
        self.size, self._bits = 0, bits
        self._peaks: list[tuple[int, bytes]] = []  # (height, hash); heights fall

    def push(self, hash: bytes, height: int = 0) -> list[Node]:
        """Add the next leaf, or the next full subtree of 2^height leaves; returns the nodes that are to be stored."""
        self.size += 1 << height
        made = [self._node(height, hash)]
        while self._peaks and self._peaks[-1][0] == height:
            hash, height = node_hash(self._peaks.pop()[1], hash), height + 1
            made.append(self._node(height, hash))
        self._peaks.append((height, hash))
        return [node for node in made if node is not None]

    def root(self, tail: Sequence[bytes] = ()) -> bytes:
        """Root over what was pushed and then these leaf hashes, fewer than the smallest subtree that was pushed."""
        hashes = [hash for _, hash in self._peaks] + ([root_hash(tail)] if tail else [])
        if not hashes:
            return root_hash(())
        root = hashes.pop()
        while hashes:
            root = node_hash(hashes.pop(), root)
        return root

    def _node(self, height: int, hash: bytes) -> Node | None:
        if not height or height % self._bits:
            return None
        return Node(height // self._bits, (self.size >> height) - 1, hash)


def frontier_at(stored: Stored, size: int, bits: int = BITS) -> Frontier:
    """The frontier of the first `size` leaves, from fewer than 256 hashes a level."""
    frontier, levels = Frontier(bits), 0
    while size >> (bits * (levels + 1)):
        levels += 1
    for level in range(levels, -1, -1):
        first, last = (size >> bits * (level + 1)) << bits, size >> bits * level
        for hash in stored(level, first, last) if first < last else ():
            frontier.push(hash, bits * level)
    return frontier


def inclusion_path(stored: Stored, index: int, size: int, bits: int = BITS) -> list[bytes]:
    """The hashes that prove leaf `index` (from 0) in the tree of `size` leaves. Source: RFC 6962, section 2.1.1."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not among the first {size}")
    return _path(stored, 0, index, size, bits)


def consistency_path(stored: Stored, old: int, new: int, bits: int = BITS) -> list[bytes]:
    """The hashes that prove the tree of `old` leaves to be the beginning of that of `new`. Source: RFC 6962, 2.1.2.

    With 2^k the largest power of two that divides `old`: the last full subtree of 2^k leaves of the old tree, and that
    subtree's own path in the new one. The subtree is left out where it is the whole old tree.
    """
    if not 0 < old <= new:
        raise ValueError(f"a tree of {old} leaves is no beginning of one of {new}")
    if old == new:
        return []
    height = (old & -old).bit_length() - 1
    level, inner = divmod(height, bits)
    last = (old - 1) >> bits * level
    path = _path(stored, level, last, new, bits)[inner:]
    if old & (old - 1) == 0:
        return path
    first = (last >> inner) << inner
    return [root_hash(stored(level, first, last + 1)), *path]


def is_included(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether a path proves that this leaf hash stands at `index` under `root`. Source: RFC 9162, section 2.1.3.2."""
    if not 0 <= index < size:
        return False
    first, last, made = index, size - 1, leaf
    for step in path:
        if last == 0:
            return False
        if first & 1 or first == last:
            made = node_hash(step, made)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            made = node_hash(made, step)
        first, last = first >> 1, last >> 1
    return last == 0 and made == root


def is_consistent(*, old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether a path proves that `old_root` is over the first leaves of `new_root`. Source: RFC 9162, 2.1.4.2."""
    if not 0 < old <= new:
        return False
    if old == new:
        return not path and old_root == new_root
    steps = [old_root, *path] if old & (old - 1) == 0 else list(path)
    if not steps:
        return False
    first, last = old - 1, new - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    of_old = of_new = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if first & 1 or first == last:
            of_old, of_new = node_hash(step, of_old), node_hash(step, of_new)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            of_new = node_hash(of_new, step)
        first, last = first >> 1, last >> 1
    return last == 0 and of_old == old_root and of_new == new_root


def _path(stored: Stored, level: int, index: int, size: int, bits: int) -> list[bytes]:
    """The siblings on the way up from element `index` of a level, group by group of 2^bits elements."""
    path: list[bytes] = []
    while True:
        elements = _group(stored, level, index >> bits, size, bits)
        at = index & ((1 << bits) - 1)
        while len(elements) > 1:
            if at ^ 1 < len(elements):
                path.append(elements[at ^ 1])
            elements, at = _above(elements), at >> 1
        level, index = level + 1, index >> bits
        if (size - 1) >> bits * level == 0:  # one element is left: the root
            return path


def _group(stored: Stored, level: int, group: int, size: int, bits: int) -> list[bytes]:
    """The elements of one group; the last of a level may stand over fewer leaves and is computed from below."""
    first = group << bits
    full, count = size >> bits * level, ((size - 1) >> bits * level) + 1
    last = min(first + (1 << bits), count)
    elements = list(stored(level, first, min(last, full))) if first < min(last, full) else []
    if last > full:
        elements.append(root_hash(_group(stored, level - 1, full, size, bits)))
    return elements


def _above(level: Sequence[bytes]) -> list[bytes]:
    """The hashes one height up; an odd last one is carried."""
    paired = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    return paired + list(level[len(level) - len(level) % 2 :])

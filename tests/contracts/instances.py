"""Instances to try a published schema with: those that fit, those at its edges, and the oracle that judges them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import jsonschema
from hypothesis import HealthCheck, find, settings
from hypothesis import strategies as st
from jsonschema import validators

QUICK: Final = settings(derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
ODD: Final[st.SearchStrategy[Any]] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.just("x" * 100_000), st.just(2**70),
    st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.just("../../etc"), st.sampled_from([1.0, 1.5, -0.0, "1", -1, 0, 10**9, 1e300, "\n", "ds_0\n", "\ufffd", "𝔘"]),
)  # fmt: skip
ANY_TYPE: Final = (None, True, "", "1", 0, -1, 1.5, -0.0, 12.0, 1e300, 2**53, [], [None], {}, {"": 0})
IDS: Final = tuple(f"{prefix}_{'0' * 24}" for prefix in ("ds", "run", "pp", "bnd"))
KNOWN: Final = ("a", "h", *IDS, f"sha256:{'0' * 64}")
TEXTS: Final = ("\n", "a\n", "\x00", "\x7f", "\u00e9", "e\u0301", "\U0001d518", "\ufffd", "\u2028", " ", "a" * 100_000)


def _pattern(judge: Any, pattern: str, instance: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
    # JSON Schema's patterns are ECMA-262, where `$` is the very end; in Python it also stands before a last newline.
    if isinstance(instance, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


_ORACLE: Final = validators.extend(jsonschema.Draft202012Validator, {"pattern": _pattern})


def accepted(schema: dict[str, Any], instance: Any) -> bool:
    """Whether the published schema takes it, as a client in any language would judge."""
    return bool(_ORACLE(schema).is_valid(instance))


def edges(node: dict[str, Any]) -> Iterator[Any]:
    """Values at and beyond the edges of a schema and of everything in it, each the only odd part of its instance."""
    yield from ANY_TYPE
    yield from {"string": _strings, "array": _arrays, "object": _objects}.get(node["type"], _numbers)(node)


def smallest(node: dict[str, Any]) -> Any:
    """A simple instance of a schema: no more than has to be there."""
    if "enum" in node:
        return node["enum"][0]
    if node["type"] == "object":
        return {name: smallest(node["properties"][name]) for name in node.get("required", ())}
    if node["type"] == "array":
        return [smallest(node["items"])] * node.get("minItems", 0)
    if node["type"] == "string":
        return _matching(node.get("pattern", ""), node.get("minLength", 0))
    return False if node["type"] == "boolean" else node.get("minimum", 0)


@cache
def _matching(pattern: str, length: int) -> str:
    known = (text for text in KNOWN if re.fullmatch(pattern.strip("^$"), text) and len(text) >= length)
    return next(known, None) or find(
        st.from_regex(pattern, fullmatch=True), lambda text: len(text) >= length, settings=QUICK
    )


def _numbers(node: dict[str, Any]) -> Iterator[Any]:
    for bound in (node[word] for word in ("minimum", "maximum") if word in node):
        yield from (bound - 1, bound, bound + 1, float(bound), bound - 0.5, bound + 0.5, str(bound), [bound])


def _strings(node: dict[str, Any]) -> Iterator[Any]:
    yield from TEXTS
    for word in node.get("enum", ()):
        yield from (word, word.upper(), f" {word}", f"{word}\n")
    sound = smallest(node)
    yield from (sound, f"{sound}\n", sound.upper(), f"{sound} ")
    for length in (node[word] for word in ("minLength", "maxLength") if word in node):
        for letter in ("a", "\u00e9", "\U0001d518"):
            yield from (letter * max(0, length + by) for by in (-1, 0, 1))


def _arrays(node: dict[str, Any]) -> Iterator[Any]:
    item = smallest(node["items"])
    for length in (node[word] for word in ("minItems", "maxItems") if word in node):
        yield from ([item] * max(0, length + by) for by in (-1, 0, 1))
    yield from ([odd] for odd in edges(node["items"]))


def _objects(node: dict[str, Any]) -> Iterator[Any]:
    sound = smallest(node)
    properties = node.get("properties", {})
    yield sound
    yield from ({**sound, name: 1} for name in ("unknown", "", "\u00e9", *(name.title() for name in properties)))
    yield from ({name: value for name, value in sound.items() if name != left} for left in sound)
    for name, inner in properties.items():
        yield from ({**sound, name: odd} for odd in edges(inner))

"""Which schemas every client takes: one closed list of keywords, one type per node, nothing to resolve.

One bad schema costs a server all its tools in some clients, so this is stricter than any of them. The rules and why:
unions or `$ref` at the top, `type` lists, `const`, `format` and `title` are refused or ignored by one of the model
APIs (Anthropic, OpenAI, Gemini); a property without a type is sent as a string (anthropics/claude-code#82652); `true`
as a schema breaks the listing (modelcontextprotocol/go-sdk#894); an object without `properties` breaks it elsewhere;
`\\u` in a pattern is unknown to RE2, and what `\\d`, `\\w` and `\\s` match differs from engine to engine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

KEYWORDS: Final = frozenset({
    "type", "properties", "required", "additionalProperties", "items", "enum", "description", "default",
    "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern",
})  # fmt: skip
TYPES: Final = frozenset({"object", "array", "string", "integer", "number", "boolean"})
LONGEST_NAME, LONGEST_TEXT, SHORTEST_TEXT, DEEPEST = 40, 1024, 60, 6
_TOOL: Final = re.compile(rf"[a-z][a-z0-9_]{{0,{LONGEST_NAME - 1}}}")
_PROPERTY: Final = re.compile(r"[A-Za-z0-9_]{1,64}")
_UNPORTABLE: Final = re.compile(r"\(\?|\\(?!x[0-9a-f]{2}|[][\\.^$*+?(){}|/-])")  # look-around, flags, class escapes


def problems(document: Mapping[str, Any]) -> list[str]:
    """What some client would refuse in this contract document, each with where it is; empty when portable."""
    name, text = document["name"], document["description"]
    found = [] if _TOOL.fullmatch(name) else [f"{name}: a tool's name is [a-z0-9_], {LONGEST_NAME} at most"]
    if not SHORTEST_TEXT <= len(text) <= LONGEST_TEXT:
        found.append(f"{name}: its description has {len(text)} characters, not {SHORTEST_TEXT} to {LONGEST_TEXT}")
    for side in ("input_schema", "output_schema"):
        at, schema = f"{name} {side}", document[side]
        if not isinstance(schema, dict) or schema.get("type") != "object" or "properties" not in schema:
            found.append(f"{at}: the top is no object with properties")
        else:
            found += _node(schema, at, depth=1, described=side == "input_schema")
    return found


def _node(schema: Any, at: str, *, depth: int, described: bool) -> Iterator[str]:
    """The problems of one node and all below it. described: it is read before a call, so all has to be said there."""
    if not isinstance(schema, dict):
        yield f"{at}: a schema is an object, not {schema!r}"
        return
    yield from (f"{at}: keyword {word}" for word in sorted(schema.keys() - KEYWORDS))
    kind = schema.get("type")
    if not isinstance(kind, str) or kind not in TYPES:
        yield f"{at}: type is {kind!r}, not one of {', '.join(sorted(TYPES))}"
        return
    if depth > DEEPEST:
        yield f"{at}: more than {DEEPEST} levels deep"
    if len(schema.get("description", "")) > LONGEST_TEXT:
        yield f"{at}: the description is longer than {LONGEST_TEXT} characters"
    yield from _value(schema, at, described=described)
    if kind == "array":
        yield from _node(schema.get("items"), f"{at}[]", depth=depth + 1, described=described)
    if kind == "object":
        yield from _object(schema, at, depth=depth, described=described)


def _value(schema: dict[str, Any], at: str, *, described: bool) -> Iterator[str]:
    options = schema.get("enum")
    if options is not None and (schema["type"] != "string" or not options or not _distinct_words(options)):
        yield f"{at}: an enum is of distinct, non-empty strings"
    if _UNPORTABLE.search(schema.get("pattern", "")):
        yield f"{at}: pattern {schema['pattern']!r} is not the same in every engine"
    bounded = {"minimum", "maximum"} <= schema.keys()
    if described and schema["type"] in ("integer", "number") and not bounded and "description" not in schema:
        yield f"{at}: a number has both bounds, or a description"


def _object(schema: dict[str, Any], at: str, *, depth: int, described: bool) -> Iterator[str]:
    properties: dict[str, Any] = schema.get("properties", {})
    others = schema.get("additionalProperties", False)
    if others is not False:  # absent and false are fine; a map of one type is said in answers only
        yield from _node(others, f"{at}.*", depth=depth + 1, described=described)
        if described:
            yield f"{at}: additionalProperties is a schema"
    yield from (
        f"{at}: {name} is required, but no property" for name in schema.get("required", ()) if name not in properties
    )
    for name, node in properties.items():
        if not _PROPERTY.fullmatch(name):
            yield f"{at}: property {name!r} is not [A-Za-z0-9_], 64 at most"
        if described and isinstance(node, dict) and not node.get("description"):
            yield f"{at}.{name}: no description"
        yield from _node(node, f"{at}.{name}", depth=depth + 1, described=described)


def _distinct_words(options: list[Any]) -> bool:
    return all(isinstance(word, str) and word for word in options) and len(set(options)) == len(options)

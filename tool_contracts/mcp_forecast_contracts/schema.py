"""From a model to a published schema: flat, no `$ref`, no titles, absent instead of null; and the shared types."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError


def _integral(value: Any) -> Any:
    """12.0 is an integer to JSON Schema, so it is one here; true is not."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


NULL: Final = "null"  # the type of that error; its context names the field
Int = Annotated[int, BeforeValidator(_integral)]
# U+FFFD stands for bytes that were no text. It is written as itself: \u is unknown to some engines.
TEXT: Final = "^[^\\x00-\\x1f\N{REPLACEMENT CHARACTER}]+$"
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=TEXT)]
DatasetId = Annotated[
    str, Field(pattern="^ds_[0-9a-f]{24}$", description="dataset handle from register_dataset, e.g. ds_0123…")
]
PreprocessingId = Annotated[
    str, Field(pattern="^pp_[0-9a-f]{24}$", description="preprocessing handle from run_preprocessing, e.g. pp_0123…")
]
RunId = Annotated[str, Field(pattern="^run_[0-9a-f]{24}$", description="run handle, e.g. from run_training: run_0123…")]
BundleId = Annotated[
    str, Field(pattern="^bnd_[0-9a-f]{24}$", description="bundle handle from publish_bundle, e.g. bnd_0123…")
]
Version = Annotated[
    str, Field(pattern="^[a-z0-9.-]{1,40}$", description="which version; left out: the only one there is")
]
Place = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9_.-]{0,63}$")]
Key = Annotated[
    str,
    Field(
        min_length=1,
        max_length=128,
        pattern="^[A-Za-z0-9_.:-]+$",
        description="your name for this request; repeated, it replays the answer",
    ),
]
Cursor = Annotated[
    str, Field(min_length=1, max_length=400, pattern="^[A-Za-z0-9_-]+$", description="next_cursor of the page before")
]

ResponseFormat = Annotated[
    Literal["concise", "detailed"],
    Field(description="concise: what a decision needs; detailed: as much as fits of what is stored"),
]


class Arguments(BaseModel):
    """Base of all requests: unknown names, wrong types, null, NaN and infinity are refused, nothing is coerced."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _absent_instead_of_null(cls, value: Any) -> Any:
        if isinstance(value, dict):
            for name, item in value.items():
                if item is None:
                    raise PydanticCustomError(NULL, "null is not allowed; leave the field out", {"name": name})
        return value


class Answer(BaseModel):
    """Base of all results; absent instead of null on the wire."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def flat_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The schema that is published: references inlined, titles and nulls dropped, JSON Schema 2020-12.

    Of arguments it has what a class says of itself; of answers, which every listing repeats, only what fields say.
    """
    raw = model.model_json_schema(mode="validation")
    if not issubclass(model, Arguments):
        for described in (raw, *raw.get("$defs", {}).values()):
            described.pop("description", None)
    flat: dict[str, Any] = _flat(raw, raw.get("$defs", {}))
    flat.pop("$defs", None)
    return flat


_RENAMED = {"ge": "minimum", "le": "maximum"}  # pydantic leaves bounds behind a validator under its own names


def _flat(node: Any, defs: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_flat(item, defs) for item in node]
    if not isinstance(node, dict):
        return node
    node = _without_null(node)
    if "$ref" in node:
        target = defs[node["$ref"].rsplit("/", 1)[1]]
        return _flat({**target, **{key: value for key, value in node.items() if key != "$ref"}}, defs)
    if "const" in node:
        node = {"enum": [node["const"]], **{key: value for key, value in node.items() if key != "const"}}
    kept = {key: value for key, value in node.items() if key != "$defs" and not _is_noise(key, value)}
    return {
        _RENAMED.get(key, key): {n: _flat(v, defs) for n, v in value.items()}
        if key == "properties"
        else _flat(value, defs)
        for key, value in kept.items()
    }


def _is_noise(key: str, value: Any) -> bool:
    """Titles, defaults of null, and what is so anyway: an object takes other names unless it says no."""
    if key == "additionalProperties":
        return value is True
    return (key == "title" and isinstance(value, str)) or (key == "default" and value is None)


def _without_null(node: dict[str, Any]) -> dict[str, Any]:
    options = node.get("anyOf")
    if options is None:
        return node
    kept = [option for option in options if option != {"type": "null"}]
    rest = {key: value for key, value in node.items() if key != "anyOf"}
    return {**kept[0], **rest} if len(kept) == 1 else {**rest, "anyOf": kept}

"""The artifact tools: what was made, and the bytes of it."""

from __future__ import annotations

import base64
import codecs
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter

from mcp_forecast.calls.caller import Caller
from mcp_forecast.calls.tool import Call, Outcome, Tool
from mcp_forecast.errors import Refusal
from mcp_forecast.tools.cursor import read_cursor
from mcp_forecast.tools.length import ROOM
from mcp_forecast.tools.links import artifact_uri, is_here, time_text
from mcp_forecast.tools.page import page_of
from mcp_forecast_contracts.artifacts import (
    LIST_ARTIFACTS,
    READ_ARTIFACT,
    ListArtifactsArguments,
    ReadArtifactArguments,
)
from mcp_forecast_contracts.schema import ResponseFormat

if TYPE_CHECKING:
    from mcp_forecast.app import App
    from mcp_forecast_engine.store.named_artifacts import NamedArtifact

POSITION: Final[TypeAdapter[tuple[float, str, str, str]]] = TypeAdapter(tuple[float, str, str, str])


def artifacts_page(app: App, call: Call, request: ListArtifactsArguments) -> Outcome:
    """One page of artifacts, newest first."""
    wanted = {n: v for n in ("run_id", "dataset_id", "name") if (v := getattr(request, n)) is not None}
    _require_one_owner(request)
    listing = " ".join(["artifacts", *wanted.values()])
    after = read_cursor(listing, request.cursor, POSITION)
    with app.database.read() as connection:
        if request.run_id is not None:
            app.engine.run(connection, request.run_id)
        if request.dataset_id is not None:
            app.engine.datasets.summary(connection, request.dataset_id)
        found, total = app.engine.artifacts_page(connection, wanted=wanted, after=after, limit=request.limit + 1)
    lines = [artifact_line(app, call.caller, artifact, request.response_format) for artifact in found[: request.limit]]
    positions, room = [artifact.position for artifact in found], ROOM[request.response_format]
    page = page_of("artifacts", lines, listing=listing, positions=positions, room=room)
    return Outcome({**page, "total": total})


def artifact_line(app: App, caller: Caller, artifact: NamedArtifact, how: ResponseFormat) -> dict[str, Any]:
    """One artifact as callers see it; where it lies only in detail, and to callers on this machine."""
    size = app.engine.artifacts.size(artifact.digest)
    line = {
        "name": artifact.name,
        "digest": artifact.digest,
        "size": size,
        "media_type": artifact.media_type,
        "uri": artifact_uri(artifact.digest),
        "present": size is not None,
        "run_id": artifact.run_id,
        "dataset_id": artifact.dataset_id,
        "preprocessing": artifact.detail or None,
        "created_at": time_text(artifact.created_at),
        "path": str(app.engine.artifacts.path(artifact.digest).absolute())
        if how == "detailed" and is_here(caller)
        else None,
    }
    return {name: value for name, value in line.items() if value is not None}


def read_artifact(app: App, call: Call, request: ReadArtifactArguments) -> Outcome:
    """A part of an artifact that a row of this home names, verified as a whole."""
    artifact, data = app.engine.artifact(request.digest)
    encoding, part, taken = _part(data, request.offset, request.limit, is_text=artifact.name.endswith(".json"))
    end = request.offset + taken
    result: dict[str, Any] = {
        "digest": artifact.digest,
        "name": artifact.name,
        "media_type": artifact.media_type,
        "size": len(data),
        "encoding": encoding,
        "data": part,
        "offset": request.offset,
        "has_more": end < len(data),
    }
    if end < len(data):
        result["next_offset"] = end
    return Outcome(result)  # the digest that was asked for is in the entry already


def _require_one_owner(request: ListArtifactsArguments) -> None:
    if request.run_id is not None and request.dataset_id is not None:
        raise Refusal(
            "INVALID_ARGUMENTS",
            "at most one of run_id and dataset_id may be given",
            field="dataset_id",
            allowed=["run_id", "dataset_id"],
            details={"reason": "ONE_OF"},  # no contract can say this: portable schemas have no top-level oneOf
        )


def _part(data: bytes, offset: int, limit: int, *, is_text: bool) -> tuple[str, str, int]:
    """Encoding, text and number of bytes of a part."""
    part = data[offset : offset + limit]
    text = _whole_characters(part) if is_text else None
    if text is None:
        return "base64", base64.b64encode(part).decode(), len(part)
    return "utf-8", text, len(text.encode())


def _whole_characters(part: bytes) -> str | None:
    """The text up to the last character that is whole; None for what begins within one, or holds none."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(part)
    except UnicodeDecodeError:
        return None
    return text if text or not part else None


ARTIFACT_TOOLS: Final = (
    Tool(LIST_ARTIFACTS, read=artifacts_page, short=False),
    Tool(READ_ARTIFACT, read=read_artifact, short=False),
)

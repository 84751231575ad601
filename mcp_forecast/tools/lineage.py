"""Lineage as callers see it: what something was made from, and the calls of the log that made each part."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection

from mcp_forecast.errors import Refusal
from mcp_forecast_audit.page import Filter, StoredEntry, entries_page, first_entry
from mcp_forecast_engine.errors import ArtifactCorrupt
from mcp_forecast_engine.factory.lineage import Node, stem

if TYPE_CHECKING:
    from mcp_forecast.app import App

# The tool whose first successful call made a thing of this name.
_MAKERS: Final = {
    "dataset": "register_dataset", "forecast_dataset": "register_dataset", "run": "run_training",
    "train_request": "run_training", "inference_run": "run_inference", "bundle": "publish_bundle",
}  # fmt: skip
_ENDED: Final = ("run", "inference_run")  # how these ended is an entry of its own
_LOOKED_BACK: Final = 20  # entries that touched a ref which no row knows


def lineage_of(app: App, ref: str | None, *, checked: bool) -> list[dict[str, Any]]:
    """What `ref` names first, what it rests on last. checked: the bytes are read and compared with their digests.

    Raises Refusal without a ref, NotFound.
    """
    if ref is None:
        raise Refusal(
            "INVALID_ARGUMENTS", "lineage is asked for, and of what is not said", field="ref",
            allowed="a run_id, dataset_id, bundle_id, or the digest of an artifact",
        )  # fmt: skip
    with app.database.read() as connection:
        touched = _touched_with(connection, ref)
    nodes = app.engine.lineage(ref, touched=touched)
    with app.database.read() as connection:
        return [_line(app, connection, node, checked=checked) for node in nodes]


def _line(app: App, connection: Connection, node: Node, *, checked: bool) -> dict[str, Any]:
    named = {name: value for name, value in (("id", node.id), ("digest", node.digest)) if value}
    found = {"bytes": _bytes(app, node.digest)} if checked and node.digest else {}
    calls = [_told(entry) for entry in _made_by(connection, node)]
    return {"name": node.name, **named, "made_from": list(node.made_from), "calls": calls, **found}


def _bytes(app: App, digest: str) -> str:
    try:
        app.engine.artifacts.get(digest)
    except ArtifactCorrupt:
        return "missing_or_changed"
    return "as_named"


def _made_by(connection: Connection, node: Node) -> Iterator[StoredEntry]:
    tool = _MAKERS.get(stem(node.name))
    if tool is None or not node.id:
        return
    ref = node.id.partition("@")[0]
    asked = first_entry(connection, Filter(ref=ref, tool=tool, code="OK"))
    if asked is not None:
        yield asked
    if node.name in _ENDED:
        yield from entries_page(connection, Filter(ref=ref, tool="run"), before=None, limit=1)


def _touched_with(connection: Connection, ref: str) -> str:
    """The run that the log names together with a ref, or nothing."""
    for entry in entries_page(connection, Filter(ref=ref), before=None, limit=_LOOKED_BACK):
        run_id = _said(entry).get("refs", {}).get("run_id")
        if run_id:
            return str(run_id)
    return ""


def _told(entry: StoredEntry) -> str:
    said = _said(entry)
    return f"{entry.seq} {said.get('tool')} {said.get('code')} {said.get('caller')}"


def _said(entry: StoredEntry) -> dict[str, Any]:
    try:
        said = json.loads(entry.body or b"{}")
    except (ValueError, RecursionError):  # its cells were changed, which a verification says
        return {}
    return said if isinstance(said, dict) else {}

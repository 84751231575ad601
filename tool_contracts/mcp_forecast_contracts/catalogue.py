"""The committed contract documents as a server lists them; reads JSON and imports nothing heavy."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent / "v1"
META_KEY: Final = "io.github.mcp-forecast/contract"
ORDER: Final = (
    "register_dataset",
    "describe_dataset",
    "run_preprocessing",
    "run_training",
    "run_inference",
    "get_run_status",
    "cancel_run",
    "list_runs",
    "list_artifacts",
    "read_artifact",
    "compare_runs",
    "publish_bundle",
    "list_bundles",
    "promote_bundle",
    "rollback_bundle",
    "get_audit_trail",
    "get_service_status",
)


@cache
def documents() -> dict[str, dict[str, Any]]:
    """Every contract document by tool name, in the order tools are listed."""
    return {name: json.loads((FOLDER / f"{name}.json").read_bytes()) for name in ORDER}


@cache
def tools() -> list[dict[str, Any]]:
    """The tools as MCP lists them: name, title, description, schemas, annotations, contract version and digest.

    Those that only resources are read by are left out.
    """
    return [
        {
            "name": name,
            "title": document["title"],
            "description": document["description"],
            "inputSchema": document["input_schema"],
            "outputSchema": document["output_schema"],
            "annotations": {"title": document["title"], **document["annotations"]},
            "_meta": {META_KEY: {"name": name, "version": document["version"], "digest": document["digest"]}},
        }
        for name, document in documents().items()
        if document.get("listed", True)
    ]

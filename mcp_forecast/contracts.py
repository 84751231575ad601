"""Writes the contract JSON from the models, or checks that the committed files are fresh."""

from __future__ import annotations

import json
from pathlib import Path

from mcp_forecast_contracts.catalogue import FOLDER
from mcp_forecast_contracts.errors import ERRORS
from mcp_forecast_contracts.registry import CONTRACTS


def generated() -> dict[str, str]:
    """File name → text of every generated document: one per tool, and the table of errors."""
    documents = {f"{name}.json": contract.document() for name, contract in CONTRACTS.items()}
    documents["errors.json"] = {
        code: {
            "category": m.category, "disposition": m.disposition, "meaning": m.meaning, "next_step": m.next_step,
        }
        for code, m in ERRORS.items()
    }  # fmt: skip
    return {name: json.dumps(d, indent=1, ensure_ascii=False, sort_keys=False) + "\n" for name, d in documents.items()}


def write(folder: Path = FOLDER) -> list[str]:
    """Write every document; returns the names of those that changed."""
    folder.mkdir(exist_ok=True)
    stale = check(folder)
    for name, text in generated().items():
        (folder / name).write_text(text, encoding="utf-8")
    return stale


def check(folder: Path = FOLDER) -> list[str]:
    """Names of the documents that differ from the models (empty when fresh)."""
    documents = generated()
    return [
        n for n, t in documents.items() if not (folder / n).exists() or (folder / n).read_text(encoding="utf-8") != t
    ]

"""Writes the contract JSON from the models, or checks that the files are fresh and that every client takes them."""

from __future__ import annotations

import json
from pathlib import Path

from mcp_forecast_contracts import portability
from mcp_forecast_contracts.catalogue import FOLDER, tools
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
    documents, stale = generated(), check(folder)
    for name, text in documents.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [name for name in stale if name in documents]


def check(folder: Path = FOLDER) -> list[str]:
    """Names of the documents that differ from the models (empty when fresh), and of those that no model stands for."""
    documents = generated()
    stale = [
        n for n, t in documents.items() if not (folder / n).exists() or (folder / n).read_text(encoding="utf-8") != t
    ]
    return stale + sorted({path.name for path in folder.glob("*.json")} - documents.keys())


def unportable() -> list[str]:
    """What some client would refuse in the contracts as the models make them; empty when all is portable."""
    return [problem for contract in CONTRACTS.values() for problem in portability.problems(contract.document())]


def listing_bytes() -> int:
    """Bytes of the tools in an answer to tools/list."""
    return len(json.dumps(tools(), ensure_ascii=False, separators=(",", ":")).encode())


def contracts_command(*, check_only: bool) -> int:
    """Write or check, say what was found in one line each; 1 if a file is stale or a schema not portable."""
    stale, refused = check() if check_only else write(), unportable()
    for name in stale:
        print(f"{'stale' if check_only else 'written'}: {name}")
    for problem in refused:
        print(f"not portable: {problem}")
    if refused or (check_only and stale):
        return 1
    print(f"{len(CONTRACTS)} contracts fresh and portable; tools/list is {listing_bytes():,} bytes")
    return 0

"""What a refusal advises: errors whose class says nothing of the cause carry a next step of their own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ENGINE = Path(__file__).resolve().parents[2] / "engine" / "mcp_forecast_engine"
# The advice of their class is right by chance only: data, names and columns can be wrong in many ways.
MANIFOLD = {
    "DataInvalid", "FileUnreadable", "ColumnMissing", "FrequencyUnclear", "NotFound", "PretrainedUnavailable",
    "HistoryTooShort", "CovariatesMismatch", "ModelUntranslatable", "NotExportable",
}  # fmt: skip


def bare(file: Path) -> Iterator[str]:
    """Places in a file that make such an error without a next step."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MANIFOLD:
            named = {keyword.arg for keyword in node.keywords}
            if not named & {"next_step", None}:
                yield f"{file.relative_to(ENGINE)}:{node.lineno} {node.func.id}"


def test_every_refusal_of_data_or_names_says_what_to_do_next() -> None:
    files = sorted(ENGINE.rglob("*.py"))
    assert len(files) > 100
    assert [place for file in files for place in bare(file)] == []

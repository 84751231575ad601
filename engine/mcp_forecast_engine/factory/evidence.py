"""What lies behind a result document: the JSON artifacts that it names, read and verified."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mcp_forecast_engine.store.artifacts import ArtifactStore


def evidence(document: Mapping[str, Any], artifacts: ArtifactStore) -> dict[str, Any]:
    """The evaluation and the preprocessing report of a training run, as stored; of a forecast, nothing.

    Raises ArtifactCorrupt.
    """
    named = {artifact["name"]: artifact["digest"] for artifact in document.get("artifacts", [])}
    read = {"evaluation": "evaluation.json", "preprocessing_report": "preprocessing.json"}
    return {name: json.loads(artifacts.get(named[file])) for name, file in read.items() if file in named}


def shown(found: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a reader: losses by window or series are numbers for `compare_runs`, not for eyes."""
    evaluation = found.get("evaluation", {})
    kept = {name: value for name, value in evaluation.items() if name != "losses"}
    return {**found, **({"evaluation": kept} if evaluation else {})}

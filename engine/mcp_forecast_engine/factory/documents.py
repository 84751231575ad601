"""The result documents that runs left: read once, verified then, and kept at hand for the next who asks."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from mcp_forecast_engine.errors import ArtifactCorrupt, NotFound, RunFailed, RunNotReady
from mcp_forecast_engine.factory.evidence import evidence, shown
from mcp_forecast_engine.runtime.run import Run
from mcp_forecast_engine.store.artifacts import ArtifactStore

MOST_KEPT: Final = 64


class Documents:
    """The documents of one home, of which the MOST_KEPT read last are kept; any thread may ask."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts
        self._kept: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, run: Run) -> dict[str, Any]:
        """The result document of a finished run, verified when read from disk. Raises ArtifactCorrupt."""
        assert run.result is not None
        with self._lock:
            known = self._kept.get(run.result)
        return known or self.keep(run.result, json.loads(self._artifacts.get(run.result)))

    def details(self, run: Run) -> dict[str, Any]:
        """The same with all that is behind it: the pinned plan and, of a training run, evaluation and preprocessing
        report as stored. Raises ArtifactCorrupt."""
        key = _details_of(run)
        with self._lock:
            known = self._kept.get(key)
        document = self.of(run)
        return known or self.keep(key, {**document, **shown(evidence(document, self._artifacts)), "plan": run.plan})

    def costs(self, run: Run, find: Callable[[], str | None]) -> dict[str, float]:
        """CPU seconds that a training measured, by model; empty where it left none, or none that can be read.

        They are kept apart from the result, whose bytes are the same every time. find: the digest of what it left.
        """
        with self._lock:
            known = self._kept.get(f"costs of {run.run_id} {run.attempt}")
        if known is not None:
            return known
        digest = find()
        measured: dict[str, float] = {}
        if digest is not None:
            with suppress(ArtifactCorrupt):  # figures beside the result must not hide it
                measured = json.loads(self._artifacts.get(digest))["cpu_s"]
        return self.keep(f"costs of {run.run_id} {run.attempt}", measured)

    def trained(self, run: Run, *, field: str = "run_id") -> dict[str, Any]:
        """The document of a finished training run, whatever its gate said; field: the argument that named the run.

        Raises NotFound for a run of another kind, RunNotReady, RunFailed, ArtifactCorrupt.
        """
        if run.kind != "training":
            raise NotFound(
                f"{run.run_id} is an {run.kind} run, not a training run",
                field=field,
                allowed="a training run that has ended",
                next_step="list_runs with kind=training shows them",
            )
        if run.finished:
            return self.of(run)
        if run.ended:
            raise RunFailed(f"{run.run_id} ended as {run.state}", field=field, next_step="get_run_status says why")
        raise RunNotReady(f"{run.run_id} is {run.state}", field=field, next_step="wait with get_run_status")

    def at_hand(self, run: Run, *, detailed: bool = False) -> bool:
        """Whether the result document (or all its details) is kept, so that reading it costs nothing."""
        with self._lock:
            return (_details_of(run) if detailed else run.result) in self._kept

    def keep(self, digest: str, document: dict[str, Any]) -> dict[str, Any]:
        """Keep a document that was just made or read, and return it."""
        with self._lock:
            self._kept[digest] = document
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return document


def _details_of(run: Run) -> str:
    return f"details of {run.result}"

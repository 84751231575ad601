"""Runs as OpenLineage events (https://openlineage.io, spec 2-0-2): what was read, what was made, when, by digest.

The events follow from rows alone, so the same run gives the same events, with the same ids, whenever it is asked.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import mcp_forecast
from mcp_forecast.tools.links import time_text
from mcp_forecast_audit.page import Filter, entries_page
from mcp_forecast_engine.factory.documents import Documents
from mcp_forecast_engine.factory.lineage import RUN, Node, upstream
from mcp_forecast_engine.registry import events as registry_events
from mcp_forecast_engine.registry import listing
from mcp_forecast_engine.registry.counters import PASSED
from mcp_forecast_engine.registry.listing import BundleFilter, Listed
from mcp_forecast_engine.runtime import ledger
from mcp_forecast_engine.runtime.run import HELD, Run
from mcp_forecast_engine.serving.lineage import INFERENCE, MOST_FILES, Read, lineage
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.named_artifacts import BUNDLE, FORECAST, RESULT

SPEC: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs"
FACETS: Final = "https://openlineage.io/spec/facets/1-0-1"
PRODUCER: Final = f"urn:mcp-forecast:{mcp_forecast.__version__}"
_IDS: Final = uuid.uuid5(uuid.NAMESPACE_URL, "urn:mcp-forecast:run")
_END: Final = {"FAILED": "FAIL", "PUBLISH_PENDING": "FAIL", "CANCELLED": "ABORT"}  # every other end has a result


@dataclass(frozen=True)
class Done:
    """One piece of work. name: what its id is made of; state: how it stands; facets: of its run; times: seconds."""

    job: str
    name: str
    state: str
    caller: str
    started_at: float
    ended_at: float | None
    inputs: Sequence[dict[str, Any]]
    outputs: Sequence[dict[str, Any]]
    facets: dict[str, Any] = field(default_factory=dict)


def event_lines(read: Read, artifacts: Path, run_id: str, *, home_id: str) -> list[str]:
    """The events of a run, oldest first, a line each: a training with its publications, or a forecast with its model.

    Empty while the run waits for a worker. Raises NotFound, StoreUnavailable.
    """
    space = f"mcp-forecast://{home_id}"
    with read() as connection:
        run = ledger.get(connection, run_id)
        model = run if run.kind == "training" else ledger.get(connection, run.plan["model_run_id"])
        published = listing.page(connection, BundleFilter(run_id=model.run_id), limit=MOST_FILES)
    if run is not model:
        served = run.plan.get("bundle", {}).get("bundle_id")
        published = [one for one in published if one.bundle.bundle_id == served]
    documents = Documents(ArtifactStore(artifacts))
    nodes = lineage(read, documents, run.run_id)
    trained = nodes if run is model else lineage(read, documents, model.run_id)
    done = [_training(model, trained, space), *_failed_publications(read, model, trained, space),
            *(_publication(read, one, model, trained, space) for one in published)]  # fmt: skip
    if run is not model:
        done.append(_forecast(run, model, nodes, space))
    return [
        f"{json.dumps(event, ensure_ascii=False, sort_keys=True)}\n" for one in done for event in _events(one, space)
    ]


def _training(run: Run, nodes: Sequence[Node], space: str) -> Done:
    before = [node for node in upstream(nodes, RUN) if node.name != RUN]
    made = [node for node in nodes if node not in before and node.name != RUN]
    return _of_run("run_training", run, _data(before, run, space), _data(made, run, space))


def _publication(read: Read, one: Listed, run: Run, nodes: Sequence[Node], space: str) -> Done:
    with read() as connection:
        event = registry_events.first(connection, "BUNDLE_PUBLISHED", one.bundle.ref)
    node = Node(BUNDLE, id=str(one.bundle.ref), digest=one.bundle.manifest)
    return Done(
        "publish_bundle", str(one.bundle.ref), "PUBLISHED", "" if event is None else event.actor, one.published_at,
        one.published_at, _data(_files(nodes), run, space), _data([node], run, space),
    )  # fmt: skip


def _failed_publications(read: Read, run: Run, nodes: Sequence[Node], space: str) -> Iterator[Done]:
    """Those that the storage failed: calls on record that were answered, and made no bundle."""
    with read() as connection:
        wanted = Filter(ref=run.run_id, tool="publish_bundle", code="OK")
        entries = entries_page(connection, wanted, before=None, limit=MOST_FILES)
    for entry in reversed(entries):
        said = json.loads(entry.body or b"{}")
        if "bundle_id" not in said.get("refs", {}) and not said.get("replay_of"):
            name = f"{run.run_id}.{said['request_id']}"
            facets = _error("STORE_UNAVAILABLE: the storage failed this publication; the same call tries it again")
            yield Done(
                "publish_bundle", name, "PUBLISH_PENDING", said["caller"], said["at"], said["at"],
                _data(_files(nodes), run, space), (), facets,
            )  # fmt: skip


def _files(nodes: Iterable[Node]) -> list[Node]:
    return [node for node in nodes if node.digest and not node.id]


def _forecast(run: Run, model: Run, nodes: Sequence[Node], space: str) -> Done:
    by_name = {node.name: node for node in nodes}
    read = [by_name[name] for name in by_name[INFERENCE].made_from]
    given = [*_data([one for one in read if one.name in (RESULT, BUNDLE)], model, space),
             *_data([one for one in read if one.name not in (RESULT, BUNDLE)], run, space)]  # fmt: skip
    made = [node for node in nodes if node.name == FORECAST]
    return _of_run("run_inference", run, given, _data(made, run, space))


def _of_run(job: str, run: Run, inputs: Sequence[dict[str, Any]], outputs: Sequence[dict[str, Any]]) -> Done:
    error = run.error if run.state == "FAILED" else None
    facets = {} if error is None else _error(f"{error['reason']}: {error.get('message')}")
    begun = run.started_at if run.started_at is not None else run.created_at
    # How it ended, not what was done with it since: the same run gives the same events after its publication.
    ended_as = "PASS" if run.state in PASSED else run.state
    state = "QUEUED" if run.started_at is None and not run.ended else ended_as
    name = f"{run.run_id}.{run.attempt}"
    return Done(job, name, state, run.caller, begun, run.ended_at if run.ended else None, inputs, outputs, facets)


def _error(message: str) -> dict[str, Any]:
    schema = f"{FACETS}/ErrorMessageRunFacet.json#/$defs/ErrorMessageRunFacet"
    return {"errorMessage": _facet(schema, message=message, programmingLanguage="python")}


def _data(nodes: Iterable[Node], run: Run, space: str) -> list[dict[str, Any]]:
    """Nodes as datasets of OpenLineage: data and bundles by their id, files by their run; the digest is the version."""
    return [
        {
            "namespace": space,
            "name": node.id or f"{run.run_id}/{node.name}",
            "facets": {
                "version": _facet(
                    f"{FACETS}/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet",
                    datasetVersion=node.digest,
                )
            },
        }
        for node in nodes
        if node.digest
    ]


def _events(done: Done, space: str) -> Iterator[dict[str, Any]]:
    if done.state == "QUEUED":
        return
    # What is made is told where it is there.
    yield _event(done, "START", done.started_at, space, outputs=())
    if done.state not in HELD and done.ended_at is not None:
        yield _event(done, _END.get(done.state, "COMPLETE"), done.ended_at, space, outputs=done.outputs)


def _event(done: Done, kind: str, at: float, space: str, *, outputs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    own = {"mcpForecast": _facet(f"{SPEC}/RunFacet", name=done.name, state=done.state, caller=done.caller)}
    facets = {} if kind == "START" else {**own, **done.facets}
    return {
        "eventType": kind, "eventTime": time_text(at), "producer": PRODUCER, "schemaURL": f"{SPEC}/RunEvent",
        "run": {"runId": str(uuid.uuid5(_IDS, f"{space}/{done.name}")), "facets": facets},
        "job": {"namespace": space, "name": done.job}, "inputs": list(done.inputs), "outputs": list(outputs),
    }  # fmt: skip


def _facet(schema: str, **values: Any) -> dict[str, Any]:
    return {"_producer": PRODUCER, "_schemaURL": schema, **values}

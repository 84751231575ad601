"""From anything that a home knows by id or digest back to where it came from: forecast, bundle, model, plan, data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection, String, bindparam, select

from mcp_forecast_engine.errors import ArtifactCorrupt, NotFound
from mcp_forecast_engine.factory.documents import Documents
from mcp_forecast_engine.factory.lineage import DATASET, RUN, Node, stem, trained, upstream
from mcp_forecast_engine.registry import bundles, listing
from mcp_forecast_engine.registry.bundles import Bundle
from mcp_forecast_engine.registry.listing import BundleFilter
from mcp_forecast_engine.runtime import ledger
from mcp_forecast_engine.runtime.ledger import RUN as RUN_ROW
from mcp_forecast_engine.runtime.run import Run
from mcp_forecast_engine.store import datasets, named_artifacts, train_requests
from mcp_forecast_engine.store.named_artifacts import BUNDLE, FORECAST, RESULT, NamedArtifact
from mcp_forecast_engine.store.named_artifacts import DATASET as DATASET_FILE

Read = Callable[[], AbstractContextManager[Connection]]
FORECAST_DATASET: Final = "forecast_dataset"
INFERENCE: Final = "inference_run"
REQUEST: Final = "train_request"
MOST_FILES: Final = 100  # of one run
MOST_REQUESTS: Final = 20  # of one run, the first
# Documents that have an id of their own in them, which no row knows: what they are, by the beginning of the id.
_NAMED_BY_CONTENT: Final = {"dm": "dataset_manifest", "er": "eval_report"}
_DOCUMENT: Final = "train_build_request"

_PLANNED: Final = (
    select(RUN_ROW.c.run_id)
    .where(RUN_ROW.c.plan.contains(bindparam("text", type_=String)))
    .order_by(RUN_ROW.c.created_at.desc())
    .limit(1)
)


def lineage(read: Read, documents: Documents, ref: str, *, touched: str = "") -> list[Node]:
    """What `ref` names and all that it was made from, it first; names and digests only, no bytes are compared.

    ref: a run_id, dataset_id, bundle_id (also bundle_id@version), train_request_id or a digest of any artifact that
    rows name or a result refers to. touched: a run that the log names with `ref`, tried where no row knows it.

    Raises NotFound.
    """
    nodes, start = _around(read, documents, ref, touched)
    if start is None:
        wanted = _NAMED_BY_CONTENT.get(ref.partition("_")[0])
        start = next((node.name for node in nodes if node.answers_to(ref) or stem(node.name) == wanted), None)
    if start is None:
        raise _unknown(ref)
    found = upstream(nodes, start)
    return sorted(found, key=lambda node: node.name != start)  # stable: what was asked for, then newest things first


def _around(read: Read, documents: Documents, ref: str, touched: str) -> tuple[list[Node], str | None]:
    """Everything near `ref`, and its own name where that is known already."""
    if ref.startswith("bnd_"):
        bundle_id, _, version = ref.partition("@")
        with read() as connection:
            bundle = bundles.named(connection, bundle_id, version or None)
        return _of_bundle(read, documents, bundle), BUNDLE
    if ref.startswith("ds_"):
        return _about_dataset(read, ref), DATASET
    if ref.startswith("run_"):
        return _of_run(read, documents, ref, whole=True)
    if ref.startswith("treq_"):
        return _of_request(read, documents, ref)
    with read() as connection:
        try:
            named = named_artifacts.named(connection, ref)
        except NotFound:
            near = touched or _planned(connection, ref)
            if not near:
                raise _unknown(ref) from None
            named = None
    if named is None:
        return _of_run(read, documents, near)
    if named.run_id is None:
        return _about_dataset(read, str(named.dataset_id), None if named.name == DATASET_FILE else named), None
    if named.name == BUNDLE:
        with read() as connection:
            of_run = listing.page(connection, BundleFilter(run_id=named.run_id), limit=MOST_FILES)
        bundle = next(one.bundle for one in of_run if one.bundle.manifest == ref)
        return _of_bundle(read, documents, bundle), BUNDLE
    return _of_run(read, documents, named.run_id)


def _of_request(read: Read, documents: Documents, ref: str) -> tuple[list[Node], str]:
    """The run that a request led to, and the request in it; one of very many that led there is the run itself."""
    with read() as connection:
        run_id = train_requests.run_of(connection, ref)
    if run_id is None:
        raise _unknown(ref)
    nodes, _ = _of_run(read, documents, run_id)
    return nodes, next((node.name for node in nodes if node.id == ref), RUN)


def _planned(connection: Connection, ref: str) -> str:
    """The newest run whose plan names this; plans are looked through, which is why it is the last resort."""
    found = connection.execute(_PLANNED, {"text": ref}).scalar()
    return str(found or "")


def _of_run(read: Read, documents: Documents, run_id: str, *, whole: bool = False) -> tuple[list[Node], str | None]:
    """A run and what is behind it. whole: it is asked for itself, so that it starts with its result if it has one."""
    with read() as connection:
        run = ledger.get(connection, run_id)
    nodes = _of_inference(read, documents, run) if run.kind == "inference" else _trained(read, documents, run)
    ends = (FORECAST, RESULT, INFERENCE, RUN)
    return nodes, next(name for name in ends if any(node.name == name for node in nodes)) if whole else None


def _of_inference(read: Read, documents: Documents, run: Run) -> list[Node]:
    plan = run.plan
    served = plan.get("bundle")
    with read() as connection:
        model = ledger.get(connection, plan["model_run_id"])
        bundle = None if served is None else bundles.named(connection, served["bundle_id"], served["version"])
    nodes = _trained(read, documents, model) if bundle is None else _of_bundle(read, documents, bundle)
    data = DATASET if plan["dataset_id"] == model.plan["dataset_id"] else FORECAST_DATASET
    sources = (RESULT if bundle is None else BUNDLE, data)
    given = (Node("future.json", digest=plan["future"]),) if plan.get("future") else ()
    made = Node(INFERENCE, id=run.run_id, made_from=(*sources, *(node.name for node in given)))
    forecast = () if run.result is None else (Node(FORECAST, digest=run.result, made_from=(INFERENCE,)),)
    other = (Node(data, id=plan["dataset_id"], digest=plan["dataset_digest"]),) if data == FORECAST_DATASET else ()
    return [*forecast, made, *given, *nodes, *other]


def _of_bundle(read: Read, documents: Documents, bundle: Bundle) -> list[Node]:
    with read() as connection:
        run = ledger.get(connection, bundle.run_id)
    nodes = _trained(read, documents, run)
    return [Node(BUNDLE, id=str(bundle.ref), digest=bundle.manifest, made_from=(RESULT,)), *nodes]


def _trained(read: Read, documents: Documents, run: Run) -> list[Node]:
    with read() as connection:
        left = named_artifacts.page(connection, wanted={"run_id": run.run_id}, limit=MOST_FILES)
        asked = train_requests.of_run(connection, run.run_id, limit=MOST_REQUESTS)
    document: dict[str, Any] | None = None
    if run.finished:
        with suppress(ArtifactCorrupt):  # the rows still say what it was; a check of its bytes says that it is gone
            document = documents.of(run)
    return list(_with_requests(trained(run, document, left), asked))


def _with_requests(nodes: Sequence[Node], asked: Sequence[str]) -> Iterator[Node]:
    """The run with every request that led to it: they differ in who asked, so the run keeps the document of one."""
    of = tuple(node.name for node in nodes if stem(node.name) == _DOCUMENT) or (DATASET,)
    requests = [
        Node(f"{REQUEST}.{place + 1}" if place else REQUEST, id=one, made_from=of) for place, one in enumerate(asked)
    ]
    for node in nodes:
        if node.name == RUN:
            yield replace(node, made_from=(*node.made_from, *(one.name for one in requests)))
            yield from requests
        else:
            yield node


def _about_dataset(read: Read, dataset_id: str, report: NamedArtifact | None = None) -> list[Node]:
    """A dataset, and a report that was asked for which is about it."""
    with read() as connection:
        summary = datasets.summary(connection, dataset_id)
    made = () if report is None else (Node(report.name, digest=report.digest, made_from=(DATASET,)),)
    return [*made, Node(DATASET, id=dataset_id, digest=summary["digest"])]


def _unknown(ref: str) -> NotFound:
    return NotFound(
        f"nothing in this home is named {ref}", field="ref",
        allowed="a run_id, dataset_id, bundle_id, or a digest that list_artifacts shows",
        next_step="list_runs, list_bundles and list_artifacts show ids and digests",
    )  # fmt: skip

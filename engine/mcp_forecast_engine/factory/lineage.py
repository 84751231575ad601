"""What a training's result was made from, step by step back to the data: a walk over names and digests alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mcp_forecast_engine.runtime.run import Run
from mcp_forecast_engine.store.named_artifacts import BUNDLE, RESULT, NamedArtifact

DATASET: Final = "dataset"
RUN: Final = "run"
# What each document of a run was made from; files that are not named here come out of the run itself.
_MADE_FROM: Final[dict[str, tuple[str, ...]]] = {
    "dataset_manifest": (DATASET,),
    "train_build_request": ("dataset_manifest",),
    "resolved_plan": ("train_build_request",),
    "eval_report": ("evaluation", "predictions", "model", "explanation", "leakage"),
    "execution_record": ("resolved_plan",),
    "evidence_pack": ("eval_report", "execution_record"),
    "gate_receipt": ("eval_report", "evidence_pack"),
}
_BEFORE_THE_RUN: Final = ("dataset_manifest", "train_build_request", "resolved_plan")


@dataclass(frozen=True)
class Node:
    """One thing that was made. name: unique in its lineage; id: of a dataset, run or bundle; digest: of its bytes."""

    name: str
    id: str = ""
    digest: str = ""
    made_from: tuple[str, ...] = ()

    def answers_to(self, ref: str) -> bool:
        """Whether this is what an id or digest names."""
        return ref in (self.id, self.digest, self.id.partition("@")[0]) and bool(ref)


def trained(run: Run, document: Mapping[str, Any] | None, left: Iterable[NamedArtifact]) -> list[Node]:
    """A training run with everything that it was made from and that it left, newest things first.

    document: its result, None where it has none (yet), or none that can be read. left: the artifacts that rows name.
    """
    refs = dict(_documents({} if document is None else document.get("refs", {})))
    listed = () if document is None else document["artifacts"]
    files = {str(one["name"]): str(one["digest"]) for one in listed}
    files |= {one.name: one.digest for one in left if one.name not in (RESULT, BUNDLE)}
    known = {digest: name for name, digest in files.items()}
    documents = {known.get(digest, name): digest for name, digest in refs.items()} | files
    nodes = [Node(name, digest=digest, made_from=_sources(name, documents)) for name, digest in documents.items()]
    before = sorted(
        (node for node in nodes if stem(node.name) in _BEFORE_THE_RUN),
        key=lambda n: _BEFORE_THE_RUN.index(stem(n.name)),
    )
    after = [node for node in nodes if node not in before]
    last = before[-1].name if before else DATASET
    result = () if run.result is None else (Node(RESULT, digest=run.result, made_from=_names(after) or (RUN,)),)
    dataset = Node(DATASET, id=run.plan.get("dataset_id", ""), digest=run.plan.get("dataset_digest", ""))
    return [*result, *reversed(after), Node(RUN, id=run.run_id, made_from=(last,)), *reversed(before), dataset]


def upstream(nodes: Sequence[Node], start: str) -> list[Node]:
    """The node of this name and everything it was made from, in their order."""
    by_name = {node.name: node for node in nodes}
    seen: dict[str, None] = {}
    ahead = [start]
    while ahead:
        name = ahead.pop()
        if name in by_name and name not in seen:
            seen[name] = None
            ahead += by_name[name].made_from
    return [node for node in nodes if node.name in seen]


def stem(name: str) -> str:
    """What a document is, without its ending and its number among several."""
    return name.partition(".")[0]


def _documents(refs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The documents that a result refers to, each by a name of its own."""
    for name, found in refs.items():
        for place, one in enumerate(found if isinstance(found, list) else [found]):
            if str(one).startswith("sha256:"):
                stem = name.removesuffix("s") if isinstance(found, list) else name
                yield (f"{stem}.{place + 1}" if place else stem), str(one)


def _sources(name: str, documents: Iterable[str]) -> tuple[str, ...]:
    wanted = _MADE_FROM.get(stem(name))
    if wanted is None:
        return (RUN,)
    return tuple(one for one in (*documents, DATASET) if stem(one) in wanted) or (RUN,)


def _names(nodes: Iterable[Node]) -> tuple[str, ...]:
    return tuple(node.name for node in nodes)

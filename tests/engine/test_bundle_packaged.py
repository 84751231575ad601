"""A bundle is made of one run's evidence alone: the same run, the same bytes; evidence that does not fit, no bundle."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Desk, desk_in
from gate_data import passing

from mcp_forecast_engine.errors import CorridorRefused
from mcp_forecast_engine.factory.bundle import REFS, package
from mcp_forecast_engine.factory.bundle_file import FILE, verify_bundle
from mcp_forecast_engine.factory.bundle_folder import check_folder, lay_out
from mcp_forecast_engine.factory.publication import package_run, require_publishable
from mcp_forecast_engine.factory.taxonomy import REASONS
from mcp_forecast_engine.runtime import publishing
from mcp_forecast_engine.runtime.run import Run
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.identity import canonical_bytes


@dataclass(frozen=True)
class Passed:
    """A run that passed its gate, its result, and where its files are."""

    desk: Desk
    run: Run
    document: dict[str, Any]

    @property
    def artifacts(self) -> ArtifactStore:
        return self.desk.app.engine.artifacts

    def read(self, digest: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.artifacts.get(digest))
        return found

    def with_refs(self, **refs: Any) -> dict[str, Any]:
        """The result with other refs."""
        return {**self.document, "refs": {**self.document["refs"], **refs}}

    def with_file(self, ref: str, **changed: Any) -> dict[str, Any]:
        """The result with a document of which some fields are others."""
        was = self.document["refs"][ref]
        made = self.with_refs(**{ref: self.artifacts.put(canonical_bytes({**self.read(was), **changed}))})
        return {**made, "artifacts": [one for one in self.document["artifacts"] if one["digest"] != was]}


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Passed]:
    with desk_in(tmp_path_factory.mktemp("packaged")) as desk:
        dataset = desk.call("register_dataset", {"rows": passing()})["result"]["dataset_id"]
        asked = {"dataset_id": dataset, "horizon": 7, "covariates": []}
        run_id = desk.finish(desk.call("run_training", asked)["result"]["run_id"])["result"]["run_id"]
        with desk.app.database.read() as connection:
            run = desk.app.engine.run(connection, run_id)
        yield Passed(desk, run, desk.app.engine.documents.of(run))


def reason_of(passed: Passed, document: dict[str, Any]) -> str:
    """Why a result is not packaged; a reason of the closed list."""
    with pytest.raises(CorridorRefused) as caught:
        package_run(passed.run, document, passed.artifacts)
    assert caught.value.reason in REASONS
    assert caught.value.next_step
    return str(caught.value.reason)


def test_the_same_run_is_the_same_bytes_and_they_verify(passed: Passed) -> None:
    one, two = (package(passed.run, passed.document, passed.artifacts) for _ in range(2))
    assert one == two
    bundle = verify_bundle(one, passed.artifacts)
    assert bundle["refs"]["run"] == {"ref": f"run:{passed.run.run_id}", "digest": passed.run.result}
    assert {name: bundle["refs"][name] for name in REFS} == {name: passed.document["refs"][name] for name in REFS}
    asked = passed.read(passed.document["refs"]["train_build_request"])
    assert bundle["provenance"] == {
        name: asked[name] for name in ("code_release_id", "config_revision", "policy_revision")
    }
    assert [file["name"] for file in bundle["files"]] == sorted(file["name"] for file in bundle["files"])


def test_other_evidence_is_another_bundle(passed: Passed) -> None:
    bundle = json.loads(package(passed.run, passed.document, passed.artifacts))
    other = json.loads(package(passed.run, passed.with_file("eval_report", note=1), passed.artifacts))
    assert other["bundle_id"] != bundle["bundle_id"]
    assert other["version"] != bundle["version"]


def test_a_bundle_whose_content_was_changed_is_refused_by_its_file(passed: Passed) -> None:
    bundle = json.loads(package(passed.run, passed.document, passed.artifacts))
    for other in (
        {**bundle, "refs": {**bundle["refs"], "eval_report": "sha256:" + "0" * 64}},
        {**bundle, "schema_version": "bundle.v9"},
        {**bundle, "provenance": {**bundle["provenance"], "policy_revision": "2"}},
        {"bundle_id": bundle["bundle_id"]},
    ):
        with pytest.raises(CorridorRefused, match=r"^bundle\.json: ") as caught:
            verify_bundle(canonical_bytes(other), passed.artifacts)
        assert caught.value.reason == "BUNDLE_PACKAGE_IMMUTABILITY_VIOLATION"
    first = bundle["files"][0]
    grown = {**bundle, "files": [{**first, "size": first["size"] + 1}, *bundle["files"][1:]]}
    with pytest.raises(CorridorRefused, match=f"^{re.escape(first['name'])}: "):
        verify_bundle(canonical_bytes(grown), passed.artifacts)


def refused(data: bytes, passed: Passed, folder: Path) -> list[str]:
    """Why a bundle.json is none: of the store, before anything of it is written, and in a folder with these files."""
    with pytest.raises(CorridorRefused) as stored:
        verify_bundle(data, passed.artifacts)
    with pytest.raises(CorridorRefused) as written:
        lay_out(data, passed.artifacts, folder / "new")
    assert not (folder / "new").exists()
    (folder / FILE).write_bytes(data)
    with pytest.raises(CorridorRefused) as found:
        check_folder(folder)
    assert {one.value.reason for one in (stored, written, found)} == {"BUNDLE_PACKAGE_IMMUTABILITY_VIOLATION"}
    return [one.value.message for one in (stored, written, found)]


def test_a_bundle_with_another_model_is_refused_under_the_id_of_the_one_that_was_judged(
    passed: Passed, tmp_path: Path
) -> None:
    data = package(passed.run, passed.document, passed.artifacts)
    lay_out(data, passed.artifacts, tmp_path)
    assert check_folder(tmp_path) == json.loads(data)
    evil = b"another model"
    (tmp_path / "model.onnx").write_bytes(evil)
    bundle = json.loads(data)
    for file in bundle["files"]:
        if file["name"] == "model.onnx":
            file.update(sha256=passed.artifacts.put(evil), size=len(evil))
    for message in refused(canonical_bytes(bundle), passed, tmp_path):
        assert message == "model.onnx: it is not the one that the gate judged"


def test_a_bundle_file_of_another_shape_is_refused_and_ends_nothing_in_a_traceback(
    passed: Passed, tmp_path: Path
) -> None:
    data = package(passed.run, passed.document, passed.artifacts)
    lay_out(data, passed.artifacts, tmp_path)
    bundle = json.loads(data)
    first, rest = bundle["files"][0], bundle["files"][1:]
    changed: list[dict[str, Any]] = [
        {"files": None}, {"files": 5}, {"files": []}, {"files": [first, first, *rest]}, {"files": rest[:1]},
        {"compatibility": 5}, {"kind": 5}, {"target_scope": {"slot": "../x"}}, {"refs": []}, {"provenance": "x"},
        *({"files": [{**first, "name": name}, *rest]} for name in (5, "a\0", "../x", "", FILE, "model.sig")),
        *({"files": [{**first, "size": size}, *rest]} for size in (None, "1", -1)),
        {"refs": {**bundle["refs"], "run": {"ref": "run:other", "digest": bundle["refs"]["run"]["digest"]}}},
        {"refs": {**bundle["refs"], "resolved_plan": "sha256:" + "0" * 64}},
    ]  # fmt: skip
    for other in (*({**bundle, **one} for one in changed), [], 5, None):
        refused(canonical_bytes(other), passed, tmp_path)
    for raw in (b"", b"\xff", b"[" * 100_000):
        refused(raw, passed, tmp_path)


@pytest.mark.parametrize("ref", REFS)
def test_evidence_that_is_not_named_is_a_reason_of_its_own(passed: Passed, ref: str) -> None:
    assert reason_of(passed, passed.with_refs(**{ref: None})) == "EVIDENCE_REF_MISSING"


def test_evidence_that_does_not_belong_together_is_refused(passed: Passed) -> None:
    for ref, changed, reason in (
        ("gate_receipt", {"gate_decision": "FAIL"}, "GATE_DECISION_MISMATCH"),
        ("gate_receipt", {"run_id": "run_" + "0" * 24}, "GATE_INVALID"),
        ("gate_receipt", {"eligibility": {"decision": "INELIGIBLE", "reason_codes": ["X"]}}, "PUBLISH_NOT_ELIGIBLE"),
        ("eval_report", {"eval_report_id": "er_other"}, "EVAL_REPORT_MISMATCH"),
        ("train_build_request", {"policy_revision": "2"}, "RUN_KEY_PAYLOAD_MISMATCH"),
    ):
        assert reason_of(passed, passed.with_file(ref, **changed)) == reason
    bare = passed.artifacts.put(canonical_bytes({"schema_version": "dataset_manifest.v1"}))
    other = passed.with_refs(dataset_manifests=[bare])
    kept = [one for one in other["artifacts"] if one["name"] != "dataset_manifest.json"]
    with pytest.raises(CorridorRefused, match=r"dataset_manifest of run_.*feature_definition_set is absent") as caught:
        package(passed.run, {**other, "artifacts": kept}, passed.artifacts)
    assert caught.value.reason == "MANIFEST_INVALID"
    assert reason_of(passed, {**other, "artifacts": kept}) == "MANIFEST_IMMUTABILITY_VIOLATION"
    named = [{**one, "name": "eval_report.json"} for one in passed.document["artifacts"]]
    assert reason_of(passed, {**passed.document, "artifacts": named}) == "BUNDLE_PUBLICATION_INVALID"


def test_a_request_of_another_run_is_not_this_runs(passed: Passed) -> None:
    with pytest.raises(CorridorRefused) as caught:
        package(replace(passed.run, run_id="run_" + "0" * 24), passed.document, passed.artifacts)
    assert caught.value.reason == "RUN_KEY_PAYLOAD_MISMATCH"


def test_a_result_without_a_gate_is_of_an_older_release(passed: Passed) -> None:
    bare = {name: value for name, value in passed.document.items() if name != "gate"}
    with pytest.raises(CorridorRefused, match="before there were gates"):
        require_publishable(passed.run, bare)
    with pytest.raises(CorridorRefused, match="before there were gates"):
        require_publishable(replace(passed.run, state="SUCCEEDED"), passed.document)


def test_only_a_run_that_passed_moves_to_published(passed: Passed) -> None:
    asked = {"dataset_id": passed.run.plan["dataset_id"], "horizon": 5, "season_length": 11}
    other = passed.desk.call("run_training", asked)["result"]["run_id"]
    for move in (publishing.published, lambda connection, run_id: publishing.pending(connection, run_id, "full")):
        with pytest.raises(CorridorRefused) as caught, passed.desk.app.database.command() as connection:
            move(connection, other)
        assert caught.value.reason == "INVALID_TRANSITION"
    passed.desk.call("cancel_run", {"run_id": other, "idempotency_key": "c"})
    passed.desk.finish(other)
    with passed.desk.app.database.command() as connection:
        for tried in (1, 2):
            waiting = publishing.pending(connection, passed.run.run_id, "the disk is full")
            assert (waiting.state, publishing.attempts(waiting)) == ("PUBLISH_PENDING", tried)
        for _ in range(2):
            done = publishing.published(connection, passed.run.run_id)
            assert (done.state, done.error, publishing.attempts(done)) == ("PUBLISHED", None, 0)

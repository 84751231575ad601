"""Lineage: from a forecast back to the bytes of the data, as an answer of get_audit_trail and as OpenLineage events."""

from __future__ import annotations

import importlib.util
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import Desk, desk_in
from gate_data import passing
from sqlalchemy import bindparam, update

from mcp_forecast.cli import main
from mcp_forecast.settings import Settings
from mcp_forecast_contracts.catalogue import documents
from mcp_forecast_contracts.training import RunTrainingArguments
from mcp_forecast_engine.errors import NotFound
from mcp_forecast_engine.registry.scope import Scope
from mcp_forecast_engine.runtime.ledger import RUN

BOTH_DATABASES = True
ROWS, MORE = passing(168), passing(170)
# A run that has a result starts with it; a dataset is one, whatever it was used for.
STARTS = {"inference_run": "forecast.json", "run": "result.json", "forecast_dataset": "dataset"}


@dataclass(frozen=True)
class Line:
    """A desk where everything was done once: data, training, bundle, forecasts by run and by bundle."""

    desk: Desk
    data: str
    newer: str
    run: str
    bundle: str
    forecast: str
    by_bundle: str

    def lineage(self, ref: str, **asked: Any) -> dict[str, dict[str, Any]]:
        answer = self.desk.call("get_audit_trail", {"ref": ref, "lineage": True, **asked})
        assert answer["ok"], answer
        jsonschema.validate(answer, documents()["get_audit_trail"]["output_schema"])
        assert len(json.dumps(answer)) < 8_000
        return {node["name"]: node for node in answer["result"]["lineage"]}


def done(desk: Desk, tool: str, /, **asked: Any) -> dict[str, Any]:
    answer = desk.call(tool, asked)
    assert answer["ok"], answer
    result: dict[str, Any] = answer["result"]
    return result


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    with desk_in(tmp_path_factory.mktemp("lineage")) as desk:
        data, newer = (done(desk, "register_dataset", rows=rows, freq="D")["dataset_id"] for rows in (ROWS, MORE))
        run = done(desk, "run_training", dataset_id=data, horizon=2, covariates=[])["run_id"]
        assert desk.finish(run)["result"]["state"] == "PASS"
        bundle = done(desk, "publish_bundle", run_id=run, idempotency_key="p")["bundle_id"]
        forecast = done(desk, "run_inference", run_id=run, wait_s=25)["run_id"]
        by_bundle = done(desk, "run_inference", bundle_id=bundle, dataset_id=newer, wait_s=25)["run_id"]
        yield Line(desk, data, newer, run, bundle, forecast, by_bundle)


def test_a_forecast_leads_back_over_its_run_model_and_evidence_to_the_data_that_was_registered(line: Line) -> None:
    found = line.lineage(line.forecast)
    assert next(iter(found)) == "forecast.json"
    assert found["forecast.json"]["made_from"] == ["inference_run"]
    assert found["inference_run"]["made_from"] == ["result.json", "dataset"]
    assert {"model.onnx", "evaluation.json", "gate_receipt.json", "eval_report.json", "evidence_pack.json"} <= {
        *found["result.json"]["made_from"]
    }
    assert found["model.onnx"]["made_from"] == ["run"]
    assert found["run"]["made_from"] == ["resolved_plan.json", "train_request"]
    assert found["train_request"]["made_from"] == ["train_build_request.json"]
    assert found["resolved_plan.json"]["made_from"] == ["train_build_request.json"]
    assert found["train_build_request.json"]["made_from"] == ["dataset_manifest.json"]
    assert found["dataset_manifest.json"]["made_from"] == ["dataset"]
    assert (found["dataset"]["id"], found["dataset"]["made_from"]) == (line.data, [])
    assert {name for node in found.values() for name in node["made_from"]} <= set(found)


def test_each_part_names_the_calls_that_made_it(line: Line) -> None:
    found = line.lineage(line.by_bundle)
    calls = {name: [call.split()[1:3] for call in node["calls"]] for name, node in found.items() if node["calls"]}
    assert calls["dataset"] == calls["forecast_dataset"] == [["register_dataset", "OK"]]
    assert calls["inference_run"][0] == ["run_inference", "OK"]
    assert calls["bundle.json"] == [["publish_bundle", "OK"]]
    assert calls["train_request"] == [["run_training", "OK"]]
    ((seq, _, _, caller),) = (call.split() for call in found["dataset"]["calls"])
    (entry,) = done(line.desk, "get_audit_trail", ref=line.data, tool="register_dataset")["entries"]
    assert (entry["seq"], entry["caller"]) == (int(seq), caller)


def test_a_forecast_by_a_bundle_on_newer_data_names_both(line: Line) -> None:
    found = line.lineage(line.by_bundle)
    assert found["inference_run"]["made_from"] == ["bundle.json", "forecast_dataset"]
    assert found["bundle.json"]["id"].startswith(f"{line.bundle}@")
    assert found["bundle.json"]["made_from"] == ["result.json"]
    assert (found["dataset"]["id"], found["forecast_dataset"]["id"]) == (line.data, line.newer)


def test_any_ref_of_the_line_is_a_start_and_what_came_after_it_is_left_out(line: Line) -> None:
    whole = line.lineage(line.by_bundle)
    for name, node in whole.items():
        found = line.lineage(node.get("digest", node.get("id")))
        assert next(iter(found)) == STARTS.get(name, name)
        assert "forecast.json" not in found or name in ("forecast.json", "inference_run")
    assert set(line.lineage(line.data)) == {"dataset"}
    assert set(line.lineage(whole["model.onnx"]["digest"])) == {
        "model.onnx", "run", "train_request", "resolved_plan.json", "train_build_request.json",
        "dataset_manifest.json", "dataset",
    }  # fmt: skip


def test_another_request_for_the_same_run_leads_to_it_although_no_document_names_it(line: Line) -> None:
    engine = line.desk.app.engine
    asked = RunTrainingArguments(dataset_id=line.data, horizon=2, covariates=[]).model_dump()
    same = {
        name: asked[name] for name in ("dataset_id", "horizon", "profile", "season_length", "test_windows", "budget")
    }
    other = engine.plan_training(requester="somebody-else", scope=Scope(), covariates=(), **same)
    with line.desk.app.database.command() as connection:
        run, created = engine.submit(connection, other, caller="somebody-else", now=1.0)
    assert (run.run_id, created) == (line.run, False)
    found = [node.name for node in engine.lineage(other.request.train_request_id)]
    assert found[1:] == ["train_build_request.json", "dataset_manifest.json", "dataset"]
    led_there = {node.name: node.id for node in engine.lineage(run.run_id) if node.name.startswith("train_request")}
    assert led_there[found[0]] == other.request.train_request_id
    assert len(set(led_there.values())) == 2
    with pytest.raises(NotFound):
        engine.lineage("treq_" + "0" * 24)


def test_what_only_the_plan_of_a_run_names_is_found_by_it(line: Line) -> None:
    with line.desk.app.database.read() as connection:
        plan = line.desk.app.engine.run(connection, line.by_bundle).plan
    with line.desk.app.database.command() as connection:  # as a forecast with rows of the future has it
        moved = update(RUN).where(RUN.c.run_id == bindparam("the_run"))
        future = "sha256:" + "f" * 64
        connection.execute(moved, {"the_run": line.by_bundle, "plan": json.dumps({**plan, "future": future})})
    try:
        assert line.lineage(future)["future.json"]["made_from"] == []
        assert "future.json" in line.lineage(line.by_bundle)["inference_run"]["made_from"]
    finally:
        with line.desk.app.database.command() as connection:
            connection.execute(moved, {"the_run": line.by_bundle, "plan": json.dumps(plan)})


def test_a_changed_byte_is_told_where_the_bytes_are_compared(line: Line) -> None:
    whole = line.lineage(line.bundle, verify="page")
    assert {node["bytes"] for node in whole.values() if "digest" in node} == {"as_named"}
    digest = whole["evaluation.json"]["digest"].removeprefix("sha256:")
    file = line.desk.app.settings.home / "artifacts" / digest[:2] / digest
    kept = file.read_bytes()
    file.chmod(0o600)
    file.write_bytes(kept[:-1])
    try:
        found = line.lineage(line.bundle, verify="page")
        assert [name for name, node in found.items() if node.get("bytes") == "missing_or_changed"] == [
            "evaluation.json"
        ]
    finally:
        file.write_bytes(kept)


def test_lineage_of_nothing_or_of_something_unknown_is_refused_with_what_helps(line: Line) -> None:
    zeros = {"sha256:": 64, "dm_": 24, "run_": 24, "bnd_": 24, "ds_": 24}
    for ref in ("", *(kind + "0" * places for kind, places in zeros.items())):
        error = line.desk.call("get_audit_trail", {"lineage": True, **({"ref": ref} if ref else {})})["error"]
        assert error["code"] == ("NOT_FOUND" if ref else "INVALID_ARGUMENTS"), ref


def test_a_run_that_waits_rests_on_its_data_and_nothing_is_exported_of_it(
    open_desk: Callable[[Settings], Desk], settings: Settings, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    desk = open_desk(replace(settings, workers=0))
    data = done(desk, "register_dataset", rows=ROWS, freq="D")["dataset_id"]
    run = done(desk, "run_training", dataset_id=data, horizon=2, covariates=[])["run_id"]
    made = done(desk, "get_audit_trail", ref=run, lineage=True)["lineage"]
    assert [node["name"] for node in made] == ["run", "train_request", "dataset"]
    assert [node["calls"][0].split()[1] for node in made] == ["run_training", "run_training", "register_dataset"]
    for unknown in ("sha256:" + "0" * 64, "er_" + "0" * 24):
        error = desk.call("get_audit_trail", {"ref": unknown, "lineage": True})["error"]
        assert (error["code"], error["field"]) == ("NOT_FOUND", "ref")
    monkeypatch.setenv("MCP_FORECAST_HOME", str(settings.home))
    monkeypatch.setenv("MCP_FORECAST_DATABASE", settings.database)
    assert main(["audit", "openlineage", run]) == 0
    assert capsys.readouterr().out == ""


def required(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


# What OpenLineage 2-0-2 demands of a run event, in our words; its own classes check the rest where they are installed.
TEXT = {"type": "string", "minLength": 1}
URI = {"type": "string", "format": "uri", "pattern": "^(https|urn):"}
FACETS = {"type": "object", "additionalProperties": required(_producer=URI, _schemaURL=URI)}
DATASETS = {"type": "array", "items": required(namespace=TEXT, name=TEXT, facets=FACETS)}
RUN_EVENT = required(
    eventType={"enum": ["START", "COMPLETE", "ABORT", "FAIL"]},
    eventTime={"type": "string", "pattern": "^[0-9-]{10}T[0-9:]{8}[.][0-9]{3}Z$"},
    producer=URI, schemaURL=URI, run=required(runId={"type": "string", "format": "uuid"}, facets=FACETS),
    job=required(namespace=TEXT, name=TEXT), inputs=DATASETS, outputs=DATASETS,
)  # fmt: skip
Export = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def export(line: Line, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Export:
    """The events that the command prints for a run, each checked."""
    monkeypatch.setenv("MCP_FORECAST_HOME", str(line.desk.app.settings.home))

    def exported(run_id: str) -> list[dict[str, Any]]:
        assert main(["audit", "openlineage", run_id]) == 0
        events = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
        for event in events:
            jsonschema.validate(event, RUN_EVENT)
            assert str(uuid.UUID(event["run"]["runId"])) == event["run"]["runId"]
            _checked_by_openlineage(event)
        return events

    return exported


def _checked_by_openlineage(event: dict[str, Any]) -> None:
    if importlib.util.find_spec("openlineage") is None:
        return
    from openlineage.client import event_v2

    sets = {
        name: [kind(namespace=one["namespace"], name=one["name"]) for one in event[name]]
        for name, kind in (("inputs", event_v2.InputDataset), ("outputs", event_v2.OutputDataset))
    }
    made = event_v2.RunEvent(
        eventTime=event["eventTime"], producer=event["producer"], run=event_v2.Run(runId=event["run"]["runId"]),
        job=event_v2.Job(namespace=event["job"]["namespace"], name=event["job"]["name"]),
        eventType=event_v2.RunState[event["eventType"]], **sets,
    )  # fmt: skip
    assert made.schemaURL == event["schemaURL"]


def test_a_forecast_is_exported_with_the_training_and_publication_behind_it(line: Line, export: Export) -> None:
    events = export(line.by_bundle)
    assert [(event["job"]["name"], event["eventType"]) for event in events] == [
        (job, kind) for job in ("run_training", "publish_bundle", "run_inference") for kind in ("START", "COMPLETE")
    ]
    assert [event["eventTime"] for event in events] == sorted(event["eventTime"] for event in events)
    assert len({event["run"]["runId"] for event in events}) == 3
    trained, published, forecast = events[1::2]

    def named(datasets: list[dict[str, Any]]) -> dict[str, str]:
        return {one["name"]: one["facets"]["version"]["datasetVersion"] for one in datasets}

    assert line.data in named(trained["inputs"])
    assert named(published["inputs"]).items() >= named(trained["outputs"]).items()
    (bundle,) = named(published["outputs"])
    assert {bundle, line.newer} <= set(named(forecast["inputs"]))
    assert f"{line.run}/model.onnx" in named(trained["outputs"])
    with line.desk.app.database.read() as connection:
        run = line.desk.app.engine.run(connection, line.by_bundle)
    assert named(forecast["outputs"]) == {f"{line.by_bundle}/forecast.json": run.result}


def test_the_same_run_is_exported_to_the_same_bytes_and_no_file_is_written_over(
    line: Line, export: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = export(line.run)
    assert first == export(line.run)
    assert [event["job"]["name"] for event in first] == ["run_training"] * 2 + ["publish_bundle"] * 2
    file = tmp_path / "events.jsonl"
    assert main(["audit", "openlineage", line.run, "--out", str(file)]) == 0
    assert [json.loads(text) for text in file.read_text().splitlines()] == first
    assert main(["audit", "openlineage", line.run, "--out", str(file)]) == 2
    assert main(["audit", "openlineage", "run_" + "0" * 24]) == 2
    assert "no run" in capsys.readouterr().err


def test_a_publication_that_the_storage_failed_is_exported_as_a_failure_before_the_one_that_worked(
    line: Line, export: Export
) -> None:
    run = done(line.desk, "run_training", dataset_id=line.data, horizon=3, covariates=[])["run_id"]
    line.desk.finish(run)
    packaged = line.desk.app.engine.shelf.prepare(run).packaged
    assert packaged is not None
    file = line.desk.app.engine.artifacts.path(packaged.manifest)
    kept = file.with_suffix(".kept")
    file.rename(kept)
    file.mkdir()  # a folder where the store's file would be
    asked = {"run_id": run, "idempotency_key": "f"}
    assert done(line.desk, "publish_bundle", **asked)["status"] == "PUBLISH_PENDING"
    file.rmdir()
    kept.rename(file)
    assert done(line.desk, "publish_bundle", **asked)["status"] == "PUBLISHED"
    assert done(line.desk, "publish_bundle", **asked)["status"] == "PUBLISHED"  # a replay: nothing happened
    events = export(run)
    assert [(event["job"]["name"], event["eventType"]) for event in events[2:]] == [
        ("publish_bundle", kind) for kind in ("START", "FAIL", "START", "COMPLETE")
    ]
    assert "STORE_UNAVAILABLE" in events[3]["run"]["facets"]["errorMessage"]["message"]
    assert events[3]["outputs"] == []


def test_a_failed_training_is_exported_as_a_failure_with_its_reason(line: Line, export: Export) -> None:
    data = done(line.desk, "register_dataset", rows=ROWS[:40], freq="D")["dataset_id"]
    run = done(line.desk, "run_training", dataset_id=data, horizon=2, covariates=[])["run_id"]
    line.desk.finish(run)
    error = {"reason": "HISTORY_TOO_SHORT", "disposition": "terminal", "message": "too few rows"}
    with line.desk.app.database.command() as connection:
        ended = update(RUN).where(RUN.c.run_id == run).values(state="FAILED", result=None, error=json.dumps(error))
        connection.execute(ended)
    start, end = export(run)
    assert (start["eventType"], end["eventType"], end["outputs"]) == ("START", "FAIL", [])
    assert end["run"]["facets"]["errorMessage"]["message"] == "HISTORY_TOO_SHORT: too few rows"

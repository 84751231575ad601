"""Artifacts: listed from what rows name, read by digest and verified, on either database."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from conftest import AGENT, Answer, Desk

from mcp_forecast.settings import Settings
from mcp_forecast_contracts.catalogue import documents, tools
from mcp_forecast_engine.runtime import lease

BOTH_DATABASES = True
ROWS = [{"ds": f"2025-{m:02d}-{d:02d}", "y": float(d % 7 + m), "é": d % 2} for m in range(1, 7) for d in range(1, 29)]


def listed(desk: Desk, **asked: Any) -> Answer:
    answer = desk.call("list_artifacts", asked)
    jsonschema.validate(answer, documents()["list_artifacts"]["output_schema"])
    assert answer["ok"], answer
    result: Answer = answer["result"]
    return result


def read(desk: Desk, digest: str, **part: int) -> Answer:
    answer = desk.call("read_artifact", {"digest": digest, **part})
    jsonschema.validate(answer, documents()["read_artifact"]["output_schema"])
    return answer


def whole(desk: Desk, digest: str, limit: int) -> bytes:
    """An artifact put together from parts of at most `limit` bytes."""
    data, offset = b"", 0
    while True:
        part = read(desk, digest, offset=offset, limit=limit)["result"]
        piece = part["data"].encode() if part["encoding"] == "utf-8" else base64.b64decode(part["data"])
        assert len(piece) <= limit
        data += piece
        if not part["has_more"]:
            return data
        assert part["next_offset"] == len(data) > offset
        offset = part["next_offset"]


@pytest.fixture
def idle(open_desk: Callable[[Settings], Desk], settings: Settings) -> Desk:
    """A desk whose runs stay queued."""
    return open_desk(replace(settings, workers=0))


def register(desk: Desk, rows: list[dict[str, Any]] = ROWS) -> str:
    return str(desk.call("register_dataset", {"rows": rows, "freq": "D"})["result"]["dataset_id"])


def half_done(desk: Desk, dataset: str, step: bytes) -> str:
    """A run that has left its first step and is still at work."""
    run_id = str(desk.call("run_training", {"dataset_id": dataset, "horizon": 3})["result"]["run_id"])
    artifact = desk.app.engine.artifacts.put(step)
    with desk.app.database.command() as connection:
        run = lease.claim(connection, owner="w", lease_s=60, max_running=1, now=2e9)
        assert run is not None
        lease.finish_step(connection, run_id, run.epoch, step="preprocess", artifact=artifact, now=2e9 + 1)
    return run_id


def test_what_datasets_and_unfinished_runs_left_is_listed_newest_first(idle: Desk) -> None:
    dataset = register(idle)
    run_id = half_done(idle, dataset, b'{"steps": []}')
    report = idle.call("run_preprocessing", {"dataset_id": dataset})["result"]
    found = listed(idle)
    assert [one["name"] for one in found["artifacts"]] == [
        "preprocessing.json", "preprocessing_report.json", "dataset.npz",
    ]  # fmt: skip
    step, reported, data = found["artifacts"]
    assert (step["run_id"], data["dataset_id"], reported["dataset_id"]) == (run_id, dataset, dataset)
    assert reported["preprocessing"].startswith(report["preprocessing_id"])
    assert reported["digest"] == report["report"]
    assert found["total"] == 3
    for one in found["artifacts"]:
        assert one["uri"] == f"forecast://artifacts/{one['digest']}"
        assert one["present"]
        assert "path" not in one
    assert [one["name"] for one in listed(idle, dataset_id=dataset)["artifacts"]] == [reported["name"], data["name"]]
    assert [one["run_id"] for one in listed(idle, run_id=run_id)["artifacts"]] == [run_id]
    assert [one["digest"] for one in listed(idle, name="dataset.npz")["artifacts"]] == [data["digest"]]


def test_pages_hold_every_artifact_once(idle: Desk) -> None:
    for n in range(7):
        register(idle, [{**row, "y": row["y"] + n} for row in ROWS])
    seen, cursor = [], {}
    while True:
        page = listed(idle, limit=3, **cursor)
        seen += [one["digest"] for one in page["artifacts"]]
        if not page["has_more"]:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert len(seen) == len(set(seen)) == page["total"] == 7
    refused = idle.call("list_artifacts", {"name": "dataset.npz", **cursor})
    assert refused["error"]["code"] == "CURSOR_INVALID"


def test_unknown_owners_are_not_found_and_two_owners_are_refused(idle: Desk) -> None:
    dataset = register(idle)
    for field, value in (("run_id", "run_" + "0" * 24), ("dataset_id", "ds_" + "0" * 24)):
        error = idle.call("list_artifacts", {field: value})["error"]
        assert (error["code"], error["field"]) == ("NOT_FOUND", field)
    error = idle.call("list_artifacts", {"run_id": "run_" + "0" * 24, "dataset_id": dataset})["error"]
    assert error["code"] == "INVALID_ARGUMENTS"


def test_bytes_are_read_whole_or_in_parts_and_hash_to_their_digest(idle: Desk) -> None:
    text = json.dumps({"words": "héé — 日本 😀" * 2}, ensure_ascii=False).encode()
    half_done(idle, register(idle), text)
    digests = {one["name"]: one["digest"] for one in listed(idle)["artifacts"]}
    first = read(idle, digests["preprocessing.json"])["result"]
    assert (first["encoding"], first["data"].encode(), first["has_more"]) == ("utf-8", text, False)
    assert read(idle, digests["dataset.npz"])["result"]["encoding"] == "base64"
    for name, digest in digests.items():
        for limit in (1 << 20, 3_001) if name == "dataset.npz" else (1_000, 7, 2):
            assert f"sha256:{hashlib.sha256(whole(idle, digest, limit)).hexdigest()}" == digest
    beyond = read(idle, digests["dataset.npz"], offset=1 << 40)["result"]
    assert (beyond["data"], beyond["has_more"]) == ("", False)


def test_only_what_a_row_names_is_read(idle: Desk) -> None:
    stray = idle.app.engine.artifacts.put(b"nobody asked for this")
    assert read(idle, stray)["error"]["code"] == "NOT_FOUND"
    assert read(idle, "sha256:" + "0" * 64)["error"]["code"] == "NOT_FOUND"


def test_changed_and_lost_bytes_are_told(idle: Desk) -> None:
    register(idle)
    (found,) = listed(idle, response_format="detailed")["artifacts"]
    path = idle.app.engine.artifacts.path(found["digest"])
    assert found["path"] == str(path.absolute())
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert read(idle, found["digest"])["error"]["code"] == "ARTIFACT_CORRUPT"
    path.unlink()
    (gone,) = listed(idle)["artifacts"]
    assert not gone["present"]
    assert "size" not in gone
    assert read(idle, found["digest"])["error"]["code"] == "ARTIFACT_CORRUPT"


def test_where_bytes_lie_is_told_on_this_machine_only(idle: Desk) -> None:
    dataset = register(idle)
    afar = replace(AGENT, door="http")
    asked = {"response_format": "detailed"}
    for tool, arguments in (("list_artifacts", asked), ("describe_dataset", {**asked, "dataset_id": dataset})):
        here, there = (idle.call(tool, arguments, caller)["result"]["artifacts"] for caller in (AGENT, afar))
        assert [{name: value for name, value in one.items() if name != "path"} for one in here] == there
        assert all(one["path"] for one in here)


def test_reading_says_how_far_it_came_at_64_kib_where_nothing_is_said(idle: Desk) -> None:
    half_done(idle, register(idle), b"x" * 100_000)
    (found,) = listed(idle, name="preprocessing.json")["artifacts"]
    part = read(idle, found["digest"])["result"]
    assert (len(part["data"]), part["next_offset"]) == (65_536, 65_536)
    assert not read(idle, found["digest"], limit=1 << 20)["result"]["has_more"]


def test_reading_takes_the_path_of_every_call_but_is_not_listed_as_a_tool(idle: Desk) -> None:
    register(idle)
    (found,) = listed(idle)["artifacts"]
    nobody = replace(AGENT, scopes=frozenset())
    refused = idle.call("read_artifact", {"digest": found["digest"]}, nobody)
    assert refused["error"]["code"] == "FORBIDDEN"
    assert read(idle, found["digest"])["ok"]
    assert read(idle, "sha256:" + "0" * 64)["error"]["code"] == "NOT_FOUND"
    entry = idle.log("NOT_FOUND")[-2]
    assert (entry["tool"], entry["refs"]) == ("read_artifact", {"digest": found["digest"]})
    names = [tool["name"] for tool in tools()]
    assert "read_artifact" not in names
    assert "list_artifacts" in names

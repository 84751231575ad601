"""The same sentences through every door and in both protocol eras, with the SDK's own client before a real home."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from door_home import DOORS, ERAS, DoorHome, door_home
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import PromptReference, ResourceTemplateReference

from mcp_forecast_contracts import catalogue

ROWS = [{"ds": f"2025-{m:02d}-{d:02d}", "y": float(d + 3 * m)} for m in range(1, 13) for d in range(1, 29)]
NO_RUN = "run_" + "0" * 24


@dataclass(frozen=True)
class Way:
    """One door in one era, and the client that stands before it."""

    home: DoorHome
    door: str
    era: str

    @property
    def client(self) -> Client:
        return self.home.client(self.door, self.era)

    @property
    def caller(self) -> str:
        return self.home.callers[self.door, self.era]

    def call(self, tool: str, arguments: dict[str, Any] | None = None, **named: Any) -> dict[str, Any]:
        """The envelope of a call; its text and its structure are one value."""
        answer = self.home.run(self.client.call_tool, tool, arguments or {}, **named)
        envelope: dict[str, Any] = answer.structured_content
        assert json.loads(answer.content[0].text) == envelope
        assert answer.is_error is not envelope["ok"]
        return envelope

    def refused(self, work: Any, *arguments: Any) -> MCPError:
        with pytest.raises(MCPError) as caught:
            self.home.run(work, *arguments)
        return caught.value


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DoorHome]:
    with door_home(tmp_path_factory.mktemp("doors")) as opened:
        yield opened


@pytest.fixture(scope="module", params=[(door, era) for door in DOORS for era in ERAS], ids="-".join)
def way(home: DoorHome, request: pytest.FixtureRequest) -> Way:
    return Way(home, *request.param)


@pytest.fixture(scope="module")
def dataset(home: DoorHome) -> str:
    answer = Way(home, "memory", "modern").call("register_dataset", {"rows": ROWS, "freq": "D"})
    dataset_id: str = answer["result"]["dataset_id"]
    return dataset_id


def queued(way: Way, dataset: str) -> str:
    run_id: str = way.call("run_training", {"dataset_id": dataset, "horizon": 7})["result"]["run_id"]
    return run_id


def test_the_asked_era_is_spoken_and_the_listed_tools_are_those_of_the_contracts(way: Way) -> None:
    assert way.client.protocol_version == ERAS[way.era]
    listed = way.home.run(way.client.list_tools).tools
    assert [tool.name for tool in listed] == [tool["name"] for tool in catalogue.tools()]
    assert [tool.output_schema for tool in listed] == [tool["outputSchema"] for tool in catalogue.tools()]


def test_a_call_is_answered_and_on_record_under_its_caller_and_door(way: Way) -> None:
    answer = way.call("get_service_status")
    assert (answer["ok"], answer["result"]["caller"]) == (True, way.caller)
    way.home.await_entry(way.caller, "get_service_status", "OK", "test" if way.door == "memory" else way.door)


def test_a_command_with_a_key_works_once_and_replays(way: Way, dataset: str) -> None:
    request = {"dataset_id": dataset, "horizon": 7, "idempotency_key": f"{way.door}-{way.era}"}
    first, second = (way.call("run_training", request) for _ in range(2))
    assert (second["replayed"], second["replay_of"]) == (True, first["request_id"])
    assert second["result"]["run_id"] == first["result"]["run_id"]
    other = way.call("run_training", {**request, "horizon": 8})
    assert other["error"]["code"] == "IDEMPOTENCY_CONFLICT"


def test_unknown_tools_and_bad_arguments_are_typed_answers(way: Way) -> None:
    assert way.call("forecast_everything")["error"]["code"] == "UNKNOWN_TOOL"
    wrong = way.call("get_run_status", {"run_id": NO_RUN, "wait": 1})["error"]
    assert (wrong["code"], wrong["field"], wrong["disposition"]) == ("INVALID_ARGUMENTS", "wait", "terminal")


def test_runs_and_datasets_are_listed_and_read_as_their_tools_answer(way: Way, dataset: str) -> None:
    run_id = queued(way, dataset)
    listed = way.home.run(way.client.list_resources)
    uris = [str(one.uri) for one in listed.resources]
    assert {f"forecast://runs/{run_id}", f"forecast://datasets/{dataset}", "forecast://contracts/errors"} <= set(uris)
    for uri, tool, arguments in (
        (f"forecast://runs/{run_id}", "get_run_status", {"run_id": run_id}),
        (f"forecast://datasets/{dataset}", "describe_dataset", {"dataset_id": dataset}),
    ):
        (content,) = way.home.run(way.client.read_resource, uri).contents
        assert content.mime_type == "application/json"
        assert json.loads(content.text) == way.call(tool, arguments)["result"]


def test_an_artifact_is_read_by_its_digest(way: Way, dataset: str) -> None:
    found = way.call("list_artifacts", {"dataset_id": dataset, "name": "dataset.npz"})["result"]["artifacts"][0]
    (content,) = way.home.run(way.client.read_resource, found["uri"]).contents
    assert content.mime_type == found["media_type"]
    assert len(content.blob) * 3 // 4 >= found["size"]


def test_contracts_are_read_as_committed(way: Way) -> None:
    document = catalogue.documents()["run_training"]
    answer = way.home.run(way.client.read_resource, f"forecast://contracts/run_training/{document['version']}")
    assert json.loads(answer.contents[0].text) == document
    errors = json.loads(way.home.run(way.client.read_resource, "forecast://contracts/errors").contents[0].text)
    assert errors["RATE_LIMITED"]["disposition"] == "retryable"
    if way.era == "modern":
        assert (answer.cache_scope, answer.ttl_ms) == ("public", 300_000)


def test_the_shapes_of_uris_are_the_five_promised(way: Way) -> None:
    listed = way.home.run(way.client.list_resource_templates).resource_templates
    assert [one.uri_template for one in listed] == [
        "forecast://runs/{id}",
        "forecast://datasets/{id}",
        "forecast://artifacts/{id}",
        "forecast://contracts/{tool}/{version}",
        "forecast://contracts/errors",
    ]


@pytest.mark.parametrize(
    "uri",
    [
        f"forecast://runs/{NO_RUN}",
        "forecast://runs/..",
        "forecast://runs/a/b",
        "forecast://artifacts/sha256:" + "0" * 64,
        "forecast://contracts/run_training/9.9.9",
        "forecast://contracts/run_training",
        "file:///etc/passwd",
        "nothing",
    ],
)
def test_an_unknown_resource_is_refused_with_our_error_body(way: Way, uri: str) -> None:
    error = way.refused(way.client.read_resource, uri)
    assert error.error.code == (-32602 if way.era == "modern" else -32002)
    assert error.error.data["code"] in ("NOT_FOUND", "INVALID_ARGUMENTS")
    assert error.error.data["uri"] == uri
    assert error.error.data["next_step"]


def test_a_foreign_cursor_is_refused(way: Way) -> None:
    for work in (way.client.list_resources, way.client.list_resource_templates, way.client.list_prompts):
        with pytest.raises(MCPError, match="Invalid cursor"):
            way.home.run(work, cursor="contracts:-1")


def test_prompts_are_listed_and_filled_in(way: Way) -> None:
    listed = way.home.run(way.client.list_prompts).prompts
    assert next(one.name for one in listed) == "forecast_from_file"
    asked = {"path": "sales.csv", "horizon": "28"}
    (message,) = way.home.run(way.client.get_prompt, "forecast_from_file", asked).messages
    assert 'register_dataset(path="sales.csv"' in message.content.text
    for name, arguments, field in (
        ("forecast_from_file", {"path": "sales.csv"}, "horizon"),
        ("judge_run", {"run_id": NO_RUN, "colour": "red"}, "colour"),
        ("judge_run", {"run_id": "the last one"}, "run_id"),
        ("nothing", {}, "name"),
    ):
        error = way.refused(way.client.get_prompt, name, arguments)
        assert (error.error.code, error.error.data["field"]) == (-32602, field)


def test_arguments_are_completed(way: Way, dataset: str) -> None:
    run_id = queued(way, dataset)
    contract = ResourceTemplateReference(uri="forecast://contracts/{tool}/{version}")
    for reference, name, typed, known, found in (
        (contract, "tool", "run_t", {}, ["run_training"]),
        (contract, "version", "", {"tool": "list_runs"}, [catalogue.documents()["list_runs"]["version"]]),
        (PromptReference(name="judge_run"), "run_id", run_id[:-1], {}, [run_id]),
        (PromptReference(name="judge_run"), "run_id", "x", {}, []),
    ):
        answer = way.home.run(
            way.client.complete, reference, {"name": name, "value": typed}, context_arguments=known or None
        )
        assert answer.completion.values == found


def test_a_waiting_call_tells_its_progress_and_ends_when_its_caller_gives_up(way: Way, dataset: str) -> None:
    run_id = queued(way, dataset)
    heard: list[float] = []

    async def give_up_once_told() -> None:
        with anyio.fail_after(10), anyio.CancelScope() as scope:

            async def hear(progress: float, total: float | None, message: str | None) -> None:
                heard.append(progress)
                scope.cancel()

            waiting = {"run_id": run_id, "wait_s": 25}
            await way.client.call_tool("get_run_status", waiting, progress_callback=hear)

    way.home.run(give_up_once_told)
    assert heard == [0]
    way.home.await_entry(way.caller, "get_run_status", "CANCELLED", "test" if way.door == "memory" else way.door)

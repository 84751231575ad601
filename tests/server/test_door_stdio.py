"""The stdio door as a client meets it: a spawned process, raw lines, both eras, and its end."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
from door_stand_in import SECRET
from door_wire import META, STAND_IN, WireClient

ERAS = pytest.mark.parametrize("modern", [True, False], ids=["modern", "legacy"])
HEAVY = ("sqlmodel", "sqlalchemy", "alembic", "jsonschema", "numpy", "pyarrow", "onnx", "onnxruntime",
         "mcp_forecast.app", "mcp_forecast.calls.pipeline")  # fmt: skip
# Serves a home of its own; at the end of input it tells which heavy modules were there when the tools were listed.
LISTING = """
import json, sys
from mcp_forecast.calls.caller import Caller
from mcp_forecast.mcp import stdio_door
assert "mcp" not in sys.modules
def build():
    from mcp_forecast.mcp.opening import Opening
    from mcp_forecast.mcp.server import build_server
    class Unopened(Opening):
        def begin_soon(self): print(json.dumps(sorted(sys.modules)), file=sys.stderr, flush=True)
    opening = Unopened(lambda: 1 / 0, lambda error: {"ok": False})
    return build_server(opening, lambda: Caller("c", frozenset(), "test")), opening
stdio_door.serve_client(build)
"""


@ERAS
def test_a_call_is_answered_in_either_era(modern: bool) -> None:
    with WireClient(STAND_IN) as client:
        if not modern:
            assert client.initialize()["serverInfo"]["name"] == "mcp-forecast"
        assert "resultType" in client.request("tools/list", modern=modern)["result"] or not modern
        result = client.call("anything", {"a": 1}, modern=modern)
        assert result["structuredContent"]["result"]["arguments"] == {"a": 1}
        assert json.loads(result["content"][0]["text"]) == result["structuredContent"]


@ERAS
@pytest.mark.parametrize("params", [{"name": "x", "arguments": [1]}, {"name": 5}, {}, {"name": None, "arguments": 3}])
def test_a_malformed_call_gets_an_envelope_in_the_shape_of_its_era(modern: bool, params: dict[str, object]) -> None:
    with WireClient(STAND_IN) as client:
        if not modern:
            client.initialize()
        result = client.request("tools/call", params, modern=modern)["result"]
        assert result["structuredContent"]["result"]["arguments"] == params.get("arguments")
        assert (result.get("resultType") == "complete") is modern
        assert "isError" in result


@ERAS
def test_a_fault_of_ours_leaks_no_text_over_the_wire(modern: bool) -> None:
    with WireClient(STAND_IN) as client:
        if not modern:
            client.initialize()
        for tool in ("raise", "nan", "surrogate"):
            assert client.call(tool, modern=modern)["structuredContent"]["error"]["code"] == "INTERNAL"
        assert SECRET.encode() not in b"".join(client.lines)


def test_nothing_but_messages_is_ever_on_the_wire() -> None:
    with WireClient(STAND_IN) as client:
        client.call("print")
        client.end_input()
        rest = client.process.stdout.read()  # type: ignore[union-attr]
        assert rest == b""
        assert all(json.loads(line)["jsonrpc"] == "2.0" for line in client.lines)


@pytest.mark.parametrize(
    ("line", "code", "request_id"),
    [
        (b'{"jsonrpc":"2.0","id":7,"method":"x","params":{"a":"\xff"}}', -32700, 7),
        (b'{"jsonrpc":"2.0","id":7,"method":"x","params":{"a":' + b"[" * 250, -32700, 7),
        (b'{"jsonrpc":"2.0","id":null,"method":"x"}', -32600, None),
        (b"[]", -32600, None),
        (b"garbage", -32700, None),
        (b'{"jsonrpc":"2.0","id":7,"method":"x","params":{"a":"' + b"y" * (17 * 1024 * 1024) + b'"}}', -32700, 7),
    ],
)
def test_a_broken_line_is_answered_at_once_and_the_next_call_works(
    line: bytes, code: int, request_id: int | None
) -> None:
    with WireClient(STAND_IN) as client:
        client.send(b'{"jsonrpc":"2.0","method":"x","params":[1]}\n\n' + line)
        answer = client.read()
        assert (answer["error"]["code"], answer["id"]) == (code, request_id)
        assert client.call("anything")["isError"] is False


def test_forty_five_blocked_calls_hold_no_other_answer() -> None:
    with WireClient(STAND_IN) as client:
        client.call("anything")
        for _ in range(45):
            client.send_request("tools/call", {"name": "block"})
        begun = time.monotonic()
        client.call("anything")
        assert time.monotonic() - begun < 1.0
        assert client.end_input() < 1.0


@pytest.mark.parametrize("pending", [[], ["wait"], ["block"], ["wait", "block", "wait"]])
def test_the_end_of_input_ends_the_process_within_a_second_and_closes_the_desk(pending: list[str]) -> None:
    with WireClient(STAND_IN) as client:
        client.call("anything")
        for tool in pending:
            client.send_request("tools/call", {"name": tool})
        client.request("ping", modern=True)
        assert client.end_input() < 1.0
        assert client.process.returncode == 0
        assert b"closed" in client.process.stderr.read()  # type: ignore[union-attr]


def test_a_termination_signal_closes_the_desk_too() -> None:
    with WireClient(STAND_IN) as client:
        client.call("anything")
        client.send_request("tools/call", {"name": "block"})
        client.process.terminate()
        client.process.wait(timeout=2)
        assert b"closed" in client.process.stderr.read()  # type: ignore[union-attr]


def test_a_cancelled_call_is_not_answered() -> None:
    with WireClient(STAND_IN) as client:
        waiting = client.send_request("tools/call", {"name": "wait"})
        client.send(json.dumps({"jsonrpc": "2.0", "method": "notifications/cancelled",
                                "params": {"requestId": waiting, "_meta": META}}).encode())  # fmt: skip
        client.call("anything")
        client.end_input()
        assert all(json.loads(line).get("id") != waiting for line in client.lines)


def test_answers_larger_than_the_pipe_arrive_whole() -> None:
    with WireClient(STAND_IN) as client:
        asked = {client.send_request("tools/call", {"name": "big"}) for _ in range(5)}
        answers = [client.read() for _ in asked]
        assert {answer["id"] for answer in answers} == asked
        assert {len(answer["result"]["structuredContent"]["result"]["value"]) for answer in answers} == {1_000_000}


def test_input_from_a_file_is_served_and_ends(tmp_path: Path) -> None:
    import subprocess

    line = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": META}}
    (tmp_path / "in").write_text(json.dumps(line) + "\n")
    with (tmp_path / "in").open() as source, (tmp_path / "out").open("w") as sink:
        subprocess.run(STAND_IN, stdin=source, stdout=sink, stderr=subprocess.DEVNULL, timeout=10, check=True)
    (answer,) = (tmp_path / "out").read_text().splitlines()
    assert json.loads(answer)["id"] == 1


def test_the_tools_are_listed_before_anything_heavy_is_imported() -> None:
    with WireClient([sys.executable, "-c", LISTING]) as client:
        assert client.request("tools/list")["result"]["tools"]
        client.end_input()
        loaded = json.loads(client.process.stderr.read().splitlines()[0])  # type: ignore[union-attr]
    assert [name for name in HEAVY if name in loaded] == []

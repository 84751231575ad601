"""Raw JSON-RPC clients of spawned servers, era 2026-07-28: what a call costs without any client library."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

MODERN: Final = "2026-07-28"
META: Final = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
}
HERE: Final = Path(__file__).parent
STDIO: Final = [
    sys.executable, "-c",
    "from mcp_forecast.mcp.stdio_door import serve_stdio; from mcp_forecast.settings import process_settings; "
    "serve_stdio(process_settings())",
]  # fmt: skip
HTTP: Final = [
    sys.executable, "-c",
    "from mcp_forecast.http.server import serve_http; from mcp_forecast.settings import process_settings; "
    "raise SystemExit(serve_http(process_settings()))",
]  # fmt: skip
ECHOES: Final = {"MCPServer echo": "echo_mcpserver.py", "low-level echo": "echo_lowlevel.py"}


def environment(home: Path, port: int = 0) -> dict[str, str]:
    """Our server's environment on this home, without a rate limit."""
    return {
        **os.environ,
        "MCP_FORECAST_HOME": str(home),
        "MCP_FORECAST_HTTP_PORT": str(port),
        "MCP_FORECAST_RATE_PER_S": "1000000",
        "MCP_FORECAST_RATE_BURST": "1000000",
    }


class StdioServer:
    """A server on its stdin and stdout."""

    def __init__(self, command: list[str], env: Mapping[str, str]) -> None:
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the server
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, env=dict(env)
        )
        self._id = 0

    def request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The result of one request. Raises RuntimeError with the server's log when there is none."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(self._line(method, params))
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {}
        if "result" not in answer:
            self.log.seek(0)
            raise RuntimeError(f"{line!r}\n{self.log.read().decode()}")
        result: dict[str, Any] = answer["result"]
        return result

    def time_call(self, tool: str, arguments: dict[str, Any]) -> float:
        """Seconds from before the request's bytes are written until the answer's line is read."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = self._line("tools/call", {"name": tool, "arguments": arguments})
        begun = time.perf_counter()
        self.process.stdin.write(line)
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        taken = time.perf_counter() - begun
        assert b'"isError":false' in answer, answer[:2000]
        return taken

    def close(self) -> None:
        """End its input and wait."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=20)
        self.log.close()

    def _line(self, method: str, params: dict[str, Any]) -> bytes:
        self._id += 1
        return json.dumps(_body(self._id, method, params)).encode() + b"\n"


class HttpServer:
    """A server behind one kept connection on loopback."""

    def __init__(self, command: list[str], env: Mapping[str, str], port: int, token: str | None = None) -> None:
        self.process = subprocess.Popen(command, env=dict(env), stderr=subprocess.DEVNULL)
        self._id, self._token = 0, token
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise
                time.sleep(0.01)
        self._connection = http.client.HTTPConnection("127.0.0.1", port)
        self._connection.connect()
        assert isinstance(self._connection.sock, socket.socket)
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The result of one request."""
        result: dict[str, Any] = json.loads(self._post(*self._prepared(method, params)))["result"]
        return result

    def time_call(self, tool: str, arguments: dict[str, Any]) -> float:
        """Seconds from before the request is sent until the answer's body is read."""
        prepared = self._prepared("tools/call", {"name": tool, "arguments": arguments})
        begun = time.perf_counter()
        answer = self._post(*prepared)
        taken = time.perf_counter() - begun
        assert b'"isError":false' in answer, answer[:2000]
        return taken

    def close(self) -> None:
        """Close the connection and end the server."""
        self._connection.close()
        self.process.terminate()
        self.process.wait(timeout=20)

    def _prepared(self, method: str, params: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
        self._id += 1
        headers = {
            "content-type": "application/json", "accept": "application/json, text/event-stream",
            "mcp-protocol-version": MODERN, "mcp-method": method,
        }  # fmt: skip
        if "name" in params:
            headers["mcp-name"] = params["name"]
        if self._token is not None:
            headers["authorization"] = f"Bearer {self._token}"
        return json.dumps(_body(self._id, method, params)).encode(), headers

    def _post(self, body: bytes, headers: dict[str, str]) -> bytes:
        self._connection.request("POST", "/mcp", body, headers)
        response = self._connection.getresponse()
        data = response.read()
        assert response.status == 200, (response.status, data)
        return data


Server = StdioServer | HttpServer


def echo(name: str, result: Mapping[str, Any]) -> StdioServer:
    """An echo server that returns this result over stdio."""
    return StdioServer([sys.executable, str(HERE / ECHOES[name])], {**os.environ, "ECHO_RESULT": json.dumps(result)})


def echo_http(name: str, result: Mapping[str, Any]) -> HttpServer:
    """An echo server that returns this result over HTTP."""
    port = free_port()
    env = {**os.environ, "ECHO_RESULT": json.dumps(result)}
    return HttpServer([sys.executable, str(HERE / ECHOES[name]), "http", str(port)], env, port)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def percentile(values: list[float], percent: float) -> float:
    """The value below which this share of the values lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


def _body(request_id: int, method: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": {**params, "_meta": META}}

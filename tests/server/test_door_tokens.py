"""Named tokens: several callers of one server, told apart in the log, limited to their scopes, and taken away again."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from door_home import DoorHome, door_home
from test_door_flood import call, post

from mcp_forecast.cli import main
from mcp_forecast.http.callers import Callers
from mcp_forecast.http.server import serve_http
from mcp_forecast.http.token import TokenUnsafe
from mcp_forecast.http.tokens import TokenRefused, add_token, read_tokens, remove_token
from mcp_forecast.settings import Settings

READ = ("forecast:read",)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DoorHome]:
    with door_home(tmp_path_factory.mktemp("tokens")) as opened:
        yield opened


def asked(home: DoorHome, token: str, tool: str, arguments: object = None) -> dict[str, Any]:
    envelope: dict[str, Any] = post(home, token, call(tool, arguments)).json()["result"]["structuredContent"]
    return envelope


def test_two_callers_are_told_apart_in_the_log(home: DoorHome) -> None:
    for name in ("anna", "ben"):
        answer = asked(home, add_token(home.settings.home, name, READ), "get_service_status")
        assert answer["result"]["caller"] == f"token:{name}"
        home.await_entry(f"token:{name}", "get_service_status", "OK", "http")


def test_a_token_may_do_what_its_scopes_say(home: DoorHome) -> None:
    training = {"dataset_id": "ds_" + "0" * 24, "horizon": 1}
    reader = add_token(home.settings.home, "reader", READ)
    writer = add_token(home.settings.home, "writer", (*READ, "forecast:write"))
    assert asked(home, reader, "run_training", training)["error"]["code"] == "FORBIDDEN"
    assert asked(home, writer, "run_training", training)["error"]["code"] == "NOT_FOUND"
    assert asked(home, reader, "list_runs")["ok"]


def test_a_removed_token_opens_nothing_from_its_next_call_on(home: DoorHome) -> None:
    token = add_token(home.settings.home, "gone", READ)
    assert post(home, token, call("get_service_status")).status_code == 200
    remove_token(home.settings.home, "gone")
    assert post(home, token, call("get_service_status")).status_code == 401
    assert post(home, add_token(home.settings.home, "gone", READ), call("get_service_status")).status_code == 200
    assert post(home, token, call("get_service_status")).status_code == 401


def test_a_file_that_others_can_read_stops_named_tokens_and_no_other(home: DoorHome) -> None:
    named, path = add_token(home.settings.home, "unsafe", READ), home.settings.home / "tokens.json"
    own = (home.settings.home / "token").read_text().strip()
    path.chmod(0o644)
    try:
        assert post(home, named, call("get_service_status")).status_code == 401
        assert post(home, own, call("get_service_status")).status_code == 200
        with pytest.raises(TokenUnsafe, match="chmod 600"):
            read_tokens(home.settings.home)
        assert serve_http(home.settings) == 2
    finally:
        path.chmod(0o600)
    assert post(home, named, call("get_service_status")).status_code == 200


def test_the_file_holds_digests_and_no_token(tmp_path: Path) -> None:
    token = add_token(tmp_path, "anna", READ)
    path = tmp_path / "tokens.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert token not in path.read_text()
    assert token not in repr(vars(Callers(tmp_path, "own" * 20, READ)))


@pytest.mark.parametrize("name", ["", "local", "Anna", "a/b", "../x", "-x", "x" * 64, "a b", "a\n"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TokenRefused, match="is no name"):
        add_token(tmp_path, name, READ)


def test_a_name_is_given_once_and_removed_once(tmp_path: Path) -> None:
    add_token(tmp_path, "anna", READ)
    with pytest.raises(TokenRefused, match="exists"):
        add_token(tmp_path, "anna", READ)
    remove_token(tmp_path, "anna")
    with pytest.raises(TokenRefused, match="no token is named"):
        remove_token(tmp_path, "anna")


TAKEN = json.dumps({"tokens": [{"name": "local", "scopes": [], "digest": "0" * 64}]})
BROKEN = ("", "[]", "{}", '{"tokens": [1]}', '{"tokens": [{"name": "a", "scopes": [1]}]}', TAKEN)


@pytest.mark.parametrize("text", BROKEN)
def test_a_file_that_is_no_list_of_tokens_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokens.json").write_text(text)
    (tmp_path / "tokens.json").chmod(0o600)
    with pytest.raises(TokenUnsafe, match="no list of tokens"):
        Callers(tmp_path, "own" * 20, READ)


def test_tokens_added_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    threads = [threading.Thread(target=add_token, args=(tmp_path, f"n{number}", READ)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {token.name for token in read_tokens(tmp_path)} == {f"n{number}" for number in range(8)}


def test_the_command_shows_a_token_once_and_lists_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MCP_FORECAST_HOME", str(tmp_path))
    assert main(["token", "add", "anna", "--scopes", "forecast:read"]) == 0
    token = capsys.readouterr().out.strip()
    caller = Callers(tmp_path, "own" * 20, READ).caller_of(token)
    assert caller is not None
    assert (caller.subject, caller.scopes) == ("token:anna", ["forecast:read"])
    assert main(["token", "list"]) == 0
    assert capsys.readouterr().out == "token:anna  forecast:read\n"
    assert main(["token", "add", "anna"]) == 2
    assert main(["token", "add", "ben", "--scopes", "forecast:everything"]) == 2
    assert "allowed: forecast:read, forecast:write, registry:read, registry:write" in capsys.readouterr().err
    assert main(["token", "remove", "anna"]) == 0
    assert main(["token", "remove", "anna"]) == 2
    assert read_tokens(Settings(home=tmp_path).home) == ()

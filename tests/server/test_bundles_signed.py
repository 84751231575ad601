"""Bundles signed with the operator's key: OpenSSF model signing, read by its own tool too (extra `signing`)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Desk, desk_in
from test_registry_tools import Shop
from test_serving_by_registry import flipped

from mcp_forecast.cli import main
from mcp_forecast_engine.errors import CorridorRefused
from mcp_forecast_engine.ports import Signing
from mcp_forecast_engine.registry.shelf import Shelf

REASON = "BUNDLE_SIGNATURE_INVALID"


def pem(place: Path, name: str) -> Path:
    """A private key of an operator, with its public one beside it as `.pub`."""
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric import ec

    key, path = ec.generate_private_key(ec.SECP256R1()), place / f"{name}.pem"
    path.write_bytes(key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption()))
    shown = key.public_key().public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo)
    path.with_suffix(".pub").write_bytes(shown)
    return path


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("keys")
    return {name: pem(place, name) for name in ("ours", "theirs")}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with desk_in(tmp_path_factory.mktemp("signed")) as desk:
        yield Shop(desk)


@contextmanager
def operated(desk: Desk, signing: Signing) -> Iterator[None]:
    """The same home under an operator with these keys, as a server that was started with them has it."""
    engine = desk.app.engine
    before = engine.shelf
    engine._shelf = Shelf(desk.app.database, engine.artifacts, engine.documents, signing)
    try:
        yield
    finally:
        engine._shelf = before


def signed_events(shop: Shop, made: dict[str, Any]) -> list[dict[str, Any]]:
    told = shop.done("list_bundles", view="events", bundle_id=made["bundle_id"], response_format="detailed")["events"]
    return [one for one in told if one["event_type"] == "BUNDLE_SIGNED"]


@pytest.fixture(scope="module")
def made(shop: Shop, keys: dict[str, Path]) -> dict[str, Any]:
    """A bundle that was published with the operator's key."""
    pytest.importorskip("model_signing", reason="bundles are signed with model-signing, the extra `signing`")
    with operated(shop.desk, Signing(key=keys["ours"])):
        return shop.done("publish_bundle", run_id=shop.passed(7))


def test_without_the_extra_a_key_refuses_to_publish_and_says_what_to_install(
    shop: Shop, keys: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    run_id = shop.passed(10)
    with operated(shop.desk, Signing(key=keys["ours"])):
        error = shop.refused("publish_bundle", run_id=run_id)
    assert (error["code"], error["details"]["reason"]) == ("EVIDENCE_INVALID", REASON)
    assert "mcp-forecast[signing]" in error["next_step"]
    assert shop.state(run_id) == "PASS"


def test_a_publication_is_signed_once_a_key_and_keeps_its_name(
    shop: Shop, keys: dict[str, Path], made: dict[str, Any]
) -> None:
    again = shop.done("publish_bundle", run_id=made["run_id"])
    assert (again["status"], again["manifest"]) == ("ALREADY_PUBLISHED", made["manifest"])
    for key in ("ours", "theirs", "theirs"):
        with operated(shop.desk, Signing(key=keys[key])):
            assert shop.done("publish_bundle", run_id=made["run_id"])["manifest"] == made["manifest"]
    names = [one["details"]["evidence"]["key"] for one in signed_events(shop, made)]
    assert len(names) == len({*names}) == 2
    assert shop.explained() == ()


def test_what_has_to_be_signed_is_promoted_and_gone_back_to_only_if_it_is(
    shop: Shop, keys: dict[str, Path], made: dict[str, Any], tmp_path: Path
) -> None:
    bare = shop.done("publish_bundle", run_id=shop.passed(8))
    place: dict[str, Any] = {"slot": "signed"}
    shop.done("promote_bundle", bundle_id=bare["bundle_id"], **place)
    shop.done("promote_bundle", bundle_id=made["bundle_id"], slot="other")
    with operated(shop.desk, Signing(required=keys["ours"].with_suffix(".pub"))):
        refused = shop.refused("promote_bundle", bundle_id=bare["bundle_id"], slot="other")
        assert (refused["code"], refused["details"]["reason"]) == ("EVIDENCE_INVALID", REASON)
        assert "is not signed by the key sha256:" in refused["message"]
        assert shop.done("promote_bundle", bundle_id=made["bundle_id"], slot="third")["status"] == "PROMOTED"
    with operated(shop.desk, Signing(required=pem(tmp_path, "stranger").with_suffix(".pub"))):
        for slot in ("fourth", "fifth"):
            error = shop.refused("promote_bundle", bundle_id=made["bundle_id"], slot=slot)
            assert error["details"]["reason"] == REASON
    longer = shop.done("publish_bundle", run_id=shop.passed(9))
    shop.done("promote_bundle", bundle_id=longer["bundle_id"], **place)
    with operated(shop.desk, Signing(required=keys["ours"].with_suffix(".pub"))):
        assert shop.refused("rollback_bundle", **place)["details"]["reason"] == REASON
    assert shop.done("list_bundles", **place)["active"][0]["bundle"].startswith(longer["bundle_id"])


def test_a_signature_of_another_file_list_or_with_another_byte_is_refused(
    shop: Shop, keys: dict[str, Path], made: dict[str, Any]
) -> None:
    signature = signed_events(shop, made)[-1]["details"]["evidence"]["signature"]
    with operated(shop.desk, Signing(required=keys["ours"].with_suffix(".pub"))), flipped(shop, signature):
        error = shop.refused("promote_bundle", bundle_id=made["bundle_id"], slot="sixth")
        assert (error["code"], error["details"]["file"]) == ("ARTIFACT_CORRUPT", "model.sig")


def tool(folder: Path, key: Path) -> subprocess.CompletedProcess[str]:
    """The specification's own command line."""
    command = (sys.executable, "-m", "model_signing", "verify", "key", str(folder), "--signature")
    told = (*command, str(folder / "model.sig"), "--public_key", str(key.with_suffix(".pub")))
    return subprocess.run(told, capture_output=True, text=True, timeout=60)


def test_an_exported_bundle_verifies_here_and_with_the_tool_of_the_specification_and_one_flipped_byte_does_not(
    shop: Shop, keys: dict[str, Path], made: dict[str, Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("MCP_FORECAST_HOME", str(shop.desk.app.settings.home))
    folder = tmp_path / "exported"
    assert main(["bundles", "export", str(folder), made["bundle_id"]]) == 0
    assert "signed" in capsys.readouterr().out
    assert main(["bundles", "export", str(folder), made["bundle_id"]]) == 2
    assert "is not empty" in capsys.readouterr().err
    first = signed_events(shop, made)[-1]["details"]["evidence"]["signature"]
    (folder / "model.sig").write_bytes(shop.desk.app.engine.artifacts.get(first))
    verify = ["bundles", "verify", str(folder), "--public-key", str(keys["ours"].with_suffix(".pub"))]
    assert main(verify) == 0
    assert "files as they were packaged; signed by" in capsys.readouterr().out
    assert tool(folder, keys["ours"]).returncode == 0
    assert tool(folder, keys["theirs"]).returncode != 0
    for path in sorted(folder.iterdir()):
        sound = path.read_bytes()
        middle = len(sound) // 2
        path.write_bytes(sound[:middle] + bytes([sound[middle] ^ 1]) + sound[middle + 1 :])
        assert main(verify) == 1, path.name
        # What bundle.json says of a file is believed until its signature is read: then that file is named.
        assert f"error: {path.name}: " in capsys.readouterr().err or path.name == "bundle.json"
        path.write_bytes(sound)
    weights = folder / "weights.safetensors"
    sound = weights.read_bytes()
    weights.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    assert "weights.safetensors" in tool(folder, keys["ours"]).stderr + tool(folder, keys["ours"]).stdout
    weights.write_bytes(sound)
    (folder / "more.json").write_bytes(b"{}")
    assert main(verify) == 1
    assert "more.json: it is no file of this bundle" in capsys.readouterr().err


def test_signatures_that_are_garbled_anywhere_are_refused_by_name(
    shop: Shop, keys: dict[str, Path], made: dict[str, Any], tmp_path: Path
) -> None:
    from mcp_forecast_engine.factory.signing import require_signed, sign_folder

    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a.json").write_bytes(b"{}")
    public = keys["ours"].with_suffix(".pub")
    signature = sign_folder(tmp_path / "m", keys["ours"])
    require_signed(tmp_path / "m", signature, public)
    broken = [signature[:at] + bytes([signature[at] ^ 1]) + signature[at + 1 :] for at in range(0, len(signature), 23)]
    for other in (b"", b"{}", b"\xff", b"[]", signature[:-9], *broken):
        with pytest.raises(CorridorRefused) as caught:
            require_signed(tmp_path / "m", other, public)
        assert caught.value.reason == REASON
        assert caught.value.message.startswith("model.sig: ")
    (tmp_path / "m" / "b.json").write_bytes(b"{}")
    with pytest.raises(CorridorRefused, match=r"b\.json"):
        require_signed(tmp_path / "m", signature, public)


def test_a_file_that_holds_no_such_key_is_refused_by_name(tmp_path: Path, keys: dict[str, Path]) -> None:
    pytest.importorskip("model_signing", reason="bundles are signed with model-signing, the extra `signing`")
    from mcp_forecast_engine.factory.signing import key_of

    assert key_of(keys["ours"]) == key_of(keys["ours"].with_suffix(".pub"))
    for content in (b"", b"-----BEGIN PRIVATE KEY-----\n", None):
        file = tmp_path / "bad.pem"
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(CorridorRefused, match=r"the key bad\.pem cannot be used"):
            key_of(file)


def test_the_signing_key_is_not_told_to_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mcp_forecast.settings import child_environment, read_settings

    monkeypatch.chdir(tmp_path)
    environ = {"MCP_FORECAST_HOME": "home", "MCP_FORECAST_SIGNING_KEY": "a.pem", "MCP_FORECAST_SIGNED_BY": "a.pub"}
    settings = read_settings(environ, tmp_path)
    assert settings.signing == Signing(tmp_path / "a.pem", tmp_path / "a.pub")
    assert child_environment(replace(settings))["MCP_FORECAST_SIGNING_KEY"] == ""

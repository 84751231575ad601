"""Bundles signed with the operator's key: OpenSSF model signing, read by its own tool too (extra `signing`)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bit_flips import flipped
from conftest import Desk
from shop import Shop, opened_shop
from signing_toys import pem

from mcp_forecast.app import open_app
from mcp_forecast.cli import main
from mcp_forecast_engine.errors import CorridorRefused
from mcp_forecast_engine.ports import Signing
from mcp_forecast_engine.registry import lifecycle
from mcp_forecast_engine.registry.bundles import BundleRef
from mcp_forecast_engine.registry.events import Order
from mcp_forecast_engine.registry.scope import Scope
from mcp_forecast_engine.registry.shelf import Shelf
from mcp_forecast_engine.store.artifacts import ArtifactStore

REASON = "BUNDLE_SIGNATURE_INVALID"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("keys")
    return {name: pem(place, name) for name in ("ours", "theirs")}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with opened_shop(tmp_path_factory) as made:
        yield made


@contextmanager
def operated(shop: Shop, **keys: Path) -> Iterator[None]:
    """The same home under an operator whose settings name these keys: another server on it."""
    before = shop.desk
    named = {setting: str(file) for setting, file in keys.items()}
    shop.desk = Desk(open_app(replace(before.app.settings, workers=0, **named)), before.portal)
    try:
        yield
    finally:
        shop.desk.app.close()
        shop.desk = before


def signed_events(shop: Shop, made: dict[str, Any]) -> list[dict[str, Any]]:
    told = shop.done("list_bundles", view="events", bundle_id=made["bundle_id"], response_format="detailed")["events"]
    return [one for one in told if one["event_type"] == "BUNDLE_SIGNED"]


@pytest.fixture(scope="module")
def made(shop: Shop, keys: dict[str, Path]) -> dict[str, Any]:
    """A bundle that was published with the operator's key."""
    pytest.importorskip("model_signing", reason="bundles are signed with model-signing, the extra `signing`")
    run_id = shop.passed(8)
    with operated(shop, signing_key=keys["ours"]):
        return shop.done("publish_bundle", run_id=run_id)


@pytest.fixture(scope="module")
def unsigned(shop: Shop) -> str:
    """Another run that passed, which no operator with a key published."""
    return shop.passed(7)


def test_without_the_extra_a_key_refuses_to_publish_and_says_what_to_install(
    shop: Shop, keys: dict[str, Path], unsigned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    state = shop.state(unsigned)
    with operated(shop, signing_key=keys["ours"]):
        error = shop.refused("publish_bundle", run_id=unsigned)
    assert (error["code"], error["details"]["reason"]) == ("EVIDENCE_INVALID", REASON)
    assert "mcp-forecast[signing]" in error["next_step"]
    assert shop.state(unsigned) == state


def test_a_publication_is_signed_once_a_key_and_keeps_its_name(
    shop: Shop, keys: dict[str, Path], made: dict[str, Any]
) -> None:
    again = shop.done("publish_bundle", run_id=made["run_id"])
    assert (again["status"], again["manifest"]) == ("ALREADY_PUBLISHED", made["manifest"])
    for key in ("ours", "theirs", "theirs"):
        with operated(shop, signing_key=keys[key]):
            assert shop.done("publish_bundle", run_id=made["run_id"])["manifest"] == made["manifest"]
    names = [one["details"]["evidence"]["key"] for one in signed_events(shop, made)]
    assert len(names) == len({*names}) == 2
    assert shop.explained() == ()


def test_what_has_to_be_signed_is_promoted_and_gone_back_to_only_if_it_is(
    shop: Shop, keys: dict[str, Path], made: dict[str, Any], unsigned: str, tmp_path: Path
) -> None:
    bare = shop.done("publish_bundle", run_id=unsigned)
    place: dict[str, Any] = {"slot": "signed"}
    shop.done("promote_bundle", bundle_id=bare["bundle_id"], **place)
    shop.done("promote_bundle", bundle_id=made["bundle_id"], **place)
    with operated(shop, signed_by=keys["ours"].with_suffix(".pub")):
        refused = shop.refused("promote_bundle", bundle_id=bare["bundle_id"], slot="other")
        assert (refused["code"], refused["details"]["reason"]) == ("EVIDENCE_INVALID", REASON)
        assert "is not signed by the key sha256:" in refused["message"]
        assert shop.done("promote_bundle", bundle_id=made["bundle_id"], slot="third")["status"] == "PROMOTED"
        assert shop.refused("rollback_bundle", **place)["details"]["reason"] == REASON
    with operated(shop, signed_by=pem(tmp_path, "stranger").with_suffix(".pub")):
        error = shop.refused("promote_bundle", bundle_id=made["bundle_id"], slot="fourth")
        assert error["details"]["reason"] == REASON
    assert shop.done("list_bundles", **place)["active"][0]["bundle"].startswith(made["bundle_id"])
    borrowed = signed_events(shop, made)[-1]["details"]["evidence"]
    with shop.desk.app.database.command() as connection:  # by hand: the signature of other files, under our key's name
        ref = BundleRef(bare["bundle_id"], bare["version"])
        named = {part: borrowed[part] for part in ("key", "signature")}
        lifecycle.sign(connection, Scope(), ref, Order("somebody", 1.0), **named)
    with operated(shop, signed_by=keys["ours"].with_suffix(".pub")):
        error = shop.refused("promote_bundle", bundle_id=bare["bundle_id"], slot="fifth")
        assert (error["code"], error["details"]["reason"]) == ("EVIDENCE_INVALID", REASON)
        assert error["message"].startswith("model.sig: ")


def test_a_signature_of_another_file_list_or_with_another_byte_is_refused(
    shop: Shop, keys: dict[str, Path], made: dict[str, Any]
) -> None:
    signature = signed_events(shop, made)[-1]["details"]["evidence"]["signature"]
    with (
        operated(shop, signed_by=keys["ours"].with_suffix(".pub")),
        flipped(shop.desk.app.engine.artifacts.path(signature)),
    ):
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
    assert "is there already" in capsys.readouterr().err
    first = signed_events(shop, made)[-1]["details"]["evidence"]["signature"]
    (folder / "model.sig").write_bytes(shop.desk.app.engine.artifacts.get(first))
    verify = ["bundles", "verify", str(folder), "--public-key", str(keys["ours"].with_suffix(".pub"))]
    assert main(verify) == 0
    assert "files as they were packaged; signed by" in capsys.readouterr().out
    assert tool(folder, keys["ours"]).returncode == 0
    assert tool(folder, keys["theirs"]).returncode != 0
    for path in sorted(folder.iterdir()):
        with flipped(path):
            assert main(verify) == 1, path.name
        # What bundle.json says of a file is believed until its signature is read: then that file is named.
        assert f"error: {path.name}: " in capsys.readouterr().err or path.name == "bundle.json"
    with flipped(folder / "weights.safetensors"):
        told = tool(folder, keys["ours"])
    assert "weights.safetensors" in told.stderr + told.stdout
    more = folder / "more.json"
    more.write_bytes(b"{}")
    assert main(verify) == 1
    assert "more.json: it is no file of this bundle" in capsys.readouterr().err
    more.unlink()
    (folder / "model.sig").unlink()
    assert main(verify) == 1
    assert f"{folder} has no model.sig" in capsys.readouterr().err
    assert main(verify[:-2]) == 0
    assert "the signature was not checked: name a --public-key" in capsys.readouterr().out


def test_a_key_that_cannot_be_used_says_nothing_about_the_bundle(
    tmp_path: Path, keys: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MCP_FORECAST_HOME", str(tmp_path))
    bad = tmp_path / "bad.pem"
    bad.write_bytes(b"")
    verify = ["bundles", "verify", str(tmp_path / "no bundle"), "--public-key"]
    assert main([*verify, str(bad)]) == 2
    assert "the key bad.pem cannot be used" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "model_signing", None)
    assert main([*verify, str(keys["ours"].with_suffix(".pub"))]) == 2
    assert "mcp-forecast[signing]" in capsys.readouterr().err
    assert main(verify[:-1]) == 1
    assert "bundle.json: it is missing" in capsys.readouterr().err


def test_an_export_that_is_refused_leaves_no_folder(
    shop: Shop, made: dict[str, Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("MCP_FORECAST_HOME", str(shop.desk.app.settings.home))
    artifacts = shop.desk.app.engine.artifacts
    signature = signed_events(shop, made)[0]["details"]["evidence"]["signature"]
    weights = next(
        file["sha256"] for file in json.loads(artifacts.get(made["manifest"]))["files"] if "weights" in file["name"]
    )
    for name, digest in (("model.sig", signature), ("weights.safetensors", weights)):
        with flipped(artifacts.path(digest)):
            assert main(["bundles", "export", str(tmp_path / "out"), made["bundle_id"]]) == 2
        assert f"error: {name}: " in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_bytes(b"")
    assert main(["bundles", "export", str(tmp_path / "file" / "out"), made["bundle_id"]]) == 2
    assert "out: " in capsys.readouterr().err


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


def test_what_has_to_be_signed_answers_only_if_it_is_also_where_it_was_active_before(
    shop: Shop, keys: dict[str, Path], made: dict[str, Any]
) -> None:
    bare = shop.done("publish_bundle", run_id=shop.passed(10))
    for bundle, slot in ((bare, "bare"), (made, "signed")):
        shop.done("promote_bundle", bundle_id=bundle["bundle_id"], mode="answers", slot=slot)
    with operated(shop, signed_by=keys["ours"].with_suffix(".pub")):
        for asked in ({"bundle_id": bare["bundle_id"]}, {"mode": "answers", "slot": "bare"}):
            error = shop.refused("run_inference", **asked)
            assert (error["code"], error["details"]["reason"]) == ("EVIDENCE_INVALID", REASON)
            assert error["next_step"].startswith("publish_bundle again where the operator's key is set")
        for asked in ({"bundle_id": made["bundle_id"]}, {"mode": "answers", "slot": "signed"}):
            assert shop.done("run_inference", **asked)["state"] == "SUCCEEDED"
        # The signature was checked: from here on only the files are, and a byte of them still matters.
        signature = signed_events(shop, made)[-1]["details"]["evidence"]["signature"]
        with flipped(shop.desk.app.engine.artifacts.path(signature)):
            assert shop.done("run_inference", bundle_id=made["bundle_id"])["state"] == "SUCCEEDED"
        artifacts = shop.desk.app.engine.artifacts
        document = json.loads(artifacts.get(made["manifest"]))
        leakage = next(one["sha256"] for one in document["files"] if one["name"] == "leakage.json")
        with flipped(artifacts.path(leakage)):
            assert shop.refused("run_inference", bundle_id=made["bundle_id"])["details"]["file"] == "leakage.json"


class Counted(ArtifactStore):
    """A store that says how often each of its files was read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads: Counter[str] = Counter()

    def get(self, digest: str) -> bytes:
        self.reads[digest] += 1
        return super().get(digest)


def test_signing_reads_a_file_once_more_than_packaging_and_checking_reads_it_once(
    shop: Shop, keys: dict[str, Path], made: dict[str, Any], tmp_path: Path
) -> None:
    engine, database = shop.desk.app.engine, shop.desk.app.database
    document = json.loads(engine.artifacts.get(made["manifest"]))
    model = next(one["sha256"] for one in document["files"] if one["name"] == "model.onnx")
    store = Counted(engine.artifacts.path(model).parent.parent)
    fresh = pem(tmp_path, "fresh")
    draft = Shelf(database, store, engine.documents, Signing(key=fresh)).prepare(made["run_id"])
    assert draft.signed is not None
    assert store.reads[model] == 2
    store.reads.clear()
    public = keys["ours"].with_suffix(".pub")
    checking = Shelf(database, store, engine.documents, Signing(required=public))
    for reads in (1, 2):
        checking.verified(made["bundle_id"], None)
        assert store.reads[model] == reads


def test_the_signing_key_is_not_told_to_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mcp_forecast.settings import child_environment, read_settings

    monkeypatch.chdir(tmp_path)
    environ = {"MCP_FORECAST_HOME": "home", "MCP_FORECAST_SIGNING_KEY": "a.pem", "MCP_FORECAST_SIGNED_BY": "a.pub"}
    settings = read_settings(environ, tmp_path)
    assert settings.signing == Signing(tmp_path / "a.pem", tmp_path / "a.pub")
    assert child_environment(replace(settings))["MCP_FORECAST_SIGNING_KEY"] == ""

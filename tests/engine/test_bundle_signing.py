"""Signatures of folders: which keys make and read them, and what is said where one cannot."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from signing_toys import other_kinds, pem

from mcp_forecast_engine.errors import CorridorRefused, StoreUnavailable
from mcp_forecast_engine.factory.signing import key_of, require_signed, sign_folder

pytest.importorskip("model_signing", reason="bundles are signed with model-signing, the extra `signing`")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return pem(tmp_path, "ours")


def test_keys_that_sign_no_bundle_are_refused_without_saying_where_they_are(key: Path, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a.json").write_bytes(b"{}")
    signature = sign_folder(tmp_path / "m", key)
    calls: list[Callable[[], object]] = []
    for name, other in other_kinds().items():
        private = pem(tmp_path, name, other)
        calls += [
            partial(key_of, private), partial(sign_folder, tmp_path / "m", private),
            partial(require_signed, tmp_path / "m", signature, private.with_suffix(".pub")),
        ]  # fmt: skip
    gone, public = tmp_path / "gone.pem", key.with_suffix(".pub")
    calls += [partial(key_of, gone), partial(sign_folder, tmp_path / "m", gone)]
    calls += [partial(sign_folder, tmp_path / "m", public)]
    calls += [partial(require_signed, tmp_path / "m", signature, key)]
    for call in calls:
        with pytest.raises(CorridorRefused, match=r"the key \w+\.p\w+ cannot be used: ") as caught:
            call()
        assert str(tmp_path) not in f"{caught.value.message} {caught.value.next_step}"


def test_a_full_temporary_disk_is_said_to_be_that_and_no_fault_of_the_key(
    key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(StoreUnavailable, match="cannot work in a temporary folder: No such file"):
        sign_folder(tmp_path, key)


def test_nothing_of_the_library_reaches_standard_output_and_a_broken_signature_is_not_signed_again(
    key: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a.json").write_bytes(b"{}")
    public = key.with_suffix(".pub")
    told = json.loads(sign_folder(tmp_path / "m", key))
    del told["verificationMaterial"]["publicKey"]["hint"]
    require_signed(tmp_path / "m", json.dumps(told).encode(), public)
    out, err = capfd.readouterr()
    assert (out, "WARNING" in err.upper()) == ("", True)
    with pytest.raises(CorridorRefused) as caught:
        require_signed(tmp_path / "m", b"{}", public)
    assert caught.value.next_step is not None
    assert caught.value.next_step.startswith("restore the bundle's files and its signature from a backup")

"""A checkpoint is a signed note with one spelling: every bit of it counts, and others can check it."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_forecast_audit.checkpoint import (
    Checkpoint,
    NoteInvalid,
    Signer,
    keys_of,
    parse_key,
    read_note,
    verified_note,
)

ORIGIN = "mcp-forecast/home_0123"
SIGNER = Signer(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
CHECKPOINT = Checkpoint(ORIGIN, 512, hashlib.sha256(b"root").digest(), 1795262400.25, 256)
NOTE = SIGNER.note(CHECKPOINT)
KEYS = {SIGNER.public.key_id: SIGNER.public}


def test_a_note_reads_back_and_its_signer_is_known() -> None:
    assert verified_note(NOTE, KEYS) == (CHECKPOINT, SIGNER.public)
    assert read_note(NOTE) == CHECKPOINT


def test_the_form_is_that_of_c2sp_and_can_be_checked_by_hand() -> None:
    text, _, signature = NOTE.partition("\n\n")
    assert text.splitlines()[:3] == [ORIGIN, "512", base64.b64encode(CHECKPOINT.root).decode()]
    dash, name, line = signature.split()
    raw = base64.b64decode(line)
    public = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key().public_bytes_raw()
    key_hash = hashlib.sha256(name.encode() + b"\n\x01" + public).digest()[:4]
    assert (dash, name, raw[:4]) == ("—", ORIGIN, key_hash)
    Ed25519PublicKey.from_public_bytes(public).verify(raw[4:], (text + "\n").encode())


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(NOTE.encode()) * 8 - 1))
def test_a_note_with_one_bit_changed_is_refused(bit: int) -> None:
    changed = bytearray(NOTE.encode())
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(NoteInvalid):
        verified_note(changed.decode("utf-8", "surrogateescape"), KEYS)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(SIGNER.public.vkey) * 8 - 1))
def test_a_public_key_with_one_bit_changed_is_refused(bit: int) -> None:
    changed = bytearray(SIGNER.public.vkey.encode())
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(NoteInvalid):
        parse_key(changed.decode("utf-8", "surrogateescape"))


def test_a_note_of_an_unknown_key_is_refused_whatever_it_says() -> None:
    other = Signer(ORIGIN, Ed25519PrivateKey.generate())
    with pytest.raises(NoteInvalid, match="none of the known keys"):
        verified_note(other.note(CHECKPOINT), KEYS)


@pytest.mark.parametrize("size", ["0512", "+512", "5_12", "٥١٢"])
def test_a_number_in_another_spelling_is_no_checkpoint(size: str) -> None:
    with pytest.raises(NoteInvalid):
        read_note(NOTE.replace("\n512\n", f"\n{size}\n"))


def test_keys_are_read_one_a_line() -> None:
    assert keys_of([SIGNER.public.vkey, "", " "]) == KEYS
    with pytest.raises(NoteInvalid, match="one line"):
        keys_of(["ssh-ed25519 AAAA"])

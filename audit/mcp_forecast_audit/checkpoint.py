"""A signed checkpoint: this log, so many entries, this root. Text that anyone can keep and check anywhere.

The form is C2SP's tlog-checkpoint (a signed note: https://c2sp.org/tlog-checkpoint, https://c2sp.org/signed-note) with
two extension lines, so that nothing of a stored checkpoint is unsigned:

    mcp-forecast/home_0123…          origin, also the key's name
    512                              entries
    p9LZ…=                           root, base64
    at 1795262400.25                 when it was made, seconds since 1970
    after 256                        the size of the checkpoint before it, 0 for the first
    (empty)
    — mcp-forecast/home_0123… q83v…  key hash and Ed25519 signature, base64

Keep the newest checkpoint and the public key where who runs the home cannot change them: who holds the signing key can
write another log and sign it, and only what was kept elsewhere contradicts it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_ED25519: Final = b"\x01"
_NOTE: Final = re.compile(
    r"(?P<text>(?P<origin>[!-*,-~]+)\n(?P<size>0|[1-9][0-9]{0,15})\n(?P<root>[A-Za-z0-9+/]{43}=)\n"
    r"at (?P<at>[0-9]+\.[0-9]+)\nafter (?P<after>0|[1-9][0-9]{0,15})\n)\n"
    r"— (?P<name>[!-*,-~]+) (?P<signature>[A-Za-z0-9+/]{91}=)\n"
)
_KEY: Final = re.compile(r"(?P<name>[!-*,-~]+)\+(?P<key_id>[0-9a-f]{8})\+(?P<key>[A-Za-z0-9+/]{44})")


class NoteInvalid(ValueError):
    """A checkpoint or public key is not what it has to be: says what was found."""


@dataclass(frozen=True)
class Checkpoint:
    """What is signed. size: entries; root: 32 bytes; at: seconds since 1970; after: size of the one before."""

    origin: str
    size: int
    root: bytes
    at: float
    after: int

    def text(self) -> str:
        """The lines that are signed."""
        root = base64.b64encode(self.root).decode()
        return f"{self.origin}\n{self.size}\n{root}\nat {self.at!r}\nafter {self.after}\n"


@dataclass(frozen=True)
class PublicKey:
    """A key that checks checkpoints; `raw` is its 32 bytes."""

    name: str
    raw: bytes

    @property
    def key_id(self) -> str:
        """The first four bytes of SHA-256(name, newline, 0x01, key), in hexadecimal (C2SP signed-note)."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.raw).digest()[:4].hex()

    @property
    def vkey(self) -> str:
        """One line: name+hash+key, as C2SP writes public keys."""
        return f"{self.name}+{self.key_id}+{base64.b64encode(_ED25519 + self.raw).decode()}"


@dataclass(frozen=True)
class Signer:
    """A key that signs checkpoints under a name."""

    name: str
    private: Ed25519PrivateKey

    @property
    def public(self) -> PublicKey:
        """What others check with."""
        return PublicKey(self.name, self.private.public_key().public_bytes_raw())

    def note(self, checkpoint: Checkpoint) -> str:
        """The checkpoint with its signature."""
        text, public = checkpoint.text(), self.public
        signature = base64.b64encode(bytes.fromhex(public.key_id) + self.private.sign(text.encode())).decode()
        return f"{text}\n— {public.name} {signature}\n"


def read_note(note: str) -> Checkpoint:
    """What a note says, its signature unchecked. Raises NoteInvalid where it is not written in its one form."""
    return _parsed(note)[0]


def verified_note(note: str, keys: Mapping[str, PublicKey]) -> tuple[Checkpoint, PublicKey]:
    """What a note says, and the key among `keys` (by key id) that signed it. Raises NoteInvalid."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    checkpoint, name, signature = _parsed(note)
    key = keys.get(signature[:4].hex())
    if key is None or key.name != name:
        raise NoteInvalid(f"signed by {name} {signature[:4].hex()}, which is none of the known keys")
    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(signature[4:], checkpoint.text().encode())
    except (InvalidSignature, ValueError) as error:
        raise NoteInvalid(f"the signature is not that of {name} {key.key_id}") from error
    return checkpoint, key


def parse_key(line: str) -> PublicKey:
    """The public key in a line `name+hash+key`. Raises NoteInvalid."""
    found = _KEY.fullmatch(line.strip())
    raw = base64.b64decode(found["key"]) if found else b""
    if found is None or raw[:1] != _ED25519:
        raise NoteInvalid(f"{line.strip()[:100]!a} is no Ed25519 public key; it is one line: name+hash+key")
    key = PublicKey(found["name"], raw[1:])
    if key.vkey != line.strip():
        raise NoteInvalid(f"the public key of {key.name} has the hash {key.key_id}, not {found['key_id']}")
    return key


def keys_of(lines: Iterable[str]) -> dict[str, PublicKey]:
    """Public keys by their id, one a line; empty lines do not count. Raises NoteInvalid."""
    found = [parse_key(line) for line in lines if line.strip()]
    return {key.key_id: key for key in found}


def _parsed(note: str) -> tuple[Checkpoint, str, bytes]:
    found = _NOTE.fullmatch(note)
    if found is None:
        raise NoteInvalid("no signed checkpoint of this kind")
    try:
        root, signature = (base64.b64decode(found[name], validate=True) for name in ("root", "signature"))
    except binascii.Error as error:
        raise NoteInvalid("no signed checkpoint of this kind") from error
    checkpoint = Checkpoint(found["origin"], int(found["size"]), root, float(found["at"]), int(found["after"]))
    # Base64 and numbers have more than one spelling; a note has one, so that no bit of it can change unseen.
    if checkpoint.text() != found["text"] or base64.b64encode(signature).decode() != found["signature"]:
        raise NoteInvalid("no signed checkpoint of this kind: not in its one spelling")
    return checkpoint, found["name"], signature

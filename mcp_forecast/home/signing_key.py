"""The key that signs a home's checkpoints: made once, kept in a file that only its owner can read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mcp_forecast_audit.checkpoint import NoteInvalid, PublicKey, Signer, keys_of
from mcp_forecast_engine.store.durable import OWN, SHARED, place_file, replace_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY: Final = "audit.key"
PUBLIC: Final = "audit.pub"


class KeyUnsafe(ValueError):
    """The key file cannot be trusted: says which file, what was found and what helps."""


def signer_of(home: Path, origin: str) -> Signer:
    """The signer of this home; its key is made on first use. Raises KeyUnsafe for a file others can read, OSError."""
    path = home / KEY
    if not path.exists():
        place_file(path, _new_key(), mode=OWN)
    signer = Signer(origin, _read(path))
    _announce(home / PUBLIC, signer.public)
    return signer


def public_keys(home: Path) -> dict[str, PublicKey]:
    """The keys that have signed for this home, by key id; none where none has. Raises KeyUnsafe, OSError."""
    path = home / PUBLIC
    try:
        return keys_of(path.read_text(encoding="utf-8").splitlines())
    except FileNotFoundError:
        return {}
    except (NoteInvalid, UnicodeDecodeError) as error:
        raise KeyUnsafe(f"{path} holds what is no public key: {error}") from error


def _new_key() -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _read(path: Path) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode & 0o777
        pem = file.read(4096)
    if mode & 0o077:
        raise KeyUnsafe(f"{path} has mode {mode:04o}, which others can read; chmod 600 it, or move it for a new one")
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyUnsafe(f"{path} holds no key; move it away for a new one") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyUnsafe(f"{path} holds no Ed25519 key; move it away for a new one")
    return key


def _announce(path: Path, key: PublicKey) -> None:
    """Have the public key in the file beside it; keys that signed before stay there."""
    try:
        lines = path.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        lines = []
    if key.vkey in lines:
        return
    replace_file(path, "".join(f"{line}\n" for line in [*lines, key.vkey]).encode(), mode=SHARED)

"""A bundle signed with the operator's key, as the OpenSSF model signing specification wants it (extra `signing`).

What is signed is the list of the bundle's files, bundle.json among them, by digest; the signature is a Sigstore bundle
that `model_signing verify key` reads too. Nothing is asked of any network.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from mcp_forecast_engine.errors import CorridorRefused
from mcp_forecast_engine.factory.bundle_folder import SIGNATURE
from mcp_forecast_engine.store.identity import digest_of_bytes

REASON: Final = "BUNDLE_SIGNATURE_INVALID"
_KEYS: Final = "a PEM file without a password, of an elliptic curve: P-256, P-384 or P-521"


def sign_folder(folder: Path, key: Path) -> bytes:
    """The signature of a folder's files. Raises CorridorRefused where the key or the extra cannot be used."""
    with _usable(key), tempfile.TemporaryDirectory() as beside:
        from model_signing import hashing, signing

        ours = hashing.Config().set_ignored_paths(paths=[SIGNATURE])
        made = Path(beside) / SIGNATURE
        signing.Config().use_elliptic_key_signer(private_key=key).set_hashing_config(ours).sign(folder, made)
        return made.read_bytes()


def require_signed(folder: Path, signature: bytes, public_key: Path) -> None:
    """Refuse a folder whose files are not those that were signed, or that were signed by another key.

    Raises CorridorRefused.
    """
    key_of(public_key)
    from cryptography.exceptions import InvalidSignature
    from model_signing import hashing, verifying

    ours = hashing.Config().set_ignored_paths(paths=[SIGNATURE])
    with tempfile.TemporaryDirectory() as beside:
        sent = Path(beside) / SIGNATURE
        sent.write_bytes(signature)
        try:
            verifying.Config().use_elliptic_key_verifier(public_key=public_key).set_hashing_config(ours).verify(
                folder, sent
            )
        except (ValueError, KeyError, IndexError, TypeError, InvalidSignature) as error:
            raise invalid(f"{SIGNATURE}: {error or type(error).__name__}") from error


def signed_by(signature: bytes) -> str:
    """The name of the key that a signature says made it: the SHA-256 of its public key."""
    told: Any = json.loads(signature)
    return f"sha256:{told['verificationMaterial']['publicKey']['hint']}"


def key_of(file: Path) -> str:
    """The name of a key, from its private or its public file. Raises CorridorRefused."""
    with _usable(file):
        import model_signing  # noqa: F401  # what is missing is said before anything is read
        from cryptography.hazmat.primitives import serialization as forms

        pem = file.read_bytes()
        if b"PUBLIC KEY" in pem:
            public: Any = forms.load_pem_public_key(pem)
        else:
            public = forms.load_pem_private_key(pem, None).public_key()
        return digest_of_bytes(public.public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo))


def invalid(what: str) -> CorridorRefused:
    """The refusal of a signature that is missing or is not right."""
    return CorridorRefused(
        REASON, what, allowed="the signature of this bundle's files by the operator's key", details={"file": SIGNATURE},
        next_step="publish_bundle again where the operator's key is set: it signs what is published; a bundle whose "
        "files were changed comes back from a backup",
    )  # fmt: skip


@contextmanager
def _usable(key: Path) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise CorridorRefused(
            REASON, f"bundles are signed with a library that is not installed ({error.name})",
            next_step="pip install 'mcp-forecast[signing]', or take the key out of the settings",
        ) from error  # fmt: skip
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CorridorRefused(
            REASON, f"the key {key.name} cannot be used: {error}", allowed=_KEYS,
            next_step="openssl ecparam -name prime256v1 -genkey -noout makes a key; name its file in the settings",
        ) from error  # fmt: skip

"""A bundle signed with the operator's key, as the OpenSSF model signing specification wants it (extra `signing`).

What is signed is the list of the bundle's files, bundle.json among them, by digest; the signature is a Sigstore bundle
that `model_signing verify key` reads too. Nothing is asked of any network.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Final

from mcp_forecast_engine.errors import CorridorRefused
from mcp_forecast_engine.factory.bundle_file import SIGNATURE
from mcp_forecast_engine.factory.bundle_folder import scratch
from mcp_forecast_engine.store.identity import digest_of_bytes

REASON: Final = "BUNDLE_SIGNATURE_INVALID"
_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")
_PRINTING: Final = threading.Lock()
_KEYS: Final = "a PEM file without a password, of an elliptic curve: P-256, P-384 or P-521"


def sign_folder(folder: Path, key: Path) -> bytes:
    """The signature of a folder's files.

    Raises CorridorRefused where the key or the extra cannot be used, StoreUnavailable.
    """
    key_of(key)
    from model_signing import hashing, signing

    with _usable(key):
        signer = signing.Config().use_elliptic_key_signer(private_key=key)
    ours = hashing.Config().set_ignored_paths(paths=[SIGNATURE])
    with scratch() as beside, _off_the_wire():
        signer.set_hashing_config(ours).sign(folder, beside / SIGNATURE)
        return (beside / SIGNATURE).read_bytes()


def require_signed(folder: Path, signature: bytes, public_key: Path) -> None:
    """Refuse a folder whose files are not those that were signed, or that were signed by another key.

    Raises CorridorRefused, StoreUnavailable.
    """
    key_of(public_key)
    from cryptography.exceptions import InvalidSignature
    from model_signing import hashing, verifying

    with _usable(public_key):
        verifier = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    ours = hashing.Config().set_ignored_paths(paths=[SIGNATURE])
    with scratch() as beside, _off_the_wire():
        sent = beside / SIGNATURE
        sent.write_bytes(signature)
        try:
            verifier.set_hashing_config(ours).verify(folder, sent)
        except (ValueError, KeyError, IndexError, TypeError, InvalidSignature) as error:
            raise broken(f"{SIGNATURE}: {error or type(error).__name__}") from error


def key_of(file: Path) -> str:
    """The name of a key, from its private or its public file. Raises CorridorRefused."""
    with _usable(file):
        import model_signing  # noqa: F401  # what is missing is said before anything is read
        from cryptography.hazmat.primitives import serialization as forms
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

        pem = file.read_bytes()
        if b"PUBLIC KEY" in pem:
            public: Any = forms.load_pem_public_key(pem)
        else:
            public = forms.load_pem_private_key(pem, None).public_key()
        if not isinstance(public, EllipticCurvePublicKey) or public.curve.name not in _CURVES:
            raise ValueError("it is of another kind")
        return digest_of_bytes(public.public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo))


def missing(what: str) -> CorridorRefused:
    """The refusal of a bundle that the key has not signed."""
    return _invalid(what, "publish_bundle again where the operator's key is set: it signs what is published")


def broken(what: str) -> CorridorRefused:
    """The refusal of a signature that is not of these files, or not of this key."""
    return _invalid(
        what, "restore the bundle's files and its signature from a backup: a key signs a bundle once, and publishing "
        "again keeps that signature",
    )  # fmt: skip


def _invalid(what: str, next_step: str) -> CorridorRefused:
    return CorridorRefused(
        REASON, what, allowed="the signature of this bundle's files by the operator's key", details={"file": SIGNATURE},
        next_step=next_step,
    )  # fmt: skip


@contextmanager
def _off_the_wire() -> Iterator[None]:
    """The library prints warnings on standard output, which may be the wire to a client."""
    with _PRINTING, redirect_stdout(sys.stderr):  # the redirection is the whole process's: one at a time
        yield


@contextmanager
def _usable(key: Path) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise CorridorRefused(
            REASON, f"bundles are signed with a library that is not installed ({error.name})",
            next_step="pip install 'mcp-forecast[signing]', or take the key out of the settings",
        ) from error  # fmt: skip
    except (OSError, ValueError, TypeError) as error:
        why = error.strerror if isinstance(error, OSError) else error  # its text would tell callers where the key is
        raise CorridorRefused(
            REASON, f"the key {key.name} cannot be used: {why}", allowed=_KEYS,
            next_step="openssl ecparam -name prime256v1 -genkey -noout makes a key; name its file in the settings",
        ) from error  # fmt: skip

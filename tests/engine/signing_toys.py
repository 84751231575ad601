"""Keys of operators, as files: made with the library that reads them, of a kind that signs bundles or of another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization as forms
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa


def pem(place: Path, name: str, key: Any = None) -> Path:
    """A private key of an operator, with its public one beside it as `.pub`. key: None for a new one of P-256."""
    key, path = key or ec.generate_private_key(ec.SECP256R1()), place / f"{name}.pem"
    path.write_bytes(key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption()))
    shown = key.public_key().public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo)
    path.with_suffix(".pub").write_bytes(shown)
    return path


def other_kinds() -> dict[str, Any]:
    """Private keys that sign no bundle."""
    return {
        "rsa": rsa.generate_private_key(65537, 2048),
        "ed25519": ed25519.Ed25519PrivateKey.generate(),
        "secp256k1": ec.generate_private_key(ec.SECP256K1()),
    }

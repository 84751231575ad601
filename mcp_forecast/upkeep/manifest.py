"""What a backup says about itself: its manifest, and the names of the files in a home and in a backup of it."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from mcp_forecast.home.signing_key import PUBLIC
from mcp_forecast_engine.store.identity import ALGORITHM, canonical_bytes, digest_of_bytes

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
DATABASE: Final = "forecast.db"  # in a backup always SQLite, whatever the home's database is
ARTIFACTS: Final = "artifacts"
CHECKPOINTS: Final = "checkpoints"
_FILE: Final = re.compile(rf"{DATABASE}|{PUBLIC}|{CHECKPOINTS}/[\w-][\w.-]*")  # no way out of the folder


class BackupInvalid(ValueError):
    """A backup cannot be used: says what was found, and what a whole one has."""


class PlaceTaken(ValueError):
    """A backup or a home cannot be made there: says what is in the way, and what to name or move instead."""


@dataclass(frozen=True)
class Manifest:
    """What is in a backup. made_at: seconds since 1970; sizes in bytes; digests as `sha256:<hex>`.

    sealed: entries under the signed checkpoint beside it. files: the digest of every file but the artifacts, which
    are their own; artifact_list: the digest of their sorted digests, one a line. damaged: artifacts that rows name and
    that were missing or changed in the home.
    """

    schema: str
    version: str
    home_id: str
    made_at: float
    entries: int
    sealed: int
    rows: dict[str, int]
    files: dict[str, str]
    artifacts: int
    artifact_bytes: int
    artifact_list: str
    damaged: list[str]
    format: int = FORMAT

    def body(self) -> bytes:
        """The canonical bytes that are written."""
        return canonical_bytes(asdict(self))


def list_digest(digests: tuple[str, ...]) -> str:
    """The digest of a list of digests."""
    return digest_of_bytes("\n".join(sorted(digests)).encode())


def file_digest(path: Path) -> str:
    """The digest of a file of any size. Raises OSError."""
    with path.open("rb") as file:
        return f"{ALGORITHM}:{hashlib.file_digest(file, ALGORITHM).hexdigest()}"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a backup whose files are as it says; artifacts are not looked at. Raises BackupInvalid."""
    try:
        found: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
        if found["format"] != FORMAT:
            raise BackupInvalid(f"the backup has format {found['format']}, this version reads {FORMAT}")
        manifest = Manifest(**{field.name: found[field.name] for field in fields(Manifest)})
        if strange := [name for name in manifest.files if not _FILE.fullmatch(name)]:
            raise BackupInvalid(f"the manifest names files that no backup has: {strange[0]!r}")
        wrong = [name for name, digest in manifest.files.items() if file_digest(folder / name) != digest]
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, BackupInvalid):
            raise
        raise BackupInvalid(f"{folder} is no whole backup: {type(error).__name__} {error}") from error
    if wrong:
        raise BackupInvalid(f"changed since the backup was made: {', '.join(wrong)}")
    return manifest

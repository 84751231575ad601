"""A bundle as a folder of files: written from the store for who has no home, and checked there without one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mcp_forecast_engine.errors import StoreUnavailable
from mcp_forecast_engine.factory.bundle_file import (
    FILE,
    SIGNATURE,
    bound_bundle,
    changed_file,
    read_bundle_file,
    read_listed,
    require_bound,
    require_size,
)
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.identity import digest_of_bytes


def lay_out(data: bytes, artifacts: ArtifactStore, folder: Path) -> dict[str, Any]:
    """Write every file of a bundle under its name into an empty folder, and return its document.

    data: its bundle.json. The bytes that are written are those that were verified. Raises CorridorRefused with the name
    of the first file that is not as it was packaged, and StoreUnavailable.
    """
    bundle = bound_bundle(data, artifacts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in bundle["files"]:
            (folder / file["name"]).write_bytes(read_listed(file, artifacts))
        (folder / FILE).write_bytes(data)
    except OSError as error:
        raise StoreUnavailable(f"cannot write the bundle's files: {error.strerror}") from error
    return bundle


def check_folder(folder: Path) -> dict[str, Any]:
    """The document of a bundle in a folder, all of whose files are as bundle.json lists them, with none besides.

    Its evidence and model are those of its id; what else bundle.json says (`bundle_file.NAMED_BY`) only a signature
    holds. Raises CorridorRefused with the name of the first file that is not, and StoreUnavailable.
    """
    bundle = read_bundle_file(_read(folder, FILE, FILE))
    receipt = b""
    for file in bundle["files"]:
        data = _read(folder, file["name"], file["sha256"])
        found = digest_of_bytes(data)
        if found != file["sha256"]:
            raise changed_file(file["name"], f"its bytes hash to {found}", file["sha256"])
        require_size(file, data)
        receipt = data if found == bundle["refs"]["gate_receipt"] else receipt
    require_bound(bundle, receipt)
    beside = sorted({path.name for path in folder.iterdir()} - {FILE, SIGNATURE, *_names(bundle)})
    if beside:
        raise changed_file(beside[0], "it is no file of this bundle", "the files that bundle.json names")
    return bundle


@contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder for as long as it is needed. Raises StoreUnavailable where the disk has no room for it."""
    try:
        with tempfile.TemporaryDirectory() as place:
            yield Path(place)
    except OSError as error:
        raise StoreUnavailable(f"cannot work in a temporary folder: {error.strerror}") from error


def _names(bundle: dict[str, Any]) -> list[str]:
    return [file["name"] for file in bundle["files"]]


def _read(folder: Path, name: str, wanted: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError as error:
        raise changed_file(name, "it is missing", wanted) from error
    except OSError as error:
        raise StoreUnavailable(f"cannot read {name}: {error.strerror}") from error

"""A bundle as a folder of files: written from the store for who has no home, and checked there without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from mcp_forecast_engine.errors import StoreUnavailable
from mcp_forecast_engine.factory.bundle import FILE, changed_file, read_bundle_file, verify_bundle
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.identity import digest_of_bytes

SIGNATURE: Final = "model.sig"  # where model_signing looks for it; no file of the bundle


def lay_out(data: bytes, artifacts: ArtifactStore, folder: Path) -> dict[str, Any]:
    """Write every file of a bundle under its name into an empty folder, and return its document.

    data: its bundle.json. Raises CorridorRefused with the name of the first file that is not as it was packaged, and
    StoreUnavailable.
    """
    bundle = verify_bundle(data, artifacts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in bundle["files"]:
            _plain_name(file["name"])
            (folder / file["name"]).write_bytes(artifacts.get(file["sha256"]))
        (folder / FILE).write_bytes(data)
    except OSError as error:
        raise StoreUnavailable(f"cannot write the bundle's files: {error.strerror}") from error
    return bundle


def check_folder(folder: Path) -> dict[str, Any]:
    """The document of a bundle in a folder, all of whose files are as they were packaged, with none besides.

    Raises CorridorRefused with the name of the first file that is not, and StoreUnavailable.
    """
    bundle = read_bundle_file(_read(folder, FILE, FILE))
    named = {file["name"]: file["sha256"] for file in bundle["files"]}
    for name, wanted in named.items():
        found = digest_of_bytes(_read(folder, _plain_name(name), wanted))
        if found != wanted:
            raise changed_file(name, f"its bytes hash to {found}", wanted)
    beside = sorted({path.name for path in folder.iterdir()} - {FILE, SIGNATURE, *named})
    if beside:
        raise changed_file(beside[0], "it is no file of this bundle", "the files that bundle.json names")
    return bundle


def _read(folder: Path, name: str, wanted: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError as error:
        raise changed_file(name, "it is missing", wanted) from error
    except OSError as error:
        raise StoreUnavailable(f"cannot read {name}: {error.strerror}") from error


def _plain_name(name: str) -> str:
    """A name that stays in its folder."""
    if Path(name).name != name or name in ("", ".", "..", FILE, SIGNATURE):
        raise changed_file(name, "it is no name of a file of a bundle", "a name without a folder")
    return name

"""`mcp-forecast bundles export` and `verify`: a bundle as a folder of files with its signature; no home reads it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcp_forecast.commands.refused import refused
from mcp_forecast.settings import process_settings

if TYPE_CHECKING:
    from mcp_forecast_engine.registry.bundles import Bundle

_FAILED = 1


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `bundles export` and `bundles verify`."""
    text = "write every file of a bundle, and its signature, into a new folder"
    export = actions.add_parser("export", help=text, description=text)
    export.add_argument("folder", type=Path, metavar="DIR")
    export.add_argument("bundle_id", metavar="BUNDLE_ID")
    export.add_argument("--version", metavar="V", help="which version, if there are several")
    export.set_defaults(command=_export)
    text = "check an exported bundle: every file by digest, and who signed it; needs no home"
    verify = actions.add_parser("verify", help=text, description=text)
    verify.add_argument("folder", type=Path, metavar="DIR")
    verify.add_argument(
        "--public-key",
        type=Path,
        metavar="PEM",
        help="who must have signed it; default: MCP_FORECAST_SIGNED_BY",
    )
    verify.set_defaults(command=_verify)


def _export(asked: argparse.Namespace) -> int:
    from mcp_forecast_engine.errors import EngineError

    folder: Path = asked.folder
    if folder.exists():
        return refused(f"{folder} is there already\n  name a folder that is not")
    try:
        bundle, signed = _exported(folder, asked.bundle_id, asked.version)
    except EngineError as error:
        return refused(error)
    print(f"{folder}: {bundle.ref}, {'signed' if signed else 'not signed'}")
    print(f"  mcp-forecast bundles verify {folder} checks it, with --public-key who signed it")
    if signed:
        print(f"  so does model_signing verify key {folder} --signature {folder / 'model.sig'} --public_key PEM")
    return 0


def _exported(folder: Path, bundle_id: str, version: str | None) -> tuple[Bundle, bool]:
    from mcp_forecast.app import build_engine
    from mcp_forecast.upkeep.collecting import open_existing
    from mcp_forecast_engine.registry import bundles

    settings = process_settings()
    database = open_existing(settings, migrating=False)
    try:
        shelf = build_engine(settings, database).shelf
        with database.read() as connection:
            bundle = bundles.named(connection, bundle_id, version)
        return bundle, shelf.export(bundle, folder)
    finally:
        database.close()


def _verify(asked: argparse.Namespace) -> int:
    from mcp_forecast_engine.errors import CorridorRefused, EngineError
    from mcp_forecast_engine.factory.bundle_file import SIGNATURE
    from mcp_forecast_engine.factory.bundle_folder import check_folder
    from mcp_forecast_engine.factory.signing import key_of, missing, require_signed

    key = asked.public_key or process_settings().signing.required
    try:
        if key is not None:
            key_of(key)
    except CorridorRefused as error:  # the key, or what reads it: no word about the bundle
        return refused(error)
    try:
        bundle: dict[str, Any] = check_folder(asked.folder)
        if key is not None:
            signature = asked.folder / SIGNATURE
            if not signature.exists():
                raise missing(f"{asked.folder} has no {SIGNATURE}")
            require_signed(asked.folder, signature.read_bytes(), key)
    except CorridorRefused as error:
        refused(error)
        return _FAILED
    except (EngineError, OSError) as error:
        return refused(error)
    unsigned = "files as bundle.json lists them; the signature was not checked: name a --public-key"
    told = unsigned if key is None else f"files as they were packaged; signed by {key}"
    print(f"{bundle['bundle_id']}@{bundle['version']}: {len(bundle['files'])} {told}")
    return 0

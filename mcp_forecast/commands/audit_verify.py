"""`mcp-forecast audit verify`: the log, an export or a proof, against what was kept elsewhere."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mcp_forecast.commands.audit_report import print_report
from mcp_forecast.home.log import opened_log
from mcp_forecast.settings import process_settings

if TYPE_CHECKING:
    import argparse

    from mcp_forecast_audit.checkpoint import PublicKey
    from mcp_forecast_audit.report import Report
    from mcp_forecast_audit.verify import Read


def verify_log(asked: argparse.Namespace) -> int:
    """Verify this home's log, an export or a proof, whichever was named, and return the exit code.

    Raises NoteInvalid, KeyUnsafe, StoreUnavailable, OSError.
    """
    from mcp_forecast_audit.export import verify_export
    from mcp_forecast_audit.report import Problem
    from mcp_forecast_audit.verify import verify

    trusted = None if asked.public_key is None else _trusted(asked.public_key)
    outside = None if asked.checkpoint is None else asked.checkpoint.read_text(encoding="utf-8")
    if asked.proof is not None:
        return _check_proof(asked, trusted=trusted, kept=outside)
    if asked.export is not None:
        with asked.export.open(encoding="utf-8") as lines:
            report = verify_export(lines, outside=outside, trusted=trusted)
        return print_report(asked, report, kept=asked.checkpoint, missing=None, hints=_key_hints(report, trusted))
    settings = process_settings()
    with opened_log(settings) as (read, home_id):
        from mcp_forecast.home.sealing import checkpoint_file, origin_of

        kept = asked.checkpoint or checkpoint_file(settings.checkpoint_folder, home_id)
        if outside is None and kept.exists():
            outside = kept.read_text(encoding="utf-8")
        report = verify(read, origin=origin_of(home_id), outside=outside, trusted=trusted)
        if outside is None and report.sealed > 0 and not kept.exists() and not _is_young(read):
            gone = Problem("the checkpoint outside", f"no file {kept}", "one, as entries are sealed")
            report = replace(report, problems=(*report.problems, gone), problem_count=report.problem_count + 1)
    hints = _key_hints(report, trusted, home=settings.home)
    return print_report(asked, report, kept=kept if outside is not None else None, missing=kept, hints=hints)


def _check_proof(asked: argparse.Namespace, *, trusted: Mapping[str, PublicKey] | None, kept: str | None) -> int:
    from mcp_forecast_audit.proof_file import check_proof

    found = check_proof(asked.proof.read_text(encoding="utf-8"), trusted=trusted, kept=kept)
    print(json.dumps(asdict(found), indent=1, ensure_ascii=False) if asked.json else found.text)
    return 2 if found.holds is None else 0 if found.holds else 1


def _key_hints(report: Report, trusted: Mapping[str, PublicKey] | None, *, home: Path | None = None) -> tuple[str, ...]:
    """What to think of each key that signed and was not given. Raises KeyUnsafe, OSError."""
    from mcp_forecast.home.signing_key import PUBLIC, public_keys
    from mcp_forecast_audit.checkpoint import parse_key
    from mcp_forecast_audit.proof_file import NEW_KEY

    if trusted is None:
        return ()
    foreign = [key for key in map(parse_key, report.keys) if key.key_id not in trusted]
    own = public_keys(home).values() if home is not None and foreign else ()
    return tuple(
        f"the key {key.key_id}: {NEW_KEY}"
        if home is None or key in own
        else f"the key {key.key_id} does not stand in {home / PUBLIC} either, where a home names the keys it signs with"
        for key in foreign
    )


def _is_young(read: Read) -> bool:
    """Whether the newest checkpoint has just been made, so that its file may be about to be written."""
    from mcp_forecast.home.sealing import WRITTEN_S
    from mcp_forecast_audit.stored import standing

    with read() as connection:
        at = standing(connection).at
    return at is not None and 0 <= time.time() - at < WRITTEN_S


def _trusted(file: Path) -> Mapping[str, PublicKey]:
    from mcp_forecast_audit.checkpoint import NoteInvalid, keys_of

    keys = keys_of(file.read_text(encoding="utf-8").splitlines())
    if not keys:
        raise NoteInvalid(f"{file} holds no public key")
    return keys

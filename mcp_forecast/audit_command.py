"""`mcp-forecast audit`: verify the log, export it, prove one entry. It reads only, beside a server or without one."""

from __future__ import annotations

import base64
import errno
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mcp_forecast.settings import Settings, process_settings

if TYPE_CHECKING:
    import argparse

    from mcp_forecast_audit.checkpoint import PublicKey
    from mcp_forecast_audit.verify import Read, Report

    Command = Callable[[argparse.Namespace], int]

_KEEP: Final = (
    "Keep the checkpoint file and the public key (audit.pub) where who runs the home cannot change them: who holds the "
    "home's signing key can write another log and sign it, and only what was kept elsewhere contradicts it."
)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `audit verify`, `audit export` and `audit proof`."""
    text = "verify, export or prove the log of this home; changes nothing"
    parts = commands.add_parser("audit", help=text, description=text).add_subparsers(metavar="WHAT", required=True)
    text = "check every stored entry against the signed checkpoints"
    verify = parts.add_parser("verify", help=text, description=text, epilog=_KEEP)
    verify.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="a checkpoint kept elsewhere; default: the home's own file"
    )
    verify.add_argument(
        "--public-key", type=Path, metavar="FILE", help="the only keys that may have signed, one a line"
    )
    verify.add_argument("--export", type=Path, metavar="FILE", help="verify this export, no home needed")
    verify.add_argument("--json", action="store_true", help="print what was found as JSON")
    verify.set_defaults(command=_answered(_verify))
    text = "write every entry, the checkpoint and the public keys into one file that verifies anywhere"
    export = parts.add_parser("export", help=text, description=text)
    export.add_argument("file", type=Path, metavar="FILE", help="a file that does not exist yet")
    export.set_defaults(command=_answered(_export))
    text = "prove one entry under the newest checkpoint; prints JSON that can be checked anywhere"
    proof = parts.add_parser("proof", help=text, description=text)
    proof.add_argument("entry", metavar="SEQ|REQUEST_ID", help="which entry, e.g. 17 or req_0123…")
    proof.add_argument(
        "--consistency-from", type=Path, metavar="FILE", help="also prove that this older checkpoint still holds"
    )
    proof.set_defaults(command=_answered(_proof))


def _answered(command: Command) -> Command:
    """Say what was refused and what helps. 1: the log is not as it was sealed; 2: refused, nothing was verified."""

    @wraps(command)
    def answered(asked: argparse.Namespace) -> int:
        from mcp_forecast.signing_key import KeyUnsafe
        from mcp_forecast_audit.checkpoint import NoteInvalid
        from mcp_forecast_audit.proof import NoProof
        from mcp_forecast_audit.stored import LogBroken
        from mcp_forecast_engine.errors import EngineError

        try:
            return command(asked)
        except LogBroken as error:
            print(f"the log is not as it was sealed: {error}\n  run `mcp-forecast audit verify`", file=sys.stderr)
            return 1
        except EngineError as error:
            print(f"error: {error.message}" + (f"\n  {error.next_step}" if error.next_step else ""), file=sys.stderr)
        except (NoteInvalid, NoProof, KeyUnsafe, OSError, UnicodeDecodeError) as error:
            print(f"error: {error}", file=sys.stderr)
        return 2

    return answered


def _verify(asked: argparse.Namespace) -> int:
    from mcp_forecast_audit.export import verify_export
    from mcp_forecast_audit.verify import Problem, verify

    trusted = None if asked.public_key is None else _trusted(asked.public_key)
    outside = None if asked.checkpoint is None else asked.checkpoint.read_text(encoding="utf-8")
    if asked.export is not None:
        with asked.export.open(encoding="utf-8") as lines:
            report = verify_export(lines, outside=outside, trusted=trusted)
        return _print(asked, report, kept=asked.checkpoint, missing=None)
    settings = process_settings()
    with opened_log(settings) as (read, home_id):
        from mcp_forecast.sealing import checkpoint_file, origin_of

        kept = asked.checkpoint or checkpoint_file(settings.checkpoint_folder, home_id)
        if outside is None and kept.exists():
            outside = kept.read_text(encoding="utf-8")
        report = verify(read, origin=origin_of(home_id), outside=outside, trusted=trusted)
        if outside is None and report.sealed > 0 and not kept.exists() and not _is_young(read):
            gone = Problem("the checkpoint outside", f"no file {kept}", "one, as entries are sealed")
            report = replace(report, problems=(*report.problems, gone), problem_count=report.problem_count + 1)
    return _print(asked, report, kept=kept if outside is not None else None, missing=kept)


def _is_young(read: Read) -> bool:
    """Whether the newest checkpoint has just been made, so that its file may be about to be written."""
    from mcp_forecast.sealing import WRITTEN_S
    from mcp_forecast_audit.stored import standing

    with read() as connection:
        at = standing(connection).at
    return at is not None and 0 <= time.time() - at < WRITTEN_S


def _export(asked: argparse.Namespace) -> int:
    from mcp_forecast.sealing import origin_of
    from mcp_forecast_audit.export import export_lines

    if asked.file.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(asked.file))
    draft = asked.file.with_name(f".{asked.file.name}.{secrets.token_hex(6)}")
    try:
        with opened_log(process_settings()) as (read, home_id), draft.open("x", encoding="utf-8") as file:
            count = sum(1 for line in export_lines(read, origin=origin_of(home_id)) if file.write(line)) - 1
        os.replace(draft, asked.file)
    finally:
        draft.unlink(missing_ok=True)
    print(f"exported {count} entries to {asked.file}")
    print(f"it verifies anywhere: mcp-forecast audit verify --export {asked.file}")
    return 0


def _proof(asked: argparse.Namespace) -> int:
    from mcp_forecast.signing_key import public_keys
    from mcp_forecast_audit.checkpoint import read_note
    from mcp_forecast_audit.proof import Prover, seq_of

    old = None if asked.consistency_from is None else read_note(asked.consistency_from.read_text(encoding="utf-8"))
    settings = process_settings()
    with opened_log(settings) as (read, _), read() as connection:
        prover = Prover(connection, public_keys(settings.home) or None)
        made = prover.inclusion(seq_of(connection, asked.entry))
        joined = None if old is None else prover.consistency(old)
    answer: dict[str, Any] = {
        "entry": made.body.decode(), "seq": made.seq, "leaf_index": made.seq - 1, "leaf_hash": made.leaf_hash.hex(),
        "tree_size": made.size, "path": _texts(made.path), "checkpoint": made.note, "public_key": prover.key.vkey,
    }  # fmt: skip
    if joined is not None:
        path = _texts(joined.path)
        answer["consistency"] = {"old_size": joined.old, "new_size": joined.new, "path": path}
    print(json.dumps(answer, indent=1, ensure_ascii=False))
    return 0


def _texts(hashes: Iterable[bytes]) -> list[str]:
    return [base64.b64encode(hash).decode() for hash in hashes]


@contextmanager
def opened_log(settings: Settings) -> Iterator[tuple[Read, str]]:
    """Lend how to read this home's log, and the home's id. Raises StoreUnavailable, HomeNewer; makes no home."""
    from mcp_forecast.home import REVISION, revision_in, revision_of
    from mcp_forecast.read_only import reading
    from mcp_forecast.sealing import home_id_of
    from mcp_forecast_engine.store.address import is_postgres
    from mcp_forecast_engine.store.database import open_database

    if is_postgres(settings.address):
        database = open_database(settings.address)
        try:
            with database.read() as connection:
                _require_log(settings, revision_in(connection), REVISION)
                home_id = home_id_of(connection)
            yield database.read, home_id
        finally:
            database.close()
        return
    file = Path(settings.address)
    _require_log(settings, revision_of(file), REVISION)
    with reading(file) as read:
        with read() as connection:
            home_id = home_id_of(connection)
        yield read, home_id


def _require_log(settings: Settings, found: str | None, expected: str) -> None:
    from mcp_forecast_engine.errors import StoreUnavailable

    if found is None:
        raise StoreUnavailable(f"there is no log in {settings.home}", next_step="name the home with MCP_FORECAST_HOME")
    if found != expected:
        raise StoreUnavailable(
            f"the log in {settings.home} has the older schema {found}",
            next_step="start a server of this home once, or run mcp-forecast migrate",
        )


def _trusted(file: Path) -> Mapping[str, PublicKey]:
    from mcp_forecast_audit.checkpoint import NoteInvalid, keys_of

    keys = keys_of(file.read_text(encoding="utf-8").splitlines())
    if not keys:
        raise NoteInvalid(f"{file} holds no public key")
    return keys


def _print(asked: argparse.Namespace, report: Report, *, kept: Path | None, missing: Path | None) -> int:
    code = 1 if not report.intact else 0 if report.is_signed else 2
    if asked.json:
        print(json.dumps({"intact": None if code == 2 else report.intact, **asdict(report)}, indent=1))
        return code
    first = "intact", f"NOT INTACT: {report.problem_count} contradictions", "nothing verified: no checkpoint signs it"
    print(first[code])
    for problem in report.problems:
        print(f"  {problem}")
    if report.problem_count > len(report.problems):
        print(f"  … and {report.problem_count - len(report.problems)} more")
    print(f"{report.entries} entries, {report.sealed} sealed under {report.checkpoints} signed checkpoints")
    if report.root is not None:
        print(f"root {report.root}")
    _print_unchecked(asked, report, kept=kept, missing=missing)
    return code


def _print_unchecked(asked: argparse.Namespace, report: Report, *, kept: Path | None, missing: Path | None) -> None:
    unsealed = report.entries - report.sealed
    if kept is not None:
        print(f"compared with {kept}" + (f", over {report.outside} entries" if report.outside is not None else ""))
    else:
        where = f" ({missing} is not there)" if missing is not None else ""
        print(f"not checked: a checkpoint kept elsewhere{where}. A log cut back to an older state would not show.")
    if unsealed > 0:
        print(f"not checked: that the last {unsealed} entries are as they were made; they are not sealed yet")
    if asked.public_key is None:
        print("not checked: who signed. The keys are the log's own; pass one kept elsewhere with --public-key.")

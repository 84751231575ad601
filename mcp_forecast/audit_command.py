"""`mcp-forecast audit`: verify the log, export it, prove one entry. It reads only, beside a server or without one."""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Final

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
_GIVEN: Final = {  # what helps where a file that was named is not there
    "checkpoint": "name the checkpoint that you kept, or leave --checkpoint out",
    "public_key": "name your copy of the home's audit.pub, or leave --public-key out",
    "export": "make one with: mcp-forecast audit export FILE",
    "proof": "make one with: mcp-forecast audit proof SEQ|REQUEST_ID > FILE",
    "consistency_from": "name the checkpoint that you kept, or leave --consistency-from out",
}


class FileUnfit(ValueError):
    """A file that was named cannot be used: says why and what helps."""


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
    instead = verify.add_mutually_exclusive_group()
    instead.add_argument("--export", type=Path, metavar="FILE", help="verify this export, no home needed")
    instead.add_argument("--proof", type=Path, metavar="FILE", help="check this proof of one entry, no home needed")
    verify.add_argument("--json", action="store_true", help="print what was found as JSON")
    verify.set_defaults(command=_answered(_verify))
    text = "write every entry, the checkpoint and the public keys into one file that verifies anywhere"
    export = parts.add_parser("export", help=text, description=text)
    export.add_argument("file", type=Path, metavar="FILE", help="a file that does not exist yet")
    export.set_defaults(command=_answered(_export))
    text = "prove one entry under the newest checkpoint; prints JSON; `audit verify --proof` checks it anywhere"
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
            _require_files(asked)
            return command(asked)
        except LogBroken as error:
            print(f"the log is not as it was sealed: {error}\n  run `mcp-forecast audit verify`", file=sys.stderr)
            return 1
        except EngineError as error:
            print(f"error: {error.message}" + (f"\n  {error.next_step}" if error.next_step else ""), file=sys.stderr)
        except OSError as error:
            where = error.filename or "a file"
            print(f"error: {where} cannot be read or written: {error.strerror or error}", file=sys.stderr)
        except UnicodeDecodeError as error:
            print(f"error: a file that was named is no text: {error}", file=sys.stderr)
        except (NoteInvalid, NoProof, KeyUnsafe, FileUnfit) as error:
            print(f"error: {error}", file=sys.stderr)
        return 2

    return answered


def _require_files(asked: argparse.Namespace) -> None:
    for name, next_step in _GIVEN.items():
        file = getattr(asked, name, None)
        if file is not None and not file.exists():
            raise FileUnfit(f"there is no file {file}\n  {next_step}")


def _verify(asked: argparse.Namespace) -> int:
    from mcp_forecast_audit.export import verify_export
    from mcp_forecast_audit.verify import Problem, verify

    trusted = None if asked.public_key is None else _trusted(asked.public_key)
    outside = None if asked.checkpoint is None else asked.checkpoint.read_text(encoding="utf-8")
    if asked.proof is not None:
        return _check_proof(asked, trusted=trusted, kept=outside)
    if asked.export is not None:
        with asked.export.open(encoding="utf-8") as lines:
            report = verify_export(lines, outside=outside, trusted=trusted)
        return _print(asked, report, kept=asked.checkpoint, missing=None, hints=_key_hints(report, trusted))
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
    hints = _key_hints(report, trusted, home=settings.home)
    return _print(asked, report, kept=kept if outside is not None else None, missing=kept, hints=hints)


def _check_proof(asked: argparse.Namespace, *, trusted: Mapping[str, PublicKey] | None, kept: str | None) -> int:
    from mcp_forecast_audit.proof_file import check_proof

    found = check_proof(asked.proof.read_text(encoding="utf-8"), trusted=trusted, kept=kept)
    print(json.dumps(asdict(found), indent=1, ensure_ascii=False) if asked.json else found.text)
    return 2 if found.holds is None else 0 if found.holds else 1


def _key_hints(report: Report, trusted: Mapping[str, PublicKey] | None, *, home: Path | None = None) -> tuple[str, ...]:
    """What to think of each key that signed and was not given. Raises KeyUnsafe, OSError."""
    from mcp_forecast.signing_key import PUBLIC, public_keys
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
    from mcp_forecast.sealing import WRITTEN_S
    from mcp_forecast_audit.stored import standing

    with read() as connection:
        at = standing(connection).at
    return at is not None and 0 <= time.time() - at < WRITTEN_S


def _export(asked: argparse.Namespace) -> int:
    from mcp_forecast.sealing import origin_of
    from mcp_forecast_audit.export import export_lines

    if asked.file.exists():
        raise FileUnfit(f"{asked.file} is there already, and an export writes over nothing\n  name another file")
    if not asked.file.parent.is_dir():
        raise FileUnfit(f"there is no folder {asked.file.parent}\n  make it, or name another place")
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
    from mcp_forecast_audit.proof_file import proof_text

    old = None if asked.consistency_from is None else asked.consistency_from.read_text(encoding="utf-8")
    older = None if old is None else read_note(old)
    settings = process_settings()
    with opened_log(settings) as (read, _), read() as connection:
        prover = Prover(connection, public_keys(settings.home) or None)
        made = prover.inclusion(seq_of(connection, asked.entry))
        joined = None if older is None else prover.consistency(older)
    print(proof_text(made, key=prover.key, joined=joined, old=old))
    return 0


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


def _print(
    asked: argparse.Namespace, report: Report, *, kept: Path | None, missing: Path | None, hints: tuple[str, ...] = ()
) -> int:
    code = 1 if not report.intact else 0 if report.is_signed and not report.ends_early else 2
    if asked.json:
        print(
            json.dumps(
                {"intact": None if code == 2 else report.intact, "ends_early": report.ends_early, **asdict(report)},
                indent=1,
            )
        )
        return code
    print(_first_line(report))
    for problem in report.problems:
        print(f"  {problem}")
    if report.problem_count > len(report.problems):
        print(f"  … and {report.problem_count - len(report.problems)} more")
    for hint in hints:
        print(hint)
    print(f"{report.entries} entries, {report.sealed} sealed under {report.checkpoints} signed checkpoints")
    if report.root is not None:
        print(f"root {report.root}")
    _print_unchecked(asked, report, kept=kept, missing=missing)
    return code


def _first_line(report: Report) -> str:
    if not report.intact:
        count = report.problem_count
        return f"NOT INTACT: {count} contradiction{'' if count == 1 else 's'}"
    if report.ends_early:
        return (
            f"this export ends before the checkpoint ({report.entries} of {report.outside} entries): take a newer "
            "export, or a checkpoint of its time"
        )
    return "intact" if report.is_signed else "nothing verified: no checkpoint signs it"


def _print_unchecked(asked: argparse.Namespace, report: Report, *, kept: Path | None, missing: Path | None) -> None:
    unsealed = report.entries - report.sealed
    if report.ends_early:
        print(f"not compared with {kept}, over {report.outside} entries")
    elif kept is not None:
        print(f"compared with {kept}" + (f", over {report.outside} entries" if report.outside is not None else ""))
    else:
        where = f" ({missing} is not there)" if missing is not None else ""
        print(f"not checked: a checkpoint kept elsewhere{where}. A log cut back to an older state would not show.")
    if unsealed > 0:
        print(f"not checked: that the last {unsealed} entries are as they were made; they are not sealed yet")
    if asked.public_key is None:
        print("not checked: who signed. The keys are the log's own; pass one kept elsewhere with --public-key.")

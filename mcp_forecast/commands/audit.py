"""`mcp-forecast audit`: verify the log, export it, prove one entry, tell what a run read and made. It only reads."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mcp_forecast.commands.refused import refused
from mcp_forecast.home.log import opened_log
from mcp_forecast.settings import process_settings

if TYPE_CHECKING:
    import argparse

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
    """Add `audit verify`, `audit export`, `audit proof` and `audit openlineage`."""
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
    text = "write what a run read and made as OpenLineage events, one JSON document a line"
    events = parts.add_parser(
        "openlineage", help=text, description=f"{text}: the training, its publications, the forecast"
    )
    events.add_argument("run_id", metavar="RUN_ID", help="of a training or a forecast")
    events.add_argument(
        "--out", type=Path, metavar="FILE", help="a file that does not exist yet; default: standard output"
    )
    events.set_defaults(command=_answered(_openlineage))


def _answered(command: Command) -> Command:
    """Say what was refused and what helps. 1: the log is not as it was sealed; 2: refused, nothing was verified."""

    @wraps(command)
    def answered(asked: argparse.Namespace) -> int:
        from mcp_forecast.home.signing_key import KeyUnsafe
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
        except OSError as error:
            return refused(f"{error.filename or 'a file'} cannot be read or written: {error.strerror or error}")
        except UnicodeDecodeError as error:
            return refused(f"a file that was named is no text: {error}")
        except (EngineError, NoteInvalid, NoProof, KeyUnsafe, FileUnfit) as error:
            return refused(error)

    return answered


def _require_files(asked: argparse.Namespace) -> None:
    for name, next_step in _GIVEN.items():
        file = getattr(asked, name, None)
        if file is not None and not file.exists():
            raise FileUnfit(f"there is no file {file}\n  {next_step}")


def _verify(asked: argparse.Namespace) -> int:
    from mcp_forecast.commands.audit_verify import verify_log

    return verify_log(asked)


def _openlineage(asked: argparse.Namespace) -> int:
    from mcp_forecast.commands.openlineage import event_lines

    settings = process_settings()
    if asked.out is not None:
        _require_free(asked.out)
    with opened_log(settings) as (read, home_id):
        lines = event_lines(read, settings.home / "artifacts", asked.run_id, home_id=home_id)
    if asked.out is None:
        print("".join(lines), end="")
    else:
        asked.out.write_text("".join(lines), encoding="utf-8")
        print(f"wrote {len(lines)} events to {asked.out}")
    return 0


def _require_free(file: Path) -> None:
    if file.exists():
        raise FileUnfit(f"{file} is there already, and an export writes over nothing\n  name another file")
    if not file.parent.is_dir():
        raise FileUnfit(f"there is no folder {file.parent}\n  make it, or name another place")


def _export(asked: argparse.Namespace) -> int:
    from mcp_forecast.home.sealing import origin_of
    from mcp_forecast_audit.export import export_lines

    _require_free(asked.file)
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
    from mcp_forecast.home.signing_key import public_keys
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

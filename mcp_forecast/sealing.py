"""The sealing of a home's log: when it is due, with which key, and where the checkpoint goes besides the database.

Keys and checkpoints of a home:
    <home>/audit.key                     signs; made once, readable by its owner alone; in no backup
    <home>/audit.pub                     the public keys, one a line
    <checkpoints>/<home_id>.checkpoint   the newest signed checkpoint

The folder of checkpoints is best on another machine's mount, and audit.pub copied there too: a log that was cut or
written anew contradicts them, but who holds audit.key and the folder as well can make all of it fit. A checkpoint that
says more than the database, or something else, is never overwritten: then sealing stops, and calls go on.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from mcp_forecast.signing_key import KeyUnsafe, signer_of
from mcp_forecast.tables import HomeRow
from mcp_forecast_audit.checkpoint import Checkpoint, NoteInvalid, Signer, read_note
from mcp_forecast_audit.seal import SEAL_S, is_due, seal
from mcp_forecast_audit.stored import LogBroken, note_at, standing
from mcp_forecast_engine.errors import StoreUnavailable
from mcp_forecast_engine.store.database import Database
from mcp_forecast_engine.store.folder_lock import folder_lock

RETRY_S: Final = 5.0
LOOK_S: Final = 0.1  # entries are counted at most this often
LOCK_S: Final = 0.2
_BUSY: Final = "another server is writing the checkpoint"
_HOME = HomeRow.__table__  # type: ignore[attr-defined]
log = logging.getLogger(__name__)


class CheckpointConflict(Exception):
    """The checkpoint outside says more than the database, or something else."""


def origin_of(home_id: str) -> str:
    """The name that a home's checkpoints and keys carry."""
    return f"mcp-forecast/{home_id}"


def home_id_of(connection: Connection) -> str:
    """The name of the home that a database is of."""
    return str(connection.execute(select(_HOME.c.home_id)).scalar_one())


def checkpoint_file(folder: Path, home_id: str) -> Path:
    """Where the newest checkpoint of a home is written."""
    return folder / f"{home_id}.checkpoint"


class Sealer:
    """What the writer does between commands: seal what is due, then write the checkpoint outside. It fails no call.

    folder: where checkpoints go; clock: seconds since 1970, the same that entries are made with.
    """

    def __init__(
        self,
        database: Database,
        *,
        home: Path,
        folder: Path,
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database, self._home, self._folder = database, home, folder
        self._clock, self._monotonic = clock, monotonic
        self._signer: Signer | None = None
        self._home_id = ""
        self._commits = -1
        self._next_look = self._not_before = float("-inf")
        self._pending = True  # the checkpoint outside may be behind
        self._compared = False  # with the checkpoint outside, since this process began
        self._trouble: str | None = None
        self._broken: str | None = None

    def due(self, commits: int, *, ending: bool = False) -> Callable[[Connection], object] | None:
        """The command that seals, if it is due; it costs a comparison while this process commits nothing.

        commits: how many transactions this process has committed; ending: whatever is unsealed is due.
        """
        now = self._monotonic()
        wanted = now >= self._not_before and (commits != self._commits or now >= self._next_look)
        if self._broken is not None or not (wanted or ending):
            return None
        self._commits, self._not_before, self._next_look = commits, now + LOOK_S, float("inf")
        if self._pending:
            with self._troubles():
                self._publish()
        if not self._compared or self._broken is not None:
            return None  # a log that may have been cut must not be signed anew
        with self._troubles():
            with self._database.read() as connection:
                found = standing(connection)
            if found.unsealed <= 0 and not self._pending:
                self._trouble = None
            if found.oldest_at is not None:
                self._next_look = now + max(LOOK_S, SEAL_S - abs(self._clock() - found.oldest_at))
            if found.unsealed > 0 and (ending or is_due(found, now=self._clock())):
                if self._signer is None:
                    self._signer = signer_of(self._home, origin_of(self._home_id))
                return lambda connection: self._seal(connection, ending=ending)
        return None

    def done(self, outcome: Future[Any]) -> None:
        """Hear how the command ended, and write its checkpoint outside."""
        with self._troubles():
            self._pending = outcome.result() is not None or self._pending
            if self._pending:
                self._publish()
            self._trouble = None

    def status(self, connection: Connection) -> dict[str, Any]:
        """How far the log is sealed, where the checkpoint is, and what keeps it from being sealed, if anything."""
        found = standing(connection)
        state = "broken" if self._broken else "waiting" if self._trouble else "sealing"
        file = checkpoint_file(self._folder, self._home_id or home_id_of(connection))
        answer: dict[str, Any] = {
            "entries": found.entries, "sealed": found.sealed, "state": state, "checkpoint": str(file),
        }  # fmt: skip
        if self._broken:
            answer |= {"reason": self._broken, "next_step": _BROKEN_STEP}
        elif self._trouble:
            answer |= {"reason": self._trouble, "next_step": "free the disk or mend the file; it is tried again"}
        return answer

    def _seal(self, connection: Connection, *, ending: bool) -> str | None:
        found = standing(connection)  # another server may have sealed since
        now = self._clock()
        if not ending and not is_due(found, now=now):
            return None
        assert self._signer is not None
        return seal(connection, found, self._signer, now=now)

    def _publish(self) -> None:
        """Bring the checkpoint outside up to the newest stored one.

        Raises CheckpointConflict, StoreUnavailable, OSError.
        """
        with self._database.read() as connection:
            self._home_id = self._home_id or home_id_of(connection)
        file = checkpoint_file(self._folder, self._home_id)
        # One server of a home at a time: a slower one must not put an older checkpoint over a newer.
        with folder_lock(self._home / "seal.lock", alone=True, within_s=LOCK_S, busy=_BUSY):
            with self._database.read() as connection:
                note = standing(connection).note
                kept = _kept(file)
                stored = None if kept is None else note_at(connection, kept[0].size)
            if kept is not None and stored != kept[1]:
                raise CheckpointConflict(_conflict(file, kept[0], note, stored))
            self._compared = True
            if note is not None and (kept is None or kept[1] != note):
                _write(file, note)
        self._pending = False

    @contextmanager
    def _troubles(self) -> Iterator[None]:
        """Remember what went wrong: it is told in the status, tried again later, and fails no call."""
        try:
            yield
        except (CheckpointConflict, LogBroken) as error:
            self._broken = str(error)
            log.error("the log is sealed no more: %s. %s", error, _BROKEN_STEP)
        except (StoreUnavailable, OSError, KeyUnsafe, SQLAlchemyError, ValueError, ImportError) as error:
            if self._trouble is None:
                log.warning("the log cannot be sealed now, and will be later: %s", error)
            self._trouble = str(error)
            self._not_before = self._next_look = self._monotonic() + RETRY_S


_BROKEN_STEP: Final = (
    "run `mcp-forecast audit verify`; if this home was restored from a backup on purpose, move the checkpoint file "
    "elsewhere, keep it, and start again"
)


def _conflict(file: Path, kept: Checkpoint, note: str | None, stored: str | None) -> str:
    if stored is not None:
        return f"{file} is another checkpoint over {kept.size} entries than the stored one"
    newest = 0 if note is None else read_note(note).size
    what = "entries were removed, or an older copy was restored" if newest < kept.size else "a checkpoint was removed"
    return f"{file} is over {kept.size} entries, the newest stored checkpoint over {newest}: {what}"


def _kept(file: Path) -> tuple[Checkpoint, str] | None:
    """The checkpoint outside. Raises CheckpointConflict where it is none."""
    try:
        note = file.read_text(encoding="utf-8")
        return read_note(note), note
    except FileNotFoundError:
        return None
    except (NoteInvalid, UnicodeDecodeError) as error:
        raise CheckpointConflict(f"{file}: {error}") from error


def _write(file: Path, note: str) -> None:
    """Replace the file at once, so that it survives a power cut and nobody reads half of it."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{secrets.token_hex(6)}")
    try:
        with draft.open("x", encoding="utf-8") as handle:
            handle.write(note)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(draft, file)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

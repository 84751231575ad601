"""The sealing of a home's log: when it is due, with which key, and where the checkpoint goes besides the database.

Keys and checkpoints of a home:
    <home>/audit.key                     signs; made once, readable by its owner alone; in no backup
    <home>/audit.pub                     the public keys, one a line
    <checkpoints>/<home_id>.checkpoint   the newest signed checkpoint

The folder of checkpoints is best on another machine's mount, and audit.pub copied there too: a log that was cut or
written anew contradicts them, but who holds audit.key and the folder as well can make all of it fit. A checkpoint that
says more than the database, or something else, is never overwritten: then sealing stops, and calls go on. Who can
write the database alone gets nothing signed that does not begin with the checkpoint outside, with the last one that
this process signed or compared, and with a newest one that a key of audit.pub signed.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from mcp_forecast.home.signing_key import KeyUnsafe, public_keys, signer_of
from mcp_forecast.home.tables import HomeRow
from mcp_forecast_audit.checkpoint import Checkpoint, NoteInvalid, Signer, read_note
from mcp_forecast_audit.continued import continued
from mcp_forecast_audit.seal import SEAL_S, is_due, seal
from mcp_forecast_audit.stored import LogBroken, Standing, note_at, standing
from mcp_forecast_engine.errors import StoreUnavailable
from mcp_forecast_engine.store.database import Database
from mcp_forecast_engine.store.durable import SHARED, replace_file
from mcp_forecast_engine.store.folder_lock import folder_lock

RETRY_S: Final = 5.0
LOOK_S: Final = 0.1  # entries are counted at most this often
LOCK_S: Final = 0.2
WRITTEN_S: Final = 10.0  # after so long the checkpoint of a commit has been written outside, or cannot be
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
        self._proved: Checkpoint | None = None  # the last one that this process signed or compared
        self._trouble: str | None = None
        self._trouble_step = ""
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
                # The file is read before the database is: another server writes it after its commit.
                anchors = self._anchors()
                return lambda connection: self._seal(connection, anchors, ending=ending)
        return None

    def done(self, outcome: Future[Any]) -> None:
        """Hear how the command ended, and write its checkpoint outside."""
        with self._troubles():
            note = outcome.result()
            if note is not None:
                self._pending, self._proved = True, read_note(note)
            if self._pending:
                self._publish()
            self._trouble = None

    def failed(self, error: Exception) -> None:
        """Seal no more in this process: what the writer caught here was foreseen by nobody."""
        self._broken = f"{type(error).__name__}: {error}"

    def status(self, connection: Connection, *, paths: bool = True) -> dict[str, Any]:
        """How far the log is sealed, where the checkpoint is, and what keeps it from being sealed, if anything.

        paths: whether folders of this machine are named.
        """
        broken, counts = self._broken, dict[str, Any]()
        try:
            found = standing(connection)
            counts = {"entries": found.entries, "sealed": found.sealed}
        except LogBroken as error:
            broken = broken or str(error)
        state = "broken" if broken else "waiting" if self._trouble else "sealing"
        file = checkpoint_file(self._folder, self._home_id or home_id_of(connection))
        answer = counts | {"state": state, "checkpoint": str(file)}
        if broken:
            answer |= {"reason": broken, "next_step": _BROKEN_STEP}
        elif self._trouble:
            answer |= {"reason": self._trouble, "next_step": self._trouble_step}
        return answer if paths else {name: self._unplaced(value) for name, value in answer.items()}

    def _unplaced(self, value: Any) -> Any:
        """The same without the folders' places."""
        for folder in (self._folder, self._home) if isinstance(value, str) else ():
            value = value.replace(f"{folder}{os.sep}", "").replace(str(folder), folder.name)
        return value

    def _anchors(self) -> list[Checkpoint]:
        """What the log has to begin with. Raises CheckpointConflict, OSError where there is nothing to go by."""
        try:
            kept = _kept(checkpoint_file(self._folder, self._home_id))
        except OSError:
            if self._proved is None:
                raise
            kept = None  # sealing goes on inside; the file outside is behind, and told to be
        return [one for one in (self._proved, kept and kept[0]) if one is not None]

    def _seal(self, connection: Connection, anchors: list[Checkpoint], *, ending: bool) -> str | None:
        found = standing(connection)  # another server may have sealed since
        now = self._clock()
        if not ending and not is_due(found, now=now):
            return None
        assert self._signer is not None
        keys = public_keys(self._home)  # now: another server may have a new one, and sealed with it
        return seal(connection, found, self._signer, now=now, keys=keys, anchors=anchors)

    def _publish(self) -> None:
        """Bring the checkpoint outside up to the newest stored one.

        Raises CheckpointConflict, LogBroken, StoreUnavailable, OSError.
        """
        with self._database.read() as connection:
            self._home_id = self._home_id or home_id_of(connection)
        file = checkpoint_file(self._folder, self._home_id)
        # One server of a home at a time: a slower one must not put an older checkpoint over a newer.
        with folder_lock(self._home / "seal.lock", alone=True, within_s=LOCK_S, busy=_BUSY):
            with self._database.read() as connection:
                log, kept = standing(connection), _kept(file)
                stored = None if kept is None else note_at(connection, kept[0].size)
                if kept is not None and stored != kept[1]:
                    raise CheckpointConflict(_conflict(file, kept[0], log, stored))
                anchors = [one for one in (self._proved, kept and kept[0]) if one is not None]
                origin = origin_of(self._home_id)
                continued(connection, log, origin=origin, keys=public_keys(self._home), anchors=anchors)
            self._compared = True
            self._proved = self._proved if log.note is None else read_note(log.note)
            if log.note is not None and (kept is None or kept[1] != log.note):
                _write(file, log.note)
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
            self._trouble, self._trouble_step = str(error), _step(error)
            self._not_before = self._next_look = self._monotonic() + RETRY_S


_BROKEN_STEP: Final = (
    "run `mcp-forecast audit verify`; if this home was restored from a backup on purpose, move the checkpoint file "
    "elsewhere, keep it, and start again"
)
_STEPS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (KeyUnsafe, "mend or move the key file as the reason says; it is tried again"),
    (StoreUnavailable, "end what keeps the database or its lock, or free its disk; it is tried again"),
    (OSError, "make the folder of checkpoints and the home writable, or free the disk; it is tried again"),
    (ImportError, "install what is missing (pip install --force-reinstall mcp-forecast) and start again"),
    (SQLAlchemyError, "see that the database answers and its disk has room; it is tried again"),
)


def _step(error: Exception) -> str:
    return next((step for kind, step in _STEPS if isinstance(error, kind)), "it is tried again; report it if it stays")


def _conflict(file: Path, kept: Checkpoint, log: Standing, stored: str | None) -> str:
    if stored is not None:
        return f"{file} is another checkpoint over {kept.size} entries than the stored one"
    cut = log.sealed < kept.size
    what = "entries were removed, or an older copy was restored" if cut else "a checkpoint was removed"
    return f"{file} is over {kept.size} entries, the newest stored checkpoint over {log.sealed}: {what}"


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
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(file, note.encode(), mode=SHARED)

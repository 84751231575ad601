"""The keys of a log while it is verified: which there are, which may sign, and from which checkpoint on they did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection

from mcp_forecast_audit.checkpoint import Checkpoint, NoteInvalid, PublicKey, parse_key, verified_note
from mcp_forecast_audit.driver_rows import fetched
from mcp_forecast_audit.row import Say, shown

OUTSIDE: Final = "the checkpoint outside"
_KEYS = "SELECT key_id, public_key, since_size FROM audit_key ORDER BY key_id"


class Signers:
    """Opens the signed notes of one log; `say` hears what contradicts what."""

    def __init__(self, *, origin: str, trusted: Mapping[str, PublicKey] | None, say: Say) -> None:
        """trusted: the only keys that may have signed, by key id; None lets the home's own do."""
        self._origin, self._trusted, self._say = origin, trusted, say
        self._keys = dict(trusted or {})
        self._since = dict[str, Any]()  # as stored: what was changed may be of any type
        self._signed_since = dict[str, int]()

    @property
    def signed(self) -> tuple[str, ...]:
        """The public keys whose signatures stand, in the order of their ids."""
        return tuple(key.vkey for key_id, key in sorted(self._keys.items()) if key_id in self._signed_since)

    def learn(self, connection: Connection) -> None:
        """Read the stored keys; one may come while a log is walked, with the first checkpoint that it signs."""
        for key_id, line, since in fetched(connection, _KEYS):
            if str(key_id) in self._since:
                continue
            self._since[str(key_id)] = since
            key = self._key(key_id, line)
            if key is not None:
                self._keys.setdefault(key.key_id, key)

    def _key(self, key_id: object, line: object) -> PublicKey | None:
        try:
            key = parse_key(str(line))
        except NoteInvalid as error:
            self._say(f"public key {key_id!a}", error, "the key that signed")
            return None
        if key.key_id != key_id:
            self._say(f"public key {key_id!a}", "another id", key.key_id)
        return key

    def opened(self, where: str, note: object) -> Checkpoint | None:
        """What a signed note says, if its signature stands and it is of this log."""
        try:
            checkpoint, key = verified_note(str(note), self._keys)
        except NoteInvalid as error:
            self._say(where, error, "a checkpoint of this home with a signature that stands")
            return None
        if checkpoint.origin != self._origin:
            self._say(where, f"origin {checkpoint.origin}", self._origin)
        if self._trusted is not None and key.key_id not in self._trusted and key.key_id not in self._signed_since:
            since = "" if where == OUTSIDE else f"from entry {checkpoint.after + 1} on "
            self._say(
                where, f"signed {since}by a key that you did not give ({key.vkey})", "one of the public keys given"
            )
        if where != OUTSIDE:
            self._signed_since.setdefault(key.key_id, checkpoint.size)
        return checkpoint

    def check_since(self, connection: Connection, *, last: int) -> None:
        """Compare what is stored of each key with what it signed. last: the newest entry that was walked."""
        newest = "(SELECT coalesce(max(size), 0) FROM audit_checkpoint)"
        rows = fetched(connection, f"SELECT key_id FROM audit_key WHERE since_size > {newest}")
        ahead = {str(key_id) for (key_id,) in rows}  # of every stored checkpoint
        for key_id, since in self._since.items():
            signed = self._signed_since.get(key_id)
            # One that signed only what came after this walk began is left to the next time.
            later = signed is None and key_id not in ahead and type(since) is int and since > last
            if signed != since and not later:
                first = "none" if signed is None else str(signed)
                self._say(
                    f"public key {key_id!a}", f"since checkpoint {shown(since)}", f"{first}, the first that it signed"
                )
        for key_id in self._signed_since.keys() - self._since.keys():
            self._say(f"public key {key_id!a}", "no row", "the key that signed checkpoints")

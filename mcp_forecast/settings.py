"""The only reader of the environment: where the home is, who calls over stdio, and the limits.

Every setting is an environment variable `MCP_FORECAST_<NAME>`; the table below is what `mcp-forecast settings` prints.
"""

from __future__ import annotations

import getpass
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from mcp_forecast_engine.ports import Signing
from mcp_forecast_engine.store.address import SCHEMES, Address, is_postgres, masked

PREFIX = "MCP_FORECAST_"


class SettingInvalid(ValueError):
    """A setting cannot be used: says which, what was found and what is allowed."""


def _setting(default: object, doc: str, *, shown: bool = True) -> object:
    return field(default=default, metadata={"doc": doc}, repr=shown)


@dataclass(frozen=True)
class Settings:
    """Wiring, read once at start. Times are seconds, sizes are bytes."""

    home: Path = _setting(Path("~/.mcp-forecast"), "folder with the database, artifacts, token and logs")  # type: ignore[assignment]
    database: str = _setting("", "postgresql://user@host/name; default: forecast.db in the home", shown=False)  # type: ignore[assignment]
    database_owner: str = _setting("", "the same as the tables' owner, for migrations alone", shown=False)  # type: ignore[assignment]
    roots: tuple[Path, ...] = _setting((), "folders that files may be read from; default: start folder and home")  # type: ignore[assignment]
    caller: str = _setting("", "who calls over stdio; default: local:<user>")  # type: ignore[assignment]
    scopes: tuple[str, ...] = _setting(  # type: ignore[assignment]
        ("forecast:read", "forecast:write", "registry:read", "registry:write"), "what that caller may do"
    )
    environment: str = _setting("local", "whose bundles are meant where a call names no environment")  # type: ignore[assignment]
    rate_per_s: float = _setting(20.0, "calls a second and caller, refill of the bucket")  # type: ignore[assignment]
    rate_burst: float = _setting(100.0, "calls a caller may make at once, size of the bucket")  # type: ignore[assignment]
    lease_s: float = _setting(15.0, "a worker that is silent this long has lost its run")  # type: ignore[assignment]
    wall_limit_s: float = _setting(1800.0, "a run may take this long")  # type: ignore[assignment]
    workers: int = _setting(2, "runs that work at the same time in one home")  # type: ignore[assignment]
    runs_per_day: int = _setting(5000, "runs a caller may ask for in any 24 hours")  # type: ignore[assignment]
    training_minutes_per_day: float = _setting(  # type: ignore[assignment]
        1440.0, "no new run once the runs a caller asked for in the last 24 hours have worked this long"
    )
    runs_at_once: int = _setting(50, "runs a caller may have queued or running")  # type: ignore[assignment]
    queue_limit: int = _setting(500, "runs that may wait in the home; above it new ones are turned away")  # type: ignore[assignment]
    checkpoints: str = _setting("", "folder for signed checkpoints of the log, best elsewhere; default: in the home")  # type: ignore[assignment]
    pretrained: str = _setting("", "folder with a sub-folder per pretrained model that runs may use; default: none")  # type: ignore[assignment]
    governance: str = _setting("", "JSON file with governance profiles of your own; default: the built-in ones")  # type: ignore[assignment]
    signing_key: str = _setting("", "file of the private key (PEM, elliptic curve) that signs bundles; default: none")  # type: ignore[assignment]
    signed_by: str = _setting("", "file of the public key without whose signature no bundle answers; default: none")  # type: ignore[assignment]
    http_host: str = _setting("127.0.0.1", "address the HTTP door binds to")  # type: ignore[assignment]
    http_port: int = _setting(8765, "port of the HTTP door")  # type: ignore[assignment]
    crash_at: str = _setting("", "fault injection for tests: the process kills itself at this named step")  # type: ignore[assignment]

    @property
    def address(self) -> Address:
        """Where the rows of this home are: a PostgreSQL URL, or its SQLite file."""
        return self.database or self.home / "forecast.db"

    @property
    def pretrained_folder(self) -> Path | None:
        """Where the operator keeps pretrained models."""
        return Path(self.pretrained) if self.pretrained else None

    @property
    def signing(self) -> Signing:
        """Whose key signs bundles, and who must have signed them."""
        key, public = (Path(name) if name else None for name in (self.signing_key, self.signed_by))
        return Signing(key, public)

    @property
    def checkpoint_folder(self) -> Path:
        """Where the log's newest checkpoint is written besides the database."""
        return Path(self.checkpoints).expanduser().resolve() if self.checkpoints else self.home / "checkpoints"


def read_settings(environ: Mapping[str, str], start_folder: Path) -> Settings:
    """Settings from the environment. Raises SettingInvalid with the name, the value and what is allowed."""
    _require_known(environ)
    found = {
        f.name: _parse(f.name, environ[PREFIX + f.name.upper()])
        for f in fields(Settings)
        if PREFIX + f.name.upper() in environ
    }
    home = Path(str(found.pop("home", Settings.home))).expanduser().resolve()
    start = start_folder.resolve()
    # Some clients start servers in "/": that must not open the whole disk.
    roots = found.pop("roots", None) or ((home,) if start == Path(start.anchor) else (start, home))
    caller = found.pop("caller", "") or f"local:{_user()}"
    for name in ("pretrained", "governance", "signing_key", "signed_by"):
        if found.get(name):  # workers start in another folder
            found[name] = str((start / Path(str(found[name])).expanduser()).resolve())
    return Settings(home=home, roots=roots, caller=caller, **found)  # type: ignore[arg-type]


def _require_known(environ: Mapping[str, str]) -> None:
    known = [PREFIX + f.name.upper() for f in fields(Settings)]
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known:
            import difflib

            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingInvalid(f"{name} is no setting{hint} `mcp-forecast settings` prints them all")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's uid without a name
        return f"uid{os.getuid()}"


def process_settings() -> Settings:
    """Settings of this process."""
    return read_settings(os.environ, Path.cwd())


def child_environment(settings: Settings) -> dict[str, str]:
    """The environment a spawned worker gets: this process's own, with every setting spelled out.

    Only the owner's address and the signing key are kept back: a worker never migrates nor publishes.
    """
    kept_back = {f"{PREFIX}DATABASE_OWNER": "", f"{PREFIX}SIGNING_KEY": ""}
    return {**os.environ, **_spelled(settings), **kept_back, **dict.fromkeys((*_ONE_THREAD, *_OFFLINE), "1")}


def shown_settings(settings: Settings) -> dict[str, str]:
    """Every variable with its value as it may be printed: passwords are masked."""
    return {name: masked(value) for name, value in _spelled(settings).items()}


def _spelled(settings: Settings) -> dict[str, str]:
    return {PREFIX + f.name.upper(): _spell(getattr(settings, f.name)) for f in fields(Settings)}


_RANGES = {
    "rate_per_s": (0.001, 1e9),
    "rate_burst": (1, 1e9),
    "lease_s": (0.2, 86_400),
    "wall_limit_s": (1, 7 * 86_400),
    "workers": (0, 1024),  # 0: this process starts no worker, others on the home may
    "runs_per_day": (0, 1e9),
    "training_minutes_per_day": (0, 1e9),
    "runs_at_once": (0, 1e6),
    "queue_limit": (0, 1e6),
    "http_port": (0, 65_535),
}
# Bit-identical results need one thread; the libraries read this when they are loaded.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
# Pretrained models are read from the operator's folder; their libraries must not ask a hub for anything.
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY")


def _parse(name: str, text: str) -> object:
    kind = {f.name: f.type for f in fields(Settings)}[name]
    if kind in ("int", "float"):
        return _number(name, text, whole=kind == "int")
    if kind == "tuple[Path, ...]":
        return tuple(Path(part).expanduser().resolve() for part in text.split(os.pathsep) if part)
    if kind == "tuple[str, ...]":
        return tuple(text.replace(",", " ").split())
    if name in ("database", "database_owner") and text and not is_postgres(text):
        # Not quoted: where nobody knows what it is, nobody knows where its password is.
        raise SettingInvalid(f"{PREFIX}{name.upper()} is no PostgreSQL URL; allowed: nothing, or {SCHEMES[0]}…")
    return text


def _number(name: str, text: str, *, whole: bool) -> float:
    least, most = _RANGES[name]
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:  # NaN is in no range
        allowed = f"a{' whole' if whole else ''} number from {least:g} to {most:g}"
        raise SettingInvalid(f"{PREFIX}{name.upper()} is {text!r}; allowed: {allowed}")
    return value


def _spell(value: object) -> str:
    if isinstance(value, tuple):
        return (os.pathsep if value and isinstance(value[0], Path) else " ").join(str(v) for v in value)
    return str(value)

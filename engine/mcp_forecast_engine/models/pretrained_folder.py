"""The folder that the operator names for pretrained models: which lie in it, what they are, what they hash to."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from mcp_forecast_engine.errors import ArtifactCorrupt, DataInvalid, PretrainedUnavailable
from mcp_forecast_engine.store.identity import ALGORITHM, digest

if TYPE_CHECKING:  # torch and what needs it are loaded by a worker, when a model is
    from mcp_forecast_engine.models.pretrained_loading import Reader

FILES_RECIPE: Final = "pretrained_files.v1"
NOT_STATED: Final = "not stated"
# What config.json calls a model: the pipeline of the Chronos library, or the type of the transformers library.
_KIND_OF: Final = {
    "Chronos2Pipeline": "chronos-2",
    "ChronosBoltPipeline": "chronos-bolt",
    "timesfm2_5": "timesfm-2.5",
}

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_ALLOWED_NAME: Final = "the name of a sub-folder: up to 64 of a-z, 0-9, '.', '_' and '-', first a letter or digit"
_CARD: Final = re.compile(r"^license:[ \t]*[\"']?([\w.+ -]{1,60})", re.MULTILINE)
_LICENCE_FILES: Final = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "COPYING")
_READ: Final = 4_096  # characters of a model card or licence
_PLACE: Final = "the folder that MCP_FORECAST_PRETRAINED names"

Signature = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class Checkpoint:
    """A pretrained model as it lies in the folder.

    kind: a name in `pretrained_kinds.KINDS`. sha256: digest over the digests of all its files but hidden ones. licence:
    as its card or licence file names it. context: steps it can read. size: bytes of its weights.
    """

    name: str
    kind: str
    sha256: str
    licence: str
    context: int
    size: int


class PretrainedFolder:
    """The operator's folder, one sub-folder per model; keeps what it found and the model it loaded last.

    The path comes from the composition root and goes no further: settings, artifacts and messages hold names.
    """

    def __init__(self, path: Path | None, pins: Mapping[str, str] | None = None) -> None:
        """path: None where the operator named no folder. pins: digests by name, if only these may be used."""
        self._path, self._pins = path, pins
        self._lock = Lock()  # many plans at once must not hash the same files
        self._found: dict[str, tuple[Signature, Checkpoint]] = {}
        self._loaded: tuple[str, Reader] | None = None

    def names(self) -> tuple[str, ...]:
        """The models that may be used, sorted: the pinned ones, else all that are there."""
        return self._there() if self._pins is None else tuple(sorted(self._pins))

    def pinned(self, pins: Mapping[str, str]) -> PretrainedFolder:
        """The same folder with these models alone, name to digest, as a run was asked for with them."""
        return PretrainedFolder(self._path, dict(pins))

    def checkpoint(self, name: str) -> Checkpoint:
        """What a model is; hashes its files, once for as long as they stay as they are.

        Raises DataInvalid for a name that is none, PretrainedUnavailable where the folder has no such model,
        ArtifactCorrupt where it is pinned and its files are others or gone.
        """
        place = self._place(name)
        with self._lock:
            signature = _signature(place)
            if name not in self._found or self._found[name][0] != signature:
                self._found[name] = signature, _read(name, place, signature)
            found = self._found[name][1]
        if self._pins is not None and self._pins.get(name) != found.sha256:
            raise _changed(name)
        return found

    def outline(self, name: str) -> Checkpoint:
        """The same, but the digest of a pinned model is taken from its pin: no file is hashed before one is needed."""
        if self._pins is None:
            return self.checkpoint(name)
        place = self._place(name)
        try:
            return _read(name, place, _signature(place), sha256=self._pins[name])
        except PretrainedUnavailable as error:  # it could be read when it was pinned
            raise _changed(name) from error

    def reader(self, name: str, sha256: str) -> Reader:
        """The loaded model, if its files are those of this digest: loaded once, kept until another one is asked for.

        Raises ArtifactCorrupt where they were changed, PretrainedUnavailable where the model or its library is absent.
        """
        if self._loaded is not None and self._loaded[0] == sha256:
            return self._loaded[1]
        found = self.checkpoint(name)
        if found.sha256 != sha256:
            raise ArtifactCorrupt(
                f"the files of the pretrained model {name!r} are not those this was trained with: {found.sha256} "
                f"instead of {sha256}",
                next_step="ask the operator to put the former files back, or train again with the present ones",
            )
        from mcp_forecast_engine.models.pretrained_loading import load  # torch: only in a worker

        self._loaded = None  # two models at once might not fit into memory
        self._loaded = sha256, load(found, self._place(name))
        return self._loaded[1]

    def _place(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise DataInvalid(
                f"{name[:80]!r} is no name of a pretrained model", field="pretrained", allowed=_ALLOWED_NAME
            )
        if self._path is None:
            raise PretrainedUnavailable(
                f"the pretrained model {name!r} cannot be read: the operator has named no folder of pretrained models",
                field="pretrained",
                next_step="ask the operator to set MCP_FORECAST_PRETRAINED, or train without it",
            )
        if self._pins is not None and not (name in self._pins and name in self._there()):
            raise _changed(name)
        if name not in self._there():
            raise PretrainedUnavailable(
                f"there is no pretrained model {name!r} with a config.json in {_PLACE}",
                field="pretrained",
                allowed=list(self._there()) or "none: the folder holds no model",
                next_step="use a listed name, or ask the operator to put the model's files into a sub-folder so named",
            )
        return self._path / name

    def _there(self) -> tuple[str, ...]:
        """Sub-folders with a usable name and a config.json."""
        if self._path is None or not self._path.is_dir():
            return ()
        inside = sorted(path for path in self._path.iterdir() if _NAME.fullmatch(path.name))
        return tuple(path.name for path in inside if (path / "config.json").is_file())


_FOLDER: ContextVar[PretrainedFolder] = ContextVar("pretrained_folder", default=PretrainedFolder(None))  # noqa: B039


def pretrained_folder() -> PretrainedFolder:
    """The folder that this work may read; without one, an empty one.

    A context value, set where a worker starts a run (`Engine.perform`), because a fitted model is a value that may not
    hold a path, and families are called with data and settings alone.
    """
    return _FOLDER.get()


@contextmanager
def reading_from(folder: PretrainedFolder) -> Iterator[None]:
    """Let the work inside read this folder."""
    token = _FOLDER.set(folder)
    try:
        yield
    finally:
        _FOLDER.reset(token)


def _signature(place: Path) -> Signature:
    """Names, sizes and times of all files: when they are as before, so are the contents."""
    found = []
    for path in sorted(place.rglob("*")):
        part = path.relative_to(place)
        if path.is_file() and not any(name.startswith(".") for name in part.parts):
            told = path.stat()
            found.append((part.as_posix(), told.st_size, told.st_mtime_ns, told.st_ino))
    return tuple(found)


def _changed(name: str) -> ArtifactCorrupt:
    return ArtifactCorrupt(
        f"the files of the pretrained model {name!r} were changed or removed since this run was asked for",
        next_step="ask for the training again: with the files of now it is another run",
    )


def _read(name: str, place: Path, signature: Signature, *, sha256: str = "") -> Checkpoint:
    config = _config(name, place)
    kind = _KIND_OF.get(str(config.get("chronos_pipeline_class") or config.get("model_type")))
    if kind is None:
        raise PretrainedUnavailable(
            f"the pretrained model {name!r} is of a kind that cannot be read",
            field="pretrained",
            allowed=list(_KIND_OF.values()),
        )
    size = sum(size for file, size, *_ in signature if file.endswith(".safetensors"))
    if not size:
        # The other format of weights is a pickle, which runs code when it is read.
        raise PretrainedUnavailable(
            f"the pretrained model {name!r} has no weights in the safetensors format", field="pretrained",
            next_step="ask the operator for the model's .safetensors files",
        )  # fmt: skip
    if not sha256:
        files = {file: _digest_of_file(place / file) for file, *_ in signature}
        sha256 = digest(FILES_RECIPE, {"files": files})
    told = config.get("chronos_config")
    context = (told if isinstance(told, dict) else config).get("context_length", 2_048)
    if not isinstance(context, int) or context < 1:
        raise PretrainedUnavailable(
            f"config.json of the pretrained model {name!r} states no context length", field="pretrained",
            next_step="ask the operator to fetch the model's files again",
        )  # fmt: skip
    return Checkpoint(name, kind, sha256, _licence(place, config), int(context), size)


def _config(name: str, place: Path) -> dict[str, Any]:
    try:
        config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PretrainedUnavailable(
            f"config.json of the pretrained model {name!r} cannot be read", field="pretrained",
            next_step="ask the operator to fetch the model's files again",
        ) from error  # fmt: skip
    return config if isinstance(config, dict) else {}


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return f"{ALGORITHM}:{hashlib.file_digest(file, ALGORITHM).hexdigest()}"


def _licence(place: Path, config: dict[str, Any]) -> str:
    """What the model's card or configuration calls its licence, else the first line of its licence file."""
    card = _CARD.search(_start(place / "README.md"))
    told = card.group(1) if card else config.get("license")
    if not told:
        lines = (line.strip() for name in _LICENCE_FILES for line in _start(place / name).splitlines())
        told = next((line for line in lines if line), "")
    plain = "".join(letter for letter in str(told) if letter.isprintable()).strip()
    return plain[:80] or NOT_STATED


def _start(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(_READ)

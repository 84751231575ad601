"""The folder that the operator names for pretrained models: which lie in it, and the one that is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final

from mcp_forecast_engine.errors import ArtifactCorrupt, DataInvalid, PretrainedUnavailable
from mcp_forecast_engine.models.pretrained_checkpoint import (
    Checkpoint,
    Signature,
    read_checkpoint,
    readable,
    signature_of,
)

if TYPE_CHECKING:  # torch and what needs it are loaded by a worker, when a model is
    from mcp_forecast_engine.models.pretrained_loading import Reader

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_ALLOWED_NAME: Final = "the name of a sub-folder: up to 64 of a-z, 0-9, '.', '_' and '-', first a letter or digit"
_PLACE: Final = "the folder that MCP_FORECAST_PRETRAINED names"


class PretrainedFolder:
    """The operator's folder, one sub-folder per model; keeps what it found and the model it loaded last.

    The path comes from the composition root and goes no further: settings, artifacts and messages hold names.
    """

    def __init__(self, path: Path | None, pins: Mapping[str, str] | None = None) -> None:
        """path: None where the operator named no folder. pins: digests by name, if only these may be used."""
        self._path, self._pins = path, pins
        self._lock = Lock()  # many plans at once must not hash the same files
        self._found: dict[str, tuple[Signature, Checkpoint]] = {}
        self._loading = Lock()  # many windows at once must not load the same model
        self._loaded: tuple[str, Reader] | None = None

    def names(self) -> tuple[str, ...]:
        """The models that may be used, sorted: the pinned ones, else all that are there.

        Raises PretrainedUnavailable where the folder cannot be read.
        """
        return self._there() if self._pins is None else tuple(sorted(self._pins))

    def pinned(self, pins: Mapping[str, str]) -> PretrainedFolder:
        """The same folder with these models alone, name to digest, as a run was asked for with them."""
        return PretrainedFolder(self._path, dict(pins))

    def checkpoint(self, name: str) -> Checkpoint:
        """What a model is; hashes its files, once for as long as they stay as they are.

        Raises DataInvalid for a name that is none, PretrainedUnavailable where the folder has no such model or it is
        broken, ArtifactCorrupt where it is pinned and its files are others, broken or gone.
        """
        place = self._place(name)
        with self._as_pinned(name), self._lock:
            signature = signature_of(place)
            if name not in self._found or self._found[name][0] != signature:
                self._found[name] = signature, read_checkpoint(name, place, signature)
            found = self._found[name][1]
        if self._pins is not None and self._pins.get(name) != found.sha256:
            raise _changed(name)
        return found

    def outline(self, name: str) -> Checkpoint:
        """The same, but the digest of a pinned model is taken from its pin: no file is hashed before one is needed."""
        if self._pins is None:
            return self.checkpoint(name)
        place = self._place(name)
        with self._as_pinned(name):
            return read_checkpoint(name, place, signature_of(place), sha256=self._pins[name])

    def reader(self, name: str, sha256: str) -> Reader:
        """The loaded model, if its files are those of this digest: loaded once, kept until another one is asked for.

        Any thread may ask; others wait while one loads. Raises ArtifactCorrupt where the files were changed,
        PretrainedUnavailable where the model or its library is absent or its files are broken.
        """
        with self._loading:
            if self._loaded is None or self._loaded[0] != sha256:
                self._loaded = None  # two models at once might not fit into memory
                self._loaded = sha256, self._load(name, sha256)
            return self._loaded[1]

    def _load(self, name: str, sha256: str) -> Reader:
        found = self.checkpoint(name)
        if found.sha256 != sha256:
            raise ArtifactCorrupt(
                f"the files of the pretrained model {name!r} are not those this was trained with: {found.sha256} "
                f"instead of {sha256}",
                next_step="ask the operator to put the former files back, or train again with the present ones",
            )
        from mcp_forecast_engine.models.pretrained_loading import load  # torch: only in a worker

        return load(found, self._place(name))

    @contextmanager
    def _as_pinned(self, name: str) -> Iterator[None]:
        """Tell what is wrong with the files of a model; of a pinned one, that they are no longer what they were."""
        try:
            with readable(f"the files of the pretrained model {name!r}"):
                yield
        except PretrainedUnavailable as error:
            if self._pins is None:
                raise
            raise _changed(name, error.message) from error  # it could be read when it was pinned

    def _place(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise DataInvalid(
                f"{name[:80]!r} is no name of a pretrained model", field="pretrained", allowed=_ALLOWED_NAME,
                next_step="name the sub-folder alone, without its path",
            )  # fmt: skip
        if self._path is None:
            raise PretrainedUnavailable(
                f"the pretrained model {name!r} cannot be read: the operator has named no folder of pretrained models",
                field="pretrained",
                allowed="none: there is no folder",
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
        with readable(_PLACE):
            if self._path is None or not self._path.is_dir():
                return ()
            inside = sorted(path for path in self._path.iterdir() if _NAME.fullmatch(path.name))
        return tuple(path.name for path in inside if _is_model(path))


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


def _is_model(place: Path) -> bool:
    try:
        return (place / "config.json").is_file()
    except OSError:  # what cannot be looked into is refused by its name, not passed over
        return True


def _changed(name: str, how: str = "") -> ArtifactCorrupt:
    return ArtifactCorrupt(
        f"the files of the pretrained model {name!r} were changed or removed since this run was asked for"
        + (f": {how}" if how else ""),
        next_step="ask for the training again: with the files of now it is another run",
    )

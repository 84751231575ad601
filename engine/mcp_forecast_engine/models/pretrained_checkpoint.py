"""One pretrained model as it lies in a folder: what its files say and hash to; nothing of it is loaded here."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mcp_forecast_engine.errors import PretrainedUnavailable
from mcp_forecast_engine.store.identity import ALGORITHM, digest

FILES_RECIPE: Final = "pretrained_files.v1"
NOT_STATED: Final = "not stated"
# What config.json calls a model: the pipeline of the Chronos library, or the type of the transformers library.
_KIND_OF: Final = {
    "Chronos2Pipeline": "chronos-2",
    "ChronosBoltPipeline": "chronos-bolt",
    "timesfm2_5": "timesfm-2.5",
}

_CARD: Final = re.compile(r"^license:[ \t]*[\"']?([\w.+ -]{1,60})", re.MULTILINE)
_LICENCE_FILES: Final = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "COPYING")
_READ: Final = 4_096  # characters of a model card or licence
FETCH_AGAIN: Final = "ask the operator to fetch the model's files again"

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


def signature_of(place: Path) -> Signature:
    """Names, sizes and times of all files: when they are as before, so are the contents. Raises OSError."""
    found = []
    for path in sorted(place.rglob("*")):
        part = path.relative_to(place)
        if path.is_file() and not any(name.startswith(".") for name in part.parts):
            told = path.stat()
            found.append((part.as_posix(), told.st_size, told.st_mtime_ns, told.st_ino))
    return tuple(found)


def read_checkpoint(name: str, place: Path, signature: Signature, *, sha256: str = "") -> Checkpoint:
    """What the files in `place` say they are; hashes them all where no `sha256` is given.

    Raises PretrainedUnavailable where they are no model of a known kind, OSError where one cannot be read.
    """
    config = _config(name, place)
    kind = _KIND_OF.get(str(config.get("chronos_pipeline_class") or config.get("model_type")))
    if kind is None:
        raise PretrainedUnavailable(
            f"the pretrained model {name!r} is of a kind that cannot be read",
            field="pretrained",
            allowed=list(_KIND_OF.values()),
            next_step="ask the operator for a model of a listed kind, or train without it",
        )
    size = sum(size for file, size, *_ in signature if file.endswith(".safetensors"))
    if not size:
        # The other format of weights is a pickle, which runs code when it is read.
        raise PretrainedUnavailable(
            f"the pretrained model {name!r} has no weights in the safetensors format", field="pretrained",
            allowed="files that end in .safetensors",
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
            allowed="a whole number of steps from 1 on", next_step=FETCH_AGAIN,
        )  # fmt: skip
    return Checkpoint(name, kind, sha256, _licence(place, config), int(context), size)


def _config(name: str, place: Path) -> dict[str, Any]:
    try:
        config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise PretrainedUnavailable(
            f"config.json of the pretrained model {name!r} cannot be read", field="pretrained",
            allowed="a JSON object", next_step=FETCH_AGAIN,
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


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Turn what the operating system refuses into PretrainedUnavailable; its own words would tell the path."""
    try:
        yield
    except OSError as error:
        raise PretrainedUnavailable(
            f"{what} cannot be read: {error.strerror or type(error).__name__}", field="pretrained",
            allowed="files that the server's user may read, on a disk that answers",
            next_step="ask the operator to check the files and their rights, or train without the model",
        ) from error  # fmt: skip

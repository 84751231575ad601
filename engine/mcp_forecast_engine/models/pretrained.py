"""Pretrained models (Chronos-2, Chronos-Bolt, TimesFM 2.5) from the operator's folder: nothing is trained here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.errors import DataInvalid, PretrainedUnavailable
from mcp_forecast_engine.models.features import layout_for
from mcp_forecast_engine.models.forecaster import Settings
from mcp_forecast_engine.models.pretrained_checkpoint import Checkpoint
from mcp_forecast_engine.models.pretrained_folder import PretrainedFolder, pretrained_folder
from mcp_forecast_engine.models.pretrained_kinds import EXTRA, KINDS
from mcp_forecast_engine.models.pretrained_path import PretrainedPath
from mcp_forecast_engine.models.spec import ForecastSpec

Integers = NDArray[np.int64]

LONGEST_CONTEXT = 2_048
# Steps of target and covariates together that one window may hold: thousands of windows are gathered at a time.
_MOST_NUMBERS = 8_192
# CPU seconds of a window beside the model's own arithmetic; bytes of a weight.
_PER_WINDOW = 0.001
_BYTES = 4
# CPU seconds before the first forecast: the libraries' import, then for a billion bytes of weights hash and load.
_START, _START_GIGA = 4.0, 1.7


class Pretrained:
    """A model that others trained, asked as it is.

    Settings: model, a sub-folder of the operator's folder; kind; sha256, of its files; licence; library, the release
    that loads it; lookback, the steps it reads. M4 and ETT data sit in many pretraining sets, so a good score on
    public data may be recall.
    """

    family: ClassVar[str] = "pretrained"

    @classmethod
    def tune(cls, panel: Panel, spec: ForecastSpec, origins: Sequence[Integers], asked: Settings) -> Settings:
        """Fix which model, by name and digest, and how far back it reads; there is nothing to choose on windows.

        asked: model, and lookback if another one than `context_for` is wanted. Raises DataInvalid where no model is
        named, PretrainedUnavailable where it or its library is absent.
        """
        if not isinstance(asked.get("model"), str):
            raise DataInvalid(
                "no pretrained model is named", field="pretrained", allowed=list(pretrained_folder().names()),
                next_step="name one of the models in the operator's folder",
            )  # fmt: skip
        found = pretrained_folder().checkpoint(asked["model"])
        until = origins[0] if len(origins) else panel.lengths
        steps = int(np.median(until[until >= 0])) if np.any(until >= 0) else spec.lookback
        return {
            "model": found.name,
            "kind": found.kind,
            "sha256": found.sha256,
            "licence": found.licence,
            "library": library_of(found),
            "lookback": int(asked.get("lookback", context_for(found, spec, steps))),
        }

    @classmethod
    def fit(
        cls, panel: Panel, spec: ForecastSpec, settings: Settings, *, phases: Integers | None = None
    ) -> PretrainedPath:
        """Nothing is learned; what is read is fixed: target and, where the kind reads any, covariates in step."""
        own = replace(read_by(settings["kind"], spec), lookback=settings["lookback"])
        layout = replace(layout_for(own, panel.axis), past=own.lookback if own.covariates else 1)
        return PretrainedPath(
            layout=layout,
            name=settings["model"],
            kind=settings["kind"],
            sha256=settings["sha256"],
            licence=settings["licence"],
            library=settings["library"],
            categorical=tuple(name for name in layout.cov_hist if name in panel.categories),
        )


def read_by(kind: str, spec: ForecastSpec) -> ForecastSpec:
    """The question with the columns that a kind of model reads: no static ones, and many kinds none at all."""
    if KINDS[kind].covariates:
        return replace(spec, static=())
    return replace(spec, static=(), historical=(), known_future=())


def context_for(checkpoint: Checkpoint, spec: ForecastSpec, history: int) -> int:
    """How many steps a model reads: all of a typical history, up to 2,048, what it can read, and what memory allows."""
    columns = 1 + len(read_by(checkpoint.kind, spec).covariates)
    most = min(LONGEST_CONTEXT, checkpoint.context, _MOST_NUMBERS // columns)
    return max(min(history, most), 1)


def forecast_cpu_s(checkpoint: Checkpoint, spec: ForecastSpec, history: int) -> float:
    """What one window costs, CPU seconds of one thread: parameters times tokens of target and covariates."""
    kind, context = KINDS[checkpoint.kind], context_for(checkpoint, spec, history)
    passes = 1 + (-(-spec.horizon // kind.horizon) - 1) * kind.unrolled
    tokens = context / kind.patch + min(spec.horizon, kind.horizon) / kind.patch + 1
    rows = 1 + len(read_by(checkpoint.kind, spec).covariates)
    return _PER_WINDOW + kind.giga_s * (checkpoint.size / _BYTES / 1e9) * tokens * rows * passes


def start_cpu_s(checkpoint: Checkpoint) -> float:
    """What importing the library, hashing and loading costs once, CPU seconds of one thread."""
    return _START + _START_GIGA * checkpoint.size / 1e9


def at_hand(folder: PretrainedFolder) -> tuple[dict[str, str], tuple[str, ...]]:
    """The models that can take part in a training, name to digest, and why others cannot, as sentences."""
    found: dict[str, str] = {}
    left_out: list[str] = []
    try:
        names = folder.names()
    except PretrainedUnavailable as refusal:
        return {}, (f"no pretrained model takes part: {refusal.message}",)
    for name in names:
        try:
            checkpoint = folder.checkpoint(name)
            library_of(checkpoint)
        except PretrainedUnavailable as refusal:
            left_out.append(f"the pretrained model {name} takes no part: {refusal.message}")
            continue
        found[name] = checkpoint.sha256
    return found, tuple(left_out)


def library_of(checkpoint: Checkpoint) -> str:
    """The library that loads a model, with its release. Raises PretrainedUnavailable where it is not installed."""
    name = KINDS[checkpoint.kind].library
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError as error:
        raise PretrainedUnavailable(
            f"{name}, which loads {checkpoint.name!r}, is not installed", field="pretrained",
            next_step=f"ask the operator to install {EXTRA}, or train without it",
        ) from error  # fmt: skip

"""Pretrained models from local files: torch and the models' own libraries are imported here, and only by a worker."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.errors import PretrainedUnavailable
from mcp_forecast_engine.models.pretrained_checkpoint import FETCH_AGAIN, Checkpoint
from mcp_forecast_engine.models.pretrained_kinds import EXTRA, MOST_ROWS

Floats = NDArray[np.float64]

# What libraries raise for files that are cut off, mixed up or told wrong.
_BROKEN = (
    OSError, ValueError, TypeError, LookupError, AttributeError, AssertionError, ArithmeticError, RuntimeError,
)  # fmt: skip
_PROBE = 32  # steps


@dataclass(frozen=True)
class Window:
    """What a pretrained model reads at one origin: n genuine steps of the target and of every covariate.

    past: name to (n); numbers, or texts for categories. ahead: the covariates known in future, name to (horizon).
    """

    target: Floats
    past: Mapping[str, NDArray[Any]]
    ahead: Mapping[str, NDArray[Any]]


class Reader(Protocol):
    """A loaded model."""

    def medians(self, windows: Sequence[Window], horizon: int, context: int) -> Floats:
        """The median path of every window, (B, horizon); context: the longest that windows may be."""
        ...


def load(checkpoint: Checkpoint, place: Path) -> Reader:
    """Load a model from the files in `place`, never from a network.

    Raises PretrainedUnavailable where its library is not installed or the files are not a whole model of its kind.
    """
    try:
        from huggingface_hub.errors import StrictDataclassError
        from safetensors import SafetensorError

        found = READERS[checkpoint.kind](place)
        # Some faults of a configuration show only when the model answers.
        found.medians([Window(np.arange(_PROBE, dtype=np.float64), {}, {})], 1, _PROBE)
    except ImportError as error:
        raise PretrainedUnavailable(
            f"the library that loads {checkpoint.name!r} ({checkpoint.kind}) is not installed", field="pretrained",
            allowed=EXTRA, next_step=f"ask the operator to install {EXTRA}, or train without it",
        ) from error  # fmt: skip
    except (*_BROKEN, SafetensorError, StrictDataclassError) as error:
        raise PretrainedUnavailable(
            f"the files of the pretrained model {checkpoint.name!r} are no whole {checkpoint.kind}", field="pretrained",
            allowed="the files of the model as its makers published them",
            next_step=FETCH_AGAIN,
        ) from error  # fmt: skip
    return found


@dataclass(frozen=True)
class _Chronos2:
    """Chronos-2 (Ansari et al. 2025): reads past and known-future covariates, numbers and categories.

    middle: the place of the median among its quantiles.
    """

    pipeline: Any
    middle: int

    def medians(self, windows: Sequence[Window], horizon: int, context: int) -> Floats:
        """See `Reader`; windows do not see each other (`cross_learning` stays off)."""
        tasks = [{"target": w.target, "past_covariates": w.past, "future_covariates": w.ahead} for w in windows]
        found = self.pipeline.predict(
            tasks, prediction_length=horizon, batch_size=MOST_ROWS, context_length=context, cross_learning=False
        )
        return np.stack([one[0, self.middle].numpy() for one in found]).astype(np.float64)


@dataclass(frozen=True)
class _ChronosBolt:
    """Chronos-Bolt (Ansari et al. 2024): reads the target alone. middle: as of `_Chronos2`."""

    pipeline: Any
    middle: int

    def medians(self, windows: Sequence[Window], horizon: int, context: int) -> Floats:
        """See `Reader`."""
        import torch

        tasks = [torch.from_numpy(w.target.astype(np.float32)) for w in windows]
        found = self.pipeline.predict(tasks, prediction_length=horizon)
        return np.asarray(found[:, self.middle].numpy(), np.float64)


@dataclass(frozen=True)
class _TimesFm:
    """TimesFM 2.5 (Das et al. 2024): reads the target alone; longer horizons by feeding its median back."""

    model: Any

    def medians(self, windows: Sequence[Window], horizon: int, context: int) -> Floats:
        """See `Reader`. A short window is filled up with zeros, so targets come with a mean of zero."""
        import torch

        patch = self.model.config.patch_length
        length = min(math.ceil(context / patch) * patch, self.model.config.context_length)
        seen = [torch.from_numpy(w.target.astype(np.float32)) for w in windows]
        found: list[Any] = []
        while sum(part.shape[1] for part in found) < horizon:
            # Truncation would depend on the lowest value of all windows of the call.
            with torch.no_grad():
                told = self.model(past_values=seen, forecast_context_len=length, truncate_negative=False)
            found.append(told.mean_predictions)
            seen = [torch.cat([one, more]) for one, more in zip(seen, found[-1], strict=True)]
        return np.asarray(torch.cat(found, dim=1)[:, :horizon].numpy(), np.float64)


def _chronos_2(place: Path) -> Reader:
    from chronos.chronos2 import Chronos2Model, Chronos2Pipeline

    pipeline = Chronos2Pipeline(model=_whole(Chronos2Model, place))
    return _Chronos2(pipeline, list(pipeline.quantiles).index(0.5))


def _chronos_bolt(place: Path) -> Reader:
    from chronos.chronos_bolt import ChronosBoltModelForForecasting, ChronosBoltPipeline

    pipeline = ChronosBoltPipeline(model=_whole(ChronosBoltModelForForecasting, place))
    return _ChronosBolt(pipeline, list(pipeline.quantiles).index(0.5))


def _timesfm(place: Path) -> Reader:
    from transformers import TimesFm2_5ModelForPrediction

    return _TimesFm(_whole(TimesFm2_5ModelForPrediction, place))


# The classes are fixed here: no name in a file chooses what code runs.
READERS: Final[dict[str, Callable[[Path], Reader]]] = {
    "chronos-2": _chronos_2,
    "chronos-bolt": _chronos_bolt,
    "timesfm-2.5": _timesfm,
}


def _whole(kind: Any, place: Path) -> Any:
    """A model of this class with every weight from the files, in float32 on the CPU; ValueError where one is absent."""
    import torch
    from huggingface_hub import constants

    constants.HF_HUB_OFFLINE = True  # workers get it in their environment; whoever else loads here gets it too
    model, told = kind.from_pretrained(
        place, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
    )
    if told["missing_keys"] or told["mismatched_keys"]:  # the library would fill them with random numbers
        raise ValueError("weights are missing")
    return model.eval()

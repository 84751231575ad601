"""Small networks beside a linear skip, trained side by side in batched products; torch is imported here only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.models.network_path import Layers

if TYPE_CHECKING:
    import torch

Singles = NDArray[np.float32]

_WARM = 0.2
_LAST = 0.01
# Numbers of a mask bank: masks of dropout are cut out of it at random places, which is cheaper than to draw each anew.
_BANK = 1 << 20


@dataclass(frozen=True)
class TrainingSettings:
    """How long and how strongly to train.

    hidden: units per layer. seeds: networks side by side. steps: updates. batch: windows per update. rate: the peak of
    a one-cycle learning rate; the linear skip learns at skip_rate times it. dropout: part of the units left out.
    decay: AdamW's weight decay; skip_decay pulls the linear skip to its start. seed: of everything drawn.
    """

    hidden: int
    seeds: int
    steps: int
    batch: int
    rate: float
    skip_rate: float
    dropout: float
    decay: float
    skip_decay: float
    seed: int


class Dropout:
    """Leaves units out at random; the same seed leaves out the same ones."""

    def __init__(self, part: float, draw: torch.Generator, largest: int) -> None:
        """part: how many are left out; largest: elements of the largest array."""
        import torch

        self._draw, self._torch = draw, torch
        self._bank = None
        if part > 0:
            keep = 1.0 - part
            self._bank = torch.empty(_BANK + largest).bernoulli_(keep, generator=draw).div_(keep)

    def __call__(self, a: torch.Tensor) -> torch.Tensor:
        """The array with some elements at zero and the others raised to keep the mean."""
        if self._bank is None:
            return a
        start = int(self._torch.randint(_BANK, (), generator=self._draw))
        return a * self._bank[start : start + a.numel()].view(a.shape)


def train(
    rows: Singles, z: Singles, weight: Singles, start: tuple[Singles, Singles], training: TrainingSettings
) -> Layers:
    """Train on windows (W, p) and targets (W, h), each counted `weight` (W), from a linear start, weights (p, h) and
    bias (h). The last layer starts at zero, so training begins at the linear start. Loss: weighted absolute error.
    """
    import torch

    skip, bias = start
    p, h = skip.shape
    size, seeds = training.hidden, training.seeds
    draw = torch.Generator().manual_seed(training.seed)
    w1, w2 = drawn(draw, p, seeds * size, fan=p), drawn(draw, seeds, size, size, fan=size)
    b1, b2 = zeros(seeds * size), zeros(seeds, 1, size)
    w3, ws, bs = zeros(seeds, size, h), zeros(p, seeds * h), zeros(seeds * h)
    thin = Dropout(training.dropout, draw, min(training.batch, len(rows)) * seeds * size)
    silu = torch.nn.functional.silu

    def rest(x: torch.Tensor) -> torch.Tensor:
        """What every network adds to the linear start, (S, B, h)."""
        a = thin(silu(torch.addmm(b1, x, w1))).view(len(x), seeds, size).transpose(0, 1)
        a = thin(silu(torch.baddbmm(b2, a, w2)))
        linear = torch.addmm(bs, x, ws).view(len(x), seeds, h).transpose(0, 1)
        return torch.baddbmm(linear, a, w3)

    groups = [
        {"params": [w1, w2, w3], "weight_decay": training.decay, "scale": 1.0},
        {"params": [b1, b2], "weight_decay": 0.0, "scale": 1.0},
        {"params": [ws, bs], "weight_decay": training.skip_decay, "scale": training.skip_rate},
    ]
    descend(rest, groups, rows, z - (rows @ skip + bias), weight, training, draw)
    return Layers(
        skip=skip + as_array(ws).reshape(p, seeds, h).mean(axis=1),
        bias=bias + as_array(bs).reshape(seeds, h).mean(axis=0),
        first=as_array(w1),
        first_bias=as_array(b1),
        second=as_array(w2),
        second_bias=as_array(b2)[:, 0],
        third=as_array(w3) / np.float32(seeds),
    )


def descend(
    rest: Any,
    groups: list[dict[str, Any]],
    rows: Singles,
    wanted: Singles,
    weight: Singles,
    training: TrainingSettings,
    draw: torch.Generator,
) -> None:
    """Minimise the weighted absolute error of `rest`, (B, p) to (S, B, h), against wanted (W, h), on one thread."""
    import torch

    with one_torch_thread():
        x, y, share = (torch.from_numpy(np.ascontiguousarray(a)) for a in (rows, wanted, weight[:, None]))
        optimiser = torch.optim.AdamW(groups, lr=training.rate, betas=(0.9, 0.99), fused=True)
        batch = min(training.batch, len(rows))
        order, place = torch.randperm(len(rows), generator=draw), 0
        for step in range(training.steps):
            if place + batch > len(rows):
                order, place = torch.randperm(len(rows), generator=draw), 0
            part = order[place : place + batch]
            place += batch
            for group in optimiser.param_groups:
                group["lr"] = training.rate * group["scale"] * one_cycle(step, training.steps)
            loss = ((rest(x[part]) - y[part]).abs() * share[part]).mean(dim=(1, 2)).sum()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Pin torch to one thread while this is open: the same answer whatever the number of cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def one_cycle(step: int, steps: int) -> float:
    """A part of the peak rate: from a tenth up to it over the first 20 %, then down half a cosine to a hundredth."""
    up = max(int(_WARM * steps), 1)
    if step < up:
        return 0.1 + 0.9 * step / up
    return float(_LAST + (1 - _LAST) * 0.5 * (1 + np.cos(np.pi * (step - up) / max(steps - up, 1))))


def drawn(draw: torch.Generator, *shape: int, fan: int) -> torch.Tensor:
    """Weights at random, of variance 1 / fan."""
    import torch

    weights: torch.Tensor = torch.randn(*shape, generator=draw) * float(fan) ** -0.5
    return weights.requires_grad_()


def zeros(*shape: int) -> torch.Tensor:
    """Weights at zero."""
    import torch

    return torch.zeros(*shape, requires_grad=True)


def as_array(value: torch.Tensor) -> Singles:
    """A tensor's numbers."""
    return np.asarray(value.detach().numpy(), np.float32)

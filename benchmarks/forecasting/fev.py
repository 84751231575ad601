"""fev-bench's published scores (autogluon/fev, benchmarks/fev_bench/results @ 1bc95fd, Apache-2.0)."""

from __future__ import annotations

import csv
from pathlib import Path

from forecasting.tasks import Published

SOURCE = "fev-bench results @ 1bc95fd"


def published(folder: Path, task: str, *, most: int = 12) -> tuple[Published, ...]:
    """The best rows of a task by MASE, the best of a model's several sizes only, with the seasonal naive."""
    with (folder / "refs_fev_bench.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["task_name"] == task]
    best: dict[str, dict[str, str]] = {}
    for row in sorted(rows, key=lambda row: float(row["MASE"])):
        best.setdefault(row["model"], row)
    kept = [name for at, name in enumerate(best) if at < most or name in ("lightgbm", "seasonal_naive")]
    return tuple(Published(n, {m: float(best[n][m]) for m in ("MASE", "SQL")}, SOURCE) for n in kept)

"""Print what the rows' results hold as one Markdown table: `python benchmarks/forecasting/summary.py`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from forecasting.measure import Entry
from forecasting.rows import ROWS
from forecasting.table import AIM_OF, missed_scores, stored, too_slow
from forecasting.tasks import Row

BUDGETS = ("small", "large")
MISSED = " ✗"  # behind a figure that does not reach the aim of its budget


def main() -> None:
    """The table, a line per row: its aims, and each budget's scores and CPU seconds (✗: behind), peak memory."""
    print("| row | score | floor | goal | small | CPU s | large | CPU s | MB | peers here (CPU s) |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in ROWS.values():
        print(line(row, stored(row)))


def line(row: Row, entries: Mapping[str, Entry]) -> str:
    """One row of the table; the scores are those that its aims name."""
    aims = {aim.name: aim for aim in row.aims}
    names = list(aims["floor"].scores)
    cells = [row.name, ", ".join(names)]
    for name in ("floor", "goal"):
        aim = aims.get(name)
        told = "" if aim is None else " / ".join(f"{aim.scores[score]:g}" for score in names)
        cells.append(told + (f" in {aim.cpu_s:g} s" if aim is not None and aim.cpu_s else ""))
    for budget in BUDGETS:
        entry = entries.get(budget)
        if entry is None:
            cells += ["", ""]
            continue
        found = [entry["scores"][score] for score in names]
        aim = aims.get(AIM_OF[budget])
        behind, slow = (False, False) if aim is None else (bool(missed_scores(entry, aim)), too_slow(entry, aim))
        scores = " / ".join("-" if value is None else f"{value:.4g}" for value in found)
        cells.append(scores + MISSED * behind)
        cells.append(f"{entry['cpu_s']:.1f}" + MISSED * slow)
    peak = max((entries[b]["peak_rss_mb"] for b in BUDGETS if b in entries), default=0)
    others = [peer(name, entry, names) for name, entry in entries.items() if name not in (*BUDGETS, "naive")]
    return "| " + " | ".join([*cells, f"{peak:.0f}", "; ".join(others)]) + " |"


def peer(name: str, entry: Entry, scores: Sequence[str]) -> str:
    """A peer's name, its scores and CPU seconds."""
    found = " / ".join(f"{entry['scores'][score]:.4g}" for score in scores)
    return f"{name} {found} ({entry['cpu_s']:.0f})"


if __name__ == "__main__":
    main()

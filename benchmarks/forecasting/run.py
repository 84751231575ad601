"""Measure one row of the forecasting table, and print it beside what others reached.

    python benchmarks/forecasting/run.py --row epf_np --budget small|large|naive|peers
                                         [--peer NAME] [--data DIR] [--results DIR | --keep]
    python benchmarks/forecasting/run.py --install-peers

Writes ROW.json into benchmarks/forecasting/.measured or the folder named (--keep: into the results that are kept with
the source, from which the README's table is printed), one entry per budget and peer, with CPU seconds (choice, fits and
all forecasts; reading and imports apart), peak memory, date and machine. Fetches nothing; only --install-peers does.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from forecasting import ours, peer_runs
from forecasting.earlier import RUNS
from forecasting.measure import Entry, measure, references
from forecasting.rows import ROWS
from forecasting.table import MEASURED, RESULTS, store, stored, table, told
from forecasting.tasks import Forecasts, Row, Task
from mcp_forecast_engine.data.frame import Panel

BUDGETS = ("small", "large", "naive", "peers")
DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row", choices=(*ROWS, "all"))
    parser.add_argument("--budget", choices=BUDGETS, default="small")
    parser.add_argument("--peer", help="only this peer of the row")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data sets")
    places = parser.add_mutually_exclusive_group()
    places.add_argument("--results", type=Path, default=MEASURED, help="folder that results are written to")
    places.add_argument(
        "--keep",
        dest="results",
        action="store_const",
        const=RESULTS,
        help="write into the results kept with the source",
    )
    parser.add_argument("--install-peers", action="store_true", help="make the peers' environment, once")
    asked = parser.parse_args()
    if asked.install_peers:
        peer_runs.install()
        return
    if asked.row is None:
        parser.error("name a row with --row")
    if not asked.data.is_dir():
        parser.error(
            f"there is no folder {asked.data}: name that of the data sets with --data, or DATA= of make; "
            "the README says where the series come from"
        )
    if asked.row == "all":
        each_alone(asked.budget, asked.data, asked.results)
        return
    print(run(ROWS[asked.row], asked.budget, asked.data, asked.results, peer=asked.peer))


def each_alone(budget: str, data: Path, results: Path) -> None:
    """Every row in a process of its own, so that peak memory is its own. Ends with the names of those that failed."""
    command = [sys.executable, __file__, "--budget", budget, "--data", str(data), "--results", str(results), "--row"]
    failed = [name for name in ROWS if subprocess.run([*command, name]).returncode]
    if failed:
        raise SystemExit(f"these rows failed: {', '.join(failed)}")


def run(row: Row, budget: str, data: Path, results: Path = MEASURED, *, peer: str | None = None) -> str:
    """Measure a row, store the result in a folder, and return the table with all that is stored."""
    new = peers_of(row, data, only=peer) if budget == "peers" else {budget: one(row, budget, data)}
    store(row, new, results)
    shown = {**stored(row), **stored(row, results), **references(row, data)}
    return (
        "\n\n".join(
            [
                table(row, shown, (*row.published(data), *RUNS.get(row.name, ()))),
                *(told(row, name, new[name]) for name in new),
            ]
        )
        + "\n"
    )


def one(row: Row, budget: str, data: Path) -> Entry:
    """The naive rule, or ours with a budget."""

    def forecaster(panel: Panel, task: Task) -> Forecasts:
        if budget == "naive":
            return task.naive(panel, task)
        return ours.forecasts(panel, task, "small" if budget == "small" else "large")

    return measure(row, data, forecaster, today=date.today())


def peers_of(row: Row, data: Path, *, only: str | None) -> dict[str, Entry]:
    """The row's peers, one after the other; one that fails is named and left out."""
    found: dict[str, Entry] = {}
    for name in row.peers if only is None else (only,):
        try:
            found[f"peer {name}"] = measure(row, data, peer_runs.peer(name), today=date.today())
        except peer_runs.PeersAbsent as absent:
            raise SystemExit(str(absent)) from absent
        except (subprocess.CalledProcessError, ValueError) as failure:
            print(f"{name} on {row.name} failed: {failure}", file=sys.stderr)
    return found


if __name__ == "__main__":
    main()

"""A disk that fills up, a home that turns read-only, bytes that rot, a backup that is killed: what callers are told.

    python benchmarks/torture_faults.py [--rounds 20] [--kills 12]

Needs root on Linux (it mounts a small tmpfs and sets chattr +i); says so and ends with 0 where it may not. Prints a row
a fault: calls made while it lasted, answers that refused for it (typed, retryable, with a next step), answers that were
none of that, seconds until everything worked again by itself, and what is then wrong with database, log and artifacts.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "server"))

import small_disk as disks
from anyio.from_thread import start_blocking_portal
from conftest import Desk

from mcp_forecast.app import open_app
from mcp_forecast.settings import Settings, child_environment, read_settings
from mcp_forecast.upkeep.manifest import BackupInvalid
from mcp_forecast.upkeep.restore import restore_home
from mcp_forecast_engine.errors import StoreUnavailable
from mcp_forecast_engine.runtime.run import FINISHED

DISK, WITHIN_S = "16m", 60.0


@dataclass(frozen=True)
class Row:
    """What came of one fault."""

    calls: int
    refused: int
    untyped: int
    recovered_s: float
    wrong: tuple[str, ...]

    @property
    def held(self) -> bool:
        """Whether it went as it should."""
        return self.untyped == 0 and not self.wrong


@dataclass
class Stage:
    """A desk with one trained run; its home is on `disk`."""

    disk: Path
    settings: Settings
    desk: Desk
    dataset: str
    run_id: str


@contextmanager
def stage(*, small: bool) -> Iterator[Stage]:
    """A fresh one, on a small tmpfs or on the ordinary disk (a tmpfs lets open files be written in spite of +i)."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="torture-")))
        disk = stack.enter_context(disks.small_disk(folder / "disk", size=DISK)) if small else folder
        portal = stack.enter_context(start_blocking_portal())
        limits = {"MCP_FORECAST_RATE_PER_S": "1e9", "MCP_FORECAST_RATE_BURST": "1e9", "MCP_FORECAST_LEASE_S": "3"}
        settings = read_settings({"MCP_FORECAST_HOME": str(disk / "home"), **limits}, folder)
        app = open_app(settings)
        try:
            desk = Desk(app, portal)
            dataset = desk.call("register_dataset", {"rows": disks.ROWS, "freq": "D"})["result"]["dataset_id"]
            run_id = desk.call("run_training", {"dataset_id": dataset, "horizon": 5})["result"]["run_id"]
            desk.finish(run_id)
            yield Stage(disk, settings, desk, dataset, run_id)
        finally:
            app.close()


def ask_all(on: Stage, rounds: int) -> tuple[int, int, int]:
    """Calls of every tool; how many were refused for the fault, and how many answers were neither that nor sound."""
    calls = refused = untyped = 0
    for number in range(rounds):
        for tool in on.desk.app.tools:
            answer = on.desk.call(tool, disks.requests(on.dataset, on.run_id, number).get(tool, {}))
            calls += 1
            if answer["ok"]:
                continue
            error = answer["error"]
            if error["code"] in disks.RETRYABLE and error["next_step"] and error["disposition"] != "terminal":
                refused += 1
            elif error["code"] not in disks.OTHER:
                untyped += 1
                print(f"    {tool}: {error}", file=sys.stderr)
    return calls, refused, untyped


def recovery(on: Stage) -> float:
    """Seconds until a new training can be asked for and has succeeded, asked again where it may be."""
    request = {"dataset_id": on.dataset, "horizon": 55, "idempotency_key": "afterwards"}
    began = time.monotonic()
    while time.monotonic() - began < WITHIN_S:
        answer = on.desk.call("run_training", request)
        if answer["ok"] and on.desk.finish(answer["result"]["run_id"])["result"]["state"] in FINISHED:
            return time.monotonic() - began
        time.sleep(0.05)
    return float("inf")


def full(on: Stage, rounds: int) -> Row:
    """The disk fills up while nothing is at work."""
    disks.fill(on.disk)
    asked = ask_all(on, rounds)
    disks.free(on.disk)
    return Row(*asked, recovery(on), tuple(disks.faults_of_store(on.desk.app)))


def full_at_work(on: Stage, rounds: int) -> Row:
    """The disk fills up while workers train; later the same calls must end well."""
    asked = [{"dataset_id": on.dataset, "horizon": 20 + n, "idempotency_key": f"w{n}"} for n in range(4)]
    for request in asked:
        on.desk.call("run_training", request)
    time.sleep(random.Random(3).uniform(0.2, 0.8))
    disks.fill(on.disk)
    answers = ask_all(on, max(rounds // 4, 1))
    disks.free(on.disk)
    began, states = time.monotonic(), [""]
    while not set(states) <= set(FINISHED) and time.monotonic() - began < WITHIN_S:
        runs = [on.desk.call("run_training", request)["result"]["run_id"] for request in asked]
        states = [on.desk.finish(run)["result"]["state"] for run in runs]
    spent = time.monotonic() - began
    wrong = [f"a run is {state}" for state in states if state not in FINISHED]
    return Row(*answers, spent, (*wrong, *disks.faults_of_store(on.desk.app)))


def read_only(on: Stage, rounds: int) -> Row:
    """The home turns read-only under a server, files that it has open too."""
    with disks.read_only(on.settings.home):
        asked = ask_all(on, rounds)
    return Row(*asked, recovery(on), tuple(disks.faults_of_store(on.desk.app)))


def opening(fault: Callable[[Stage], object], mend: Callable[[Stage], object]) -> Callable[[Stage, int], Row]:
    """A fault that a second server meets when it starts."""

    def tried(on: Stage, rounds: int) -> Row:
        settings = replace(on.settings, home=on.disk / "other")
        settings.home.mkdir()
        fault(on)
        refused = untyped = 0
        for _ in range(rounds):
            try:
                open_app(settings).close()
                untyped += 1
            except StoreUnavailable as error:
                refused += bool(error.next_step)
        mend(on)
        began = time.monotonic()
        app = open_app(settings)
        spent = time.monotonic() - began
        wrong = disks.faults_of_store(app)
        app.close()
        return Row(rounds, refused, untyped + rounds - refused - untyped, spent, tuple(wrong))

    return tried


def rot(on: Stage, rounds: int) -> Row:
    """A dataset's bytes change on disk; registering the same data again mends them."""
    digest = on.desk.call("describe_dataset", {"dataset_id": on.dataset})["result"]["digest"]
    path = on.desk.app.engine.artifacts.path(digest)
    whole, refused, dice = path.read_bytes(), 0, random.Random(5)
    for _ in range(rounds):
        changed = bytearray(whole)
        changed[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
        path.write_bytes(changed)
        error = on.desk.call("describe_dataset", {"dataset_id": on.dataset}).get("error", {})
        refused += error.get("code") == "ARTIFACT_CORRUPT" and bool(error.get("next_step"))
    began = time.monotonic()
    on.desk.call("register_dataset", {"rows": disks.ROWS, "freq": "D"})
    spent = time.monotonic() - began
    return Row(rounds, refused, rounds - refused, spent, tuple(disks.faults_of_store(on.desk.app)))


def killed(command: str, kills: int) -> Callable[[Stage, int], Row]:
    """kill -9 of a backup or a restore at random instants: its target is whole or not there."""

    def tried(on: Stage, rounds: int) -> Row:
        dice, wrong, ended = random.Random(9), [], 0
        with tempfile.TemporaryDirectory(prefix="torture-") as folder:
            whole = Path(folder) / "whole"
            took = _seconds(on.settings, "backup", whole)
            if command == "restore":
                took = _seconds(replace(on.settings, home=Path(folder) / "first"), "restore", whole)
            for number in range(kills):
                home = Path(folder) / f"home{number}"
                settings, target = on.settings, Path(folder) / f"backup{number}"
                if command == "restore":
                    settings, target = replace(on.settings, home=home), whole
                process = _command(settings, command, target)
                try:
                    process.wait(took * dice.uniform(0.5, 1.02))  # before that it imports
                    ended += 1
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                wrong += _after_kill(command, on.settings, home, target)
        wrong += disks.faults_of_store(on.desk.app)
        return Row(kills, kills - ended, 0, 0.0, tuple(wrong))

    return tried


def _seconds(settings: Settings, *words: object) -> float:
    began = time.monotonic()
    _command(settings, *words).wait()
    return time.monotonic() - began


def _after_kill(command: str, settings: Settings, home: Path, target: Path) -> list[str]:
    """Whatever is there is whole, and the same command works now."""
    try:
        if command == "restore":
            if not (home / "forecast.db").exists():
                restore_home(replace(settings, home=home), target, clock=time.time)
        elif target.exists():
            restore_home(replace(settings, home=home), target, clock=time.time)
        else:
            return []
        app = open_app(replace(settings, home=home, workers=0))
        wrong = disks.faults_of_store(app)
        app.close()
    except (BackupInvalid, StoreUnavailable, ValueError) as error:
        return [str(error)]
    return wrong


def _command(settings: Settings, *words: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "mcp_forecast.cli", *map(str, words)],
        env=child_environment(settings), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def main() -> int:
    """Print the table; 1 if a fault was not borne."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="calls of each tool under each fault")
    parser.add_argument("--kills", type=int, default=12)
    asked = parser.parse_args()
    if why := disks.why_not():
        print(f"not run: {why}")
        return 0
    immutable = opening(
        lambda on: subprocess.run(["chattr", "+i", str(on.disk / "other")], check=True),
        lambda on: subprocess.run(["chattr", "-i", str(on.disk / "other")], check=True),
    )
    faults: dict[str, Callable[[Stage, int], Row]] = {
        "full disk": full,
        "full disk, workers at work": full_at_work,
        "read-only while serving": read_only,
        "full disk when opening": opening(lambda on: disks.fill(on.disk), lambda on: disks.free(on.disk)),
        "read-only when opening": immutable,
        "a flipped bit in an artifact": rot,
        "kill -9 of a backup": killed("backup", asked.kills),
        "kill -9 of a restore": killed("restore", asked.kills),
    }
    print("| fault | calls | refused, typed | INTERNAL or untyped | works again after s | wrong afterwards |")
    print("|---|---|---|---|---|---|")
    held = True
    for name, fault in faults.items():
        with stage(small=name.startswith("full")) as on:
            row = fault(on, asked.rounds)
        held &= row.held
        wrong = "; ".join(row.wrong[:3]) or "nothing"
        print(f"| {name} | {row.calls} | {row.refused} | {row.untyped} | {row.recovered_s:.1f} | {wrong} |", flush=True)
    return 0 if held else 1


if __name__ == "__main__":
    raise SystemExit(main())

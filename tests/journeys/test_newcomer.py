"""The newcomer: one command from a file to a forecast, and what the other commands say."""

from __future__ import annotations

import csv
import json
import math
import os
import random
import re
import sqlite3
import struct
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pytest

from mcp_forecast import __version__, cli

LAST = date(2024, 12, 29)
HORIZON = 14


@dataclass(frozen=True)
class Told:
    """What a command printed and how it ended."""

    out: str
    err: str
    code: int


class Newcomer:
    """A person in a folder, with a home nobody used before."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self._environment = {**os.environ, "MCP_FORECAST_HOME": str(self.home), "COLUMNS": "100"}

    def run(self, *arguments: str) -> Told:
        command = [sys.executable, "-m", "mcp_forecast.cli", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment, capture_output=True, text=True, timeout=120
        )
        assert "Traceback" not in done.stderr + done.stdout
        return Told(done.stdout, done.stderr, done.returncode)


def write_visits(path: Path) -> None:
    """Two years of days: busy weekends, and a promotion that lifts a day by 60."""
    chance = random.Random(3)
    lines = ["day,visits,promo"]
    for back in range(727, -1, -1):
        day, promo = LAST - timedelta(days=back), int(chance.random() < 0.15)
        visits = 200 + 60 * (day.weekday() >= 5) + 60 * promo + chance.gauss(0, 8)
        lines.append(f"{day},{visits:.1f},{promo}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_plan(path: Path, promotions: set[int]) -> None:
    """The promotions of the days to forecast."""
    days = [f"{LAST + timedelta(days=i + 1)},{int(i in promotions)}" for i in range(HORIZON)]
    path.write_text("\n".join(["day,promo", *days]) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Newcomer:
    person = Newcomer(tmp_path_factory.mktemp("newcomer"))
    write_visits(person.folder / "visits.csv")
    zoned = "at,y\n2024-01-01T00:00:00+01:00,1\n2024-07-01T00:00:00+02:00,2\n"
    (person.folder / "zoned.csv").write_text(zoned, encoding="utf-8")
    short = "".join(f"2024-01-0{day},{day}\n" for day in range(1, 9))
    (person.folder / "short.csv").write_text(f"day,y\n{short}", encoding="utf-8")
    return person


@pytest.fixture(scope="module")
def told(newcomer: Newcomer) -> Told:
    return newcomer.run(
        "forecast", "visits.csv", "--horizon", str(HORIZON), "--target", "visits", "--plot", "v.png", "--csv", "v.csv"
    )


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_one_command_goes_from_a_file_to_a_forecast_in_an_empty_home(told: Told) -> None:
    assert told.code == 0, told.err
    for part in ("728 rows, one step is one day", "promo", "known ahead", "repeat the last season", "Trust: ", "•"):
        assert part in told.out
    assert re.search(r"Gate: (PASS\n  It keeps every rule|FAIL\n.*\n  • Rule )", told.out)
    for part in ("2024-12-30", "2025-01-12", "░", "history", "80 % band"):
        assert part in told.out


def test_a_model_without_its_future_is_replaced_by_one_that_needs_none_and_that_is_said(told: Told) -> None:
    said = " ".join(told.out.split())
    assert "Trained again on the target alone: the best model reads promo for the next 14 steps" in said
    assert "--future FILE" in said
    assert "✓ target alone" in said or "✓ several models together" in said


def test_the_csv_holds_every_step_with_nested_intervals(told: Told, newcomer: Newcomer) -> None:
    rows = rows_of(newcomer.folder / "v.csv")
    assert [row["ds"][:10] for row in rows] == [str(LAST + timedelta(days=i + 1)) for i in range(HORIZON)]
    for row in rows:
        ordered = [float(row[name]) for name in ("lo-95", "lo-80", "median", "hi-80", "hi-95")]
        assert ordered == sorted(ordered)
        assert all(map(math.isfinite, ordered))


def test_the_picture_is_a_png_of_a_readable_size(told: Told, newcomer: Newcomer) -> None:
    data = (newcomer.folder / "v.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    assert width >= 1000
    assert height >= 500
    assert len(data) > 20_000


def test_the_forecast_follows_the_plan_that_is_given(told: Told, newcomer: Newcomer) -> None:
    medians = []
    for promotions in (set[int](), {2, 3}):
        write_plan(newcomer.folder / "plan.csv", promotions)
        done = newcomer.run(
            "forecast", "visits.csv", "--horizon", "14", "--target", "visits", "--future", "plan.csv", "--json"
        )
        assert done.code == 0, done.err
        document = json.loads(done.out)
        assert document["training"]["result"]["serving"]["needs_future"] == ["promo"]
        medians.append(document["forecast"]["series"][0]["median"])
    lift = [with_plan - without for without, with_plan in zip(*medians, strict=True)]
    assert all(25 < lift[i] < 80 for i in (2, 3))
    assert all(abs(lift[i]) < 10 for i in (0, 1))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["visits.csv", "--horizon", "14", "--target", "visit"], ["error in --target", "allowed: day, visits, promo"]),
        (["visit.csv", "--horizon", "14"], ["error in FILE", "no file 'visit.csv'", "next: "]),
        (["visits.csv", "--horizon", "0", "--target", "visits"], ["error in --horizon", "allowed: 1 to 8760"]),
        (["visits.csv", "--horizon", "700", "--target", "visits"], ["error in --horizon", "728 rows", "next: "]),
        (["visits.csv", "--horizon", "14", "--plot", "no/such/v.png"], ["error in --plot", "next: make it first"]),
        (["visits.csv", "--horizon", "14", "--levels", "81"], ["error in --levels", "allowed: 20, 40", "next: ask"]),
        (["zoned.csv", "--horizon", "1"], ["error in --time-zone", "allowed: UTC, Eur", "clock it is with --time-"]),
        (["short.csv", "--horizon", "6"], ["error in --horizon", "rows: at least 20", "pass --season-length 1, with"]),
    ],
)  # fmt: skip
def test_an_error_says_what_was_found_what_is_allowed_and_what_to_do(
    newcomer: Newcomer, arguments: list[str], said: list[str]
) -> None:
    done = newcomer.run("forecast", *arguments)
    assert done.code == 2
    for part in said:
        assert part in " ".join(done.err.split())


def test_times_with_offsets_are_forecast_on_the_clock_that_is_named(newcomer: Newcomer) -> None:
    done = newcomer.run("forecast", "zoned.csv", "--horizon", "1", "--time-zone", "Europe/Berlin", "--json")
    assert (json.loads(done.out)["error"]["code"], done.code) == ("HISTORY_TOO_SHORT", 2)  # read, and two rows


@pytest.mark.parametrize(
    ("lines", "code", "told"),
    [
        (["day,price", "2024-12-30,1"], "DATA_INVALID", "'price', which the dataset does not have"),
        (["day,promo", "someday,1"], "DATA_INVALID", "'someday' is no known date"),
        (["day,promo", "2024-12-30,1"], "COVARIATES_MISMATCH", "lack promo (13 values)"),
    ],
)
def test_a_wrong_future_is_refused_before_anything_is_trained(
    tmp_path: Path, lines: list[str], code: str, told: str
) -> None:
    person = Newcomer(tmp_path)
    write_visits(tmp_path / "visits.csv")
    (tmp_path / "plan.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    asked = ("visits.csv", "--horizon", "14", "--target", "visits", "--future", "plan.csv", "--json")
    done = person.run("forecast", *asked)
    error = json.loads(done.out)["error"]
    assert (error["code"], error["field"], done.code) == (code, "future", 2)
    assert told in error["message"]
    with closing(sqlite3.connect(person.home / "forecast.db")) as database:
        assert database.execute("SELECT count(*) FROM run").fetchone() == (0,)


def test_settings_are_printed_with_their_meaning(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MCP_FORECAST_HOME", str(tmp_path))
    assert cli.main(["settings"]) == 0
    assert f"MCP_FORECAST_HOME={tmp_path}\n    folder with the database" in capsys.readouterr().out
    monkeypatch.setenv("MCP_FORECAST_WORKERS", "many")
    assert cli.main(["settings"]) == 2
    assert "MCP_FORECAST_WORKERS is 'many'" in capsys.readouterr().err


def test_connect_prints_lines_to_paste_and_never_the_token(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MCP_FORECAST_HOME", str(tmp_path))
    (tmp_path / "token").write_text("a-secret-that-stays-in-its-file", encoding="ascii")
    assert cli.main(["connect"]) == 0
    said = capsys.readouterr().out
    command = Path(sys.executable).with_name("mcp-forecast")
    assert f"claude mcp add forecast --env MCP_FORECAST_HOME={tmp_path} -- {command} serve" in said
    assert f'--header "Authorization: Bearer $(cat {tmp_path / "token"})"' in said
    assert "a-secret" not in said


def test_the_command_knows_its_version_and_starts_without_heavy_imports(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out.strip() == f"mcp-forecast {__version__}"
    names = ("numpy", "pyarrow", "sqlalchemy", "pydantic", "rich", "mcp", "matplotlib")
    code = f"import sys, mcp_forecast.cli; print([n for n in {names} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_committed_contracts_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["contracts", "--check"]) == 0
    assert "contracts fresh and portable" in capsys.readouterr().out

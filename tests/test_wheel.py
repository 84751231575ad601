"""The wheel carries what it needs: contracts, skill, migrations, types; and nothing of the tests."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mcp_forecast_contracts.catalogue import ORDER

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """File names inside a freshly built wheel."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(next(out.glob("*.whl"))) as wheel:
        return set(wheel.namelist())


def test_the_wheel_carries_every_contract(names: set[str]) -> None:
    assert {f"mcp_forecast_contracts/v1/{name}.json" for name in (*ORDER, "errors")} <= names


def test_the_wheel_carries_the_skill_the_policy_and_the_migrations(names: set[str]) -> None:
    assert "mcp_forecast/skills/forecast-ops/SKILL.md" in names
    assert "mcp_forecast/skills/forecast-ops/references/runbook.md" in names
    assert "mcp_forecast_policy/default_policy.json" in names
    assert "mcp_forecast/migrations/versions/0001_first_schema.py" in names


def test_every_package_of_the_wheel_is_typed_and_nothing_else_is_in_it(names: set[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    packages = {top for top in tops if not top.endswith(".dist-info")}
    assert packages == {
        "mcp_forecast", "mcp_forecast_engine", "mcp_forecast_policy", "mcp_forecast_audit", "mcp_forecast_contracts",
    }  # fmt: skip
    assert {f"{package}/py.typed" for package in packages} <= names

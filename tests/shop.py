"""A shop: two datasets and what is trained on them, published, promoted and rolled back; its home comes trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
from conftest import Answer, Desk, desk_in
from gate_data import failing, passing
from sqlalchemy import select

from mcp_forecast.settings import read_settings
from mcp_forecast.upkeep.backup import take_backup
from mcp_forecast.upkeep.restore import restore_home
from mcp_forecast_contracts.catalogue import documents
from mcp_forecast_engine.registry.explain import explain
from mcp_forecast_engine.runtime.ledger import RUN

PASSED: Final = (7, 8, 10)  # horizons that a shop's home comes with: another one trains
FAILED: Final = 9


class Shop:
    """A desk with two datasets: runs on one pass their gate, on the other they fail it."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.keys = desk, 0
        self.dataset, self.dull = (
            desk.call("register_dataset", {"rows": rows, "freq": "D"})["result"]["dataset_id"]
            for rows in (passing(), failing())
        )

    def passed(self, horizon: int) -> str:
        """A training run whose gate says PASS."""
        return self._trained(self.dataset, horizon, "PASS")

    def failed(self, horizon: int) -> str:
        """A training run whose gate says FAIL."""
        return self._trained(self.dull, horizon, "FAIL")

    def _trained(self, dataset: str, horizon: int, state: str) -> str:
        asked = {"dataset_id": dataset, "horizon": horizon, "covariates": []}
        run_id: str = self.desk.call("run_training", asked)["result"]["run_id"]
        ended = self.desk.finish(run_id)["result"]
        assert ended["state"] == state, ended
        return run_id

    def ask(self, tool: str, **asked: Any) -> Answer:
        """An answer that its contract describes; a command gets a key of its own, and a reason if it needs one."""
        wanted = documents()[tool]["input_schema"].get("required", ())
        self.keys += 1
        given = {"idempotency_key": f"k{self.keys}", "reason": "as tested"}
        answer = self.desk.call(tool, {**{n: v for n, v in given.items() if n in wanted}, **asked})
        jsonschema.validate(answer, documents()[tool]["output_schema"])
        return answer

    def done(self, tool: str, **asked: Any) -> dict[str, Any]:
        answer = self.ask(tool, **asked)
        assert answer["ok"], answer
        result: dict[str, Any] = answer["result"]
        return result

    def refused(self, tool: str, **asked: Any) -> dict[str, Any]:
        error: dict[str, Any] = self.ask(tool, **asked)["error"]
        return error

    def state(self, run_id: str) -> str:
        with self.desk.app.database.read() as connection:
            return str(connection.execute(select(RUN.c.state).where(RUN.c.run_id == run_id)).scalar_one())

    def explained(self) -> tuple[str, ...]:
        with self.desk.app.database.read() as connection:
            return explain(connection).faults


def trained(factory: pytest.TempPathFactory) -> Path:
    """A backup of a home in which a shop's runs are trained: once for all tests, which restore copies of it."""
    return _trained_in(factory.getbasetemp())


@cache
def _trained_in(place: Path) -> Path:
    folder = place / "trained"
    folder.mkdir()
    with desk_in(folder / "home") as desk:
        shop = Shop(desk)
        for horizon in PASSED:
            shop.passed(horizon)
        shop.failed(FAILED)
        take_backup(desk.app.settings, folder / "backup")
    return folder / "backup"


@contextmanager
def opened_shop(factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Lend a shop on a home of its own."""
    folder = factory.mktemp("shop")
    restore_home(read_settings({"MCP_FORECAST_HOME": str(folder / "home")}, folder), trained(factory))
    with desk_in(folder / "home") as desk:
        yield Shop(desk)

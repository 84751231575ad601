"""Every example of every contract runs as it stands, on real data and real runs, and its answer fits the contract."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from anyio.from_thread import start_blocking_portal
from conftest import Desk

from mcp_forecast.app import open_app
from mcp_forecast.settings import read_settings
from mcp_forecast_contracts.catalogue import ORDER, documents

BIKES = Path(__file__).parent.parent.parent / "examples/data/bike_sharing_hourly.csv.gz"


def daily(days: int, last: date) -> list[dict[str, Any]]:
    """A daily series with a weekly season that follows the temperature."""
    first = last - timedelta(days=days - 1)
    rows = []
    for day in range(days):
        temp = round(10 + 8 * ((day * 37) % 23) / 23, 2)
        rows.append({"ds": (first + timedelta(days=day)).isoformat(), "y": 50 + 9 * (day % 7) - 3 * temp, "temp": temp})
    return rows


class Exampled(Desk):
    """A desk on which everything exists that examples name. stand_ins: placeholder of an example → the real id."""

    stand_ins: dict[str, str]

    def furnish(self) -> None:
        """Make what the examples name: data and newer data, steps, a run that forecasts alone, one that reads ahead."""
        covariates = [{"name": "temp", "role": "known_future"}]
        rows = daily(400, date(2025, 1, 31))
        dataset = self.made("register_dataset", {"rows": rows, "covariates": covariates})["dataset_id"]
        later = self.made("register_dataset", {"rows": daily(420, date(2025, 2, 20)), "covariates": covariates})
        steps = self.made("run_preprocessing", {"dataset_id": dataset})
        plain = self.trained({"dataset_id": dataset, "horizon": 24, "covariates": []})
        bundle = self.made("publish_bundle", {"run_id": plain["run_id"], "idempotency_key": "made"})["bundle_id"]
        for key in ("a", "b"):  # in front of the examples, one of which rolls back
            place = {"slot": "fallback"} if key == "a" else {}
            up = {"bundle_id": bundle, "reason": "furnished", "idempotency_key": key, **place}
            self.made("promote_bundle", up)
        ahead = self.trained({"dataset_id": dataset, "horizon": 2})
        self.stand_ins = {
            "ds_0123456789abcdef01234567": dataset,
            "run_0123456789abcdef01234567": plain["run_id"],
            "run_89abcdef0123456789abcdef": ahead["run_id"],
            "ds_89abcdef0123456789abcdef": later["dataset_id"],
            "pp_0123456789abcdef01234567": steps["preprocessing_id"],
            "bnd_0123456789abcdef01234567": bundle,
            f"sha256:{'0123456789abcdef' * 4}": plain["result"]["artifacts"][0]["digest"],
        }

    def made(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The result of a call that has to work."""
        answer = self.call(tool, arguments)
        assert answer["ok"], answer
        result: dict[str, Any] = answer["result"]
        return result

    def trained(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """A training run that succeeded."""
        ended = self.finish(self.made("run_training", arguments)["run_id"])["result"]
        assert "result" in ended, ended
        return dict(ended)

    def real(self, example: dict[str, Any]) -> dict[str, Any]:
        """The example with every placeholder replaced."""
        text = json.dumps(example)
        for placeholder, found in self.stand_ins.items():
            text = text.replace(placeholder, found)
        assert "0123456789abcdef" not in text, f"nothing stands in for a placeholder of {text}"
        arguments: dict[str, Any] = json.loads(text)
        return arguments


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exampled]:
    """One furnished desk for all examples, closed once no run is left."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "data").mkdir()
    lines = [
        f"{row['ds']},{store},{row['y']:.2f}" for store in ("north", "south") for row in daily(60, date(2025, 1, 31))
    ]
    (folder / "data/sales.csv").write_text("\n".join(["date,store,units", *lines]) + "\n")
    shutil.copy(BIKES, folder / BIKES.name)
    environ = {"MCP_FORECAST_HOME": str(folder / "home"), "MCP_FORECAST_ROOTS": str(folder)}
    with start_blocking_portal() as portal:
        app = open_app(read_settings(environ, folder))
        desk = Exampled(app, portal)
        desk.furnish()
        yield desk
        for run in desk.call("list_runs", {"limit": 100})["result"]["runs"]:
            assert "ended_at" in desk.finish(run["run_id"])["result"]
        app.close()


@pytest.mark.parametrize("tool", ORDER)
def test_every_example_of_a_contract_runs_as_it_stands(desk: Exampled, tool: str) -> None:
    document = documents()[tool]
    assert document["examples"], f"{tool} has no example"
    for example in document["examples"]:
        jsonschema.validate(example, document["input_schema"])
        answer = desk.call(tool, desk.real(example))
        jsonschema.validate(answer, document["output_schema"])
        assert answer["ok"], (tool, example, answer["error"])

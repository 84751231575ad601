"""A training says which models it tried, what each cost, what covariates gained and where."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from conftest import ENDED, Desk

from mcp_forecast.app import open_app
from mcp_forecast.settings import read_settings

DAYS = 220


def rows() -> list[dict[str, Any]]:
    """A daily series that a promotion lifts."""
    made, chance = [], random.Random(3)
    for day in range(DAYS):
        promoted = int(chance.random() < 0.3)
        y = round(100 + 10 * (day % 7 == 0) + 30 * promoted + chance.gauss(0, 3), 6)
        made.append({"ds": str(date(2023, 1, 1) + timedelta(days=day)), "y": y, "promotion": promoted})
    return made


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Desk, str, str]]:
    """A desk, the dataset and a finished training."""
    folder = tmp_path_factory.mktemp("tried")
    with start_blocking_portal() as portal:
        app = open_app(read_settings({"MCP_FORECAST_HOME": str(folder)}, folder))
        desk = Desk(app, portal)
        dataset = desk.call("register_dataset", {"rows": rows()})["result"]["dataset_id"]
        run_id = desk.call("run_training", {"dataset_id": dataset, "horizon": 7})["result"]["run_id"]
        assert desk.finish(run_id)["result"]["state"] in ENDED
        yield desk, dataset, run_id
        app.close()


def artifact(desk: Desk, run_id: str, name: str) -> dict[str, Any]:
    """The parsed JSON of one artifact of a run."""
    found = desk.call("list_artifacts", {"run_id": run_id})["result"]["artifacts"]
    (digest,) = (one["digest"] for one in found if one["name"] == name)
    parsed: dict[str, Any] = json.loads(desk.app.engine.artifacts.get(digest))
    return parsed


def test_every_model_that_was_tried_is_told_with_its_error_its_weight_and_its_plan(
    trained: tuple[Desk, str, str],
) -> None:
    desk, _, run_id = trained
    document = desk.app.engine.documents.of(_run(desk, run_id))
    models = {line["model"]: line for line in document["models"]}
    assert {"seasonal_naive", "target_only", "with_covariates"} <= set(models)
    assert sum(line["weight"] for line in models.values()) == pytest.approx(1.0, abs=1e-3)
    assert models["with_covariates"]["validation_MASE"] < 0.7 * models["target_only"]["validation_MASE"]
    assert all(line["planned_cpu_s"] >= 0 for line in models.values())
    told = artifact(desk, run_id, "evaluation.json")
    assert [line["name"] for line in told["tried"]] == [line["model"] for line in document["models"]]


def test_the_gain_of_covariates_is_told_with_its_interval_and_where_it_lies(trained: tuple[Desk, str, str]) -> None:
    desk, _, run_id = trained
    document = desk.app.engine.documents.of(_run(desk, run_id))
    gain = next(one for one in document["uplift"] if (one["arm"], one["metric"]) == ("with_covariates", "MASE"))
    assert gain["against"] == "target_only"
    assert 0.1 < gain["low"] < gain["value"] < gain["high"] < 1
    parts = artifact(desk, run_id, "evaluation.json")["parts"]
    ahead = [
        one for one in parts if (one["arm"], one["against"], one["by"]) == ("with_covariates", "target_only", "horizon")
    ]
    assert [one["label"] for one in ahead] == [str(step) for step in range(1, 8)]
    assert all(one["value_added"] > 0 for one in ahead)


def test_measured_cpu_is_kept_beside_the_result_and_is_no_part_of_it(trained: tuple[Desk, str, str]) -> None:
    desk, _, run_id = trained
    costs = artifact(desk, run_id, "costs.json")["cpu_s"]
    tried = {line["name"] for line in artifact(desk, run_id, "evaluation.json")["tried"]}
    assert tried <= set(costs)
    assert all(spent >= 0 for spent in costs.values())
    names = {one["name"] for one in desk.app.engine.documents.of(_run(desk, run_id))["artifacts"]}
    assert "costs.json" not in names  # what was measured differs from run to run; a result does not
    shown = desk.call("get_run_status", {"run_id": run_id, "response_format": "detailed"})["result"]["result"]
    assert shown["cpu_s"] == pytest.approx(sum(costs.values()), abs=0.01)
    assert {line["model"]: line["cpu_s"] for line in shown["models"]} == {name: costs[name] for name in tried}


def test_the_budget_is_part_of_what_was_asked_and_unknown_ones_are_refused(trained: tuple[Desk, str, str]) -> None:
    desk, dataset, run_id = trained
    small = desk.call("run_training", {"dataset_id": dataset, "horizon": 7, "budget": "small"})["result"]
    assert small["run_id"] == run_id  # the default, spelled out
    refused = desk.call("run_training", {"dataset_id": dataset, "horizon": 7, "budget": "huge"})["error"]
    assert refused["code"] == "INVALID_ARGUMENTS"
    assert refused["field"] == "budget"
    large = desk.call("run_training", {"dataset_id": dataset, "horizon": 7, "budget": "large"})["result"]
    assert large["run_id"] != run_id
    desk.call("cancel_run", {"run_id": large["run_id"], "idempotency_key": "enough"})


def _run(desk: Desk, run_id: str) -> Any:
    with desk.app.database.read() as connection:
        return desk.app.engine.run(connection, run_id)

"""run_inference with explain: what moved the forecast, in the same answer and the same pages; a what-if moves it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator
from datetime import date, timedelta
from typing import Any

import jsonschema
import pytest
from anyio.from_thread import start_blocking_portal
from conftest import ENDED, Desk

from mcp_forecast.app import open_app
from mcp_forecast.settings import read_settings
from mcp_forecast_contracts.catalogue import documents

DAYS, AHEAD = 500, 14


def rows(names: tuple[str, ...] = ("",)) -> list[dict[str, Any]]:
    """Daily series with a weekly season and a promotion that lifts them by thirty; two weeks of promotions ahead."""
    made, chance = [], random.Random(11)
    for name in names:
        for day in range(DAYS + AHEAD):
            promotion = int(chance.random() < 0.3)
            y = 100 + 20 * math.sin(2 * math.pi * day / 7) + 30 * promotion + chance.gauss(0, 3)
            row: dict[str, Any] = {"ds": (date(2023, 1, 1) + timedelta(days=day)).isoformat(), "promotion": promotion}
            row |= {"unique_id": name} if name else {}
            made.append(row | ({"y": round(y, 6)} if day < DAYS else {}))
    return made


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One home for all tests of this file: they only ask."""
    home = tmp_path_factory.mktemp("home")
    settings = read_settings({"MCP_FORECAST_HOME": str(home), "MCP_FORECAST_ROOTS": str(home)}, home)
    with start_blocking_portal() as portal:
        app = open_app(settings)
        yield Desk(app, portal)
        app.close()


@pytest.fixture(scope="module")
def trained(desk: Desk) -> str:
    """A run that reads the promotion."""
    dataset = desk.call("register_dataset", {"rows": rows()})["result"]["dataset_id"]
    run = desk.call("run_training", {"dataset_id": dataset, "horizon": 7})["result"]["run_id"]
    assert desk.finish(run)["result"]["result"]["serving"]["needs_future"] == ["promotion"]
    return str(run)


@pytest.fixture(scope="module")
def ask(desk: Desk, trained: str) -> Callable[..., dict[str, Any]]:
    """Forecast with the trained run."""

    def asked(**more: Any) -> dict[str, Any]:
        answer = desk.call("run_inference", {"run_id": trained, "wait_s": 25, **more})
        assert answer["ok"], answer
        jsonschema.validate(answer, documents()["run_inference"]["output_schema"])
        return dict(answer["result"])

    return asked


def promoted(on: int) -> list[dict[str, Any]]:
    """The week ahead with or without promotions."""
    return [{"ds": (date(2023, 1, 1) + timedelta(days=DAYS + day)).isoformat(), "promotion": on} for day in range(7)]


def factor(series: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in series["explanation"]["factors"] if one["name"] == name)


def joined(parts: Iterable[dict[str, Any]]) -> list[float]:
    return [one for part in parts for one in part["by_step"]]


def test_a_what_if_moves_the_forecast_and_the_explanation_says_by_what(ask: Callable[..., dict[str, Any]]) -> None:
    plain, lifted = (ask(future=promoted(on), explain=True)["result"]["series"][0] for on in (0, 1))
    change = [high - low for high, low in zip(lifted["median"], plain["median"], strict=True)]
    assert all(one > 20 for one in change)
    own = factor(lifted, "promotion")
    assert lifted["explanation"]["factors"][0] == own
    assert own["contribution"] > 20
    assert (own["value"], own["usual_value"]) == (1.0, 0.0)
    assert own["told"].startswith("promotion (mean 1, usually 0) raises the forecast by ")
    # Without promotions ahead nothing is left of it: those of the past week belong to the recent history.
    assert "promotion" not in [one["name"] for one in plain["explanation"]["factors"]]
    for step, one in enumerate(own["by_step"]):
        assert one == pytest.approx(change[step], rel=0.02)


def test_base_and_factors_add_up_to_every_median_shown(ask: Callable[..., dict[str, Any]]) -> None:
    answer = ask(explain=True)
    series = answer["result"]["series"][0]
    why = series["explanation"]
    for step, median in enumerate(series["median"]):
        total = why["by_step"][step] + sum(one["by_step"][step] for one in why["factors"])
        assert total == pytest.approx(median, rel=1e-4)
    assert why["summary"].startswith("the forecast averages ")
    assert answer["result"]["explained"].startswith("base: what the model says after a usual season")


def test_the_median_is_the_same_and_the_run_another(ask: Callable[..., dict[str, Any]]) -> None:
    without, explained, again = ask(), ask(explain=True), ask(explain=True)
    assert "explanation" not in without["result"]["series"][0]
    assert explained["result"]["series"][0]["median"] == without["result"]["series"][0]["median"]
    assert explained["run_id"] != without["run_id"]
    assert again["run_id"] == explained["run_id"]
    assert explained["request"]["explain"] is True
    assert "explain" not in without["request"]


def test_the_pages_of_a_forecast_carry_the_steps_of_its_explanation(
    desk: Desk, ask: Callable[..., dict[str, Any]]
) -> None:
    whole = ask(explain=True)
    series, asked = whole["result"]["series"][0], {"run_id": whole["run_id"], "limit": 4}
    first = desk.call("get_run_status", asked)["result"]["result"]
    second = desk.call("get_run_status", {**asked, "cursor": first["next_cursor"]})["result"]["result"]
    pages = [page["series"][0] for page in (first, second)]
    assert [len(page["ds"]) for page in pages] == [4, 3]
    assert joined(page["explanation"] for page in pages) == series["explanation"]["by_step"]
    for place, one in enumerate(series["explanation"]["factors"]):
        shown = [page["explanation"]["factors"][place] for page in pages]
        assert joined(shown) == one["by_step"]
        assert all(part["contribution"] == one["contribution"] for part in shown)


def test_more_than_fifty_series_are_not_explained_and_the_refusal_says_what_to_do(desk: Desk) -> None:
    made = [row for row in rows(tuple(f"s{i:02d}" for i in range(51))) if row["ds"] >= "2024-04-01"]
    dataset = desk.call("register_dataset", {"rows": made})["result"]["dataset_id"]
    run = desk.call("run_training", {"dataset_id": dataset, "horizon": 3, "covariates": []})["result"]["run_id"]
    assert desk.finish(run)["result"]["state"] in ENDED
    refused = desk.call("run_inference", {"run_id": run, "explain": True})
    assert (refused["error"]["code"], refused["error"]["field"]) == ("DATA_INVALID", "explain")
    assert "51 series" in refused["error"]["message"]
    assert "leave `explain` out" in refused["error"]["next_step"]
    assert desk.call("run_inference", {"run_id": run})["ok"]

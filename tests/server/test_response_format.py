"""Concise answers stay short where there is much to say, detailed ones hold what is stored; both tell the same."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import ENDED, Answer, Desk, desk_in

from mcp_forecast.tools.length import ROOM, few, fitted, fitting, length
from mcp_forecast_contracts.catalogue import documents

SHORT, LONG = 8_000, 100_000
SERIES, COVARIATES = 24, 40


def rows() -> list[dict[str, Any]]:
    """Many series with long names and many covariates, all of them future-known."""
    chance = random.Random(2)
    return [
        {
            "ds": str(date(2024, 1, 1) + timedelta(days=day)),
            "shop": f"a shop with quite a long name that goes on, number {shop}",
            "y": 10 + day % 7 + chance.random(),
            **{f"price of the competing product number {n}": chance.randrange(9) for n in range(COVARIATES)},
        }
        for shop in range(SERIES)
        for day in range(63)
    ]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One desk with one wide dataset, a training, a forecast, and many runs."""
    with desk_in(tmp_path_factory.mktemp("formats")) as made:
        yield made


@pytest.fixture(scope="module")
def made(desk: Desk) -> dict[str, str]:
    """Ids of the dataset, the training run and the forecast."""
    dataset = desk.call("register_dataset", {"rows": rows(), "series": ["shop"]})["result"]["dataset_id"]
    run_id = desk.call("run_training", {"dataset_id": dataset, "horizon": 7})["result"]["run_id"]
    trained = desk.finish(run_id)
    assert trained["result"]["state"] in ENDED, trained
    covariates = trained["result"]["result"]["serving"]["needs_future"]
    future = [
        {"ds": str(date(2024, 3, 4) + timedelta(days=day)), "shop": row["shop"], **dict.fromkeys(covariates, 1)}
        for row in rows()[::63]
        for day in range(7)
    ]
    forecast = desk.call("run_inference", {"run_id": run_id, **({"future": future} if covariates else {})})
    assert forecast["ok"], forecast
    for n in range(45):
        asked = {"dataset_id": dataset, "horizon": 7, "season_length": 8 + n}
        queued = desk.call("run_training", asked)["result"]["run_id"]
        desk.call("cancel_run", {"run_id": queued, "idempotency_key": f"c{n}"})
    return {"dataset_id": dataset, "run_id": run_id, "forecast_id": forecast["result"]["run_id"],
            "state": trained["result"]["state"]}  # fmt: skip


def both(desk: Desk, tool: str, **asked: Any) -> tuple[Answer, Answer]:
    """The concise and the detailed answer, both within their bounds and their contract."""
    concise, explicit, detailed = (
        desk.call(tool, {**asked, **how})
        for how in ({}, {"response_format": "concise"}, {"response_format": "detailed"})
    )
    for answer in (concise, detailed):
        assert answer["ok"], answer
        jsonschema.validate(answer, documents()[tool]["output_schema"])
    assert concise["result"] == explicit["result"]
    assert length(concise) < SHORT
    assert length(detailed) < LONG
    return concise["result"], detailed["result"]


def test_a_trained_run_is_short_for_a_decision_and_whole_in_detail(desk: Desk, made: dict[str, str]) -> None:
    concise, detailed = both(desk, "get_run_status", run_id=made["run_id"])
    short, whole = concise["result"], detailed["result"]
    assert short["trust"]["verdict"] == whole["trust"]["verdict"]
    assert short["chosen"] == whole["chosen"]
    assert set(short) - {name for name in short if name.endswith("_total")} <= set(whole)
    assert [line["arm"] for line in short["tried"]] == [arm["name"] for arm in whole["evaluation"]["arms"]]
    for arm in whole["evaluation"]["arms"]:
        assert len(arm["coverage_by_step"]["80"]) == 7
        assert len(arm["intervals"]["offsets"]) == 7
        assert {metric["name"] for metric in arm["metrics"]} >= {"MASE", "WQL", "coverage_95"}
    assert whole["plan"]["dataset_digest"].startswith("sha256:")
    assert len(whole["plan"]["covariates"]) == COVARIATES
    assert whole["preprocessing_report"]["steps"]
    assert "losses" not in whole["evaluation"]
    assert all(a["uri"] == f"forecast://artifacts/{a['digest']}" and "path" not in a for a in short["artifacts"])
    assert all(Path(a["path"]).read_bytes() for a in whole["artifacts"])


def test_a_forecast_pages_by_what_fits_into_each_format(desk: Desk, made: dict[str, str]) -> None:
    concise, detailed = both(desk, "get_run_status", run_id=made["forecast_id"])
    short, whole = concise["result"], detailed["result"]
    assert short["rows_total"] == whole["rows_total"] == 7 * SERIES
    assert short["has_more"]
    assert sum(len(s["ds"]) for s in whole["series"]) > 2 * sum(len(s["ds"]) for s in short["series"])
    assert whole["series"][0]["unique_id"] == short["series"][0]["unique_id"]
    assert short["artifacts"][0]["uri"].startswith("forecast://artifacts/sha256:")
    answer = desk.call("get_run_status", {"run_id": made["forecast_id"]})["result"]
    assert short["artifacts"][0]["uri"] in answer["next_step"]
    longer = desk.call("get_run_status", {"run_id": made["forecast_id"], "limit": 5000})["result"]
    assert not longer["result"]["has_more"]
    assert "limit=5000" not in longer["next_step"]


def paged(desk: Desk, tool: str, items: str, **asked: Any) -> tuple[list[Any], int]:
    """All items of a listing in concise pages, and the number of pages."""
    found, pages, cursor = [], 0, {}
    while True:
        answer = desk.call(tool, {**asked, **cursor})
        assert length(answer) < SHORT
        found += answer["result"][items]
        pages += 1
        if not answer["result"]["has_more"]:
            return found, pages
        cursor = {"cursor": answer["result"]["next_cursor"]}


def test_a_long_list_of_runs_comes_in_short_pages_or_detailed_ones(desk: Desk, made: dict[str, str]) -> None:
    concise, detailed = both(desk, "list_runs", limit=100)
    assert concise["total"] == detailed["total"] == 47
    for line, whole in zip(concise["runs"], detailed["runs"], strict=False):
        assert line == {name: value for name, value in whole.items() if name != "details"}
        assert whole["details"]["plan"]["engine_release"]
    found, pages = paged(desk, "list_runs", "runs", limit=100)
    assert pages > 1
    assert len({line["run_id"] for line in found}) == 47
    (trained,) = both(desk, "list_runs", kind="training", state=made["state"])[1]["runs"]
    assert trained["run_id"] == made["run_id"]
    assert trained["details"]["trust"]["verdict"] == trained["verdict"]


def test_a_wide_dataset_is_described_page_by_page(desk: Desk, made: dict[str, str]) -> None:
    concise, detailed = both(desk, "describe_dataset", dataset_id=made["dataset_id"], limit=100)
    assert concise["covariates_total"] == detailed["covariates_total"] == COVARIATES
    assert concise["covariates"] == detailed["covariates"][: len(concise["covariates"])]
    assert len(detailed["covariates"]) == COVARIATES
    assert len(detailed["series_page"]) == SERIES
    assert detailed["artifacts"][0]["name"] == "dataset.npz"
    covariates, pages = paged(desk, "describe_dataset", "covariates", dataset_id=made["dataset_id"], limit=100)
    series, _ = paged(desk, "describe_dataset", "series_page", dataset_id=made["dataset_id"], limit=100)
    assert covariates == detailed["covariates"]
    assert series == detailed["series_page"]
    assert pages > 1


def test_artifacts_are_listed_in_both_formats(desk: Desk, made: dict[str, str]) -> None:
    concise, detailed = both(desk, "list_artifacts", limit=100)
    runs, _ = paged(desk, "list_runs", "runs", limit=100)
    owners = [{"dataset_id": made["dataset_id"]}, *({"run_id": line["run_id"]} for line in runs)]
    each = [desk.call("list_artifacts", owner)["result"]["total"] for owner in owners]
    assert concise["total"] == detailed["total"] == sum(each) > 20
    assert [one["digest"] for one in detailed["artifacts"]][: len(concise["artifacts"])] == [
        one["digest"] for one in concise["artifacts"]
    ]
    assert all(Path(one["path"]).is_file() for one in detailed["artifacts"])


def test_what_does_not_fit_is_cut_and_says_how_long_it_was() -> None:
    value = {"many": list(range(5_000)), "few": [1, 2], "text": "x" * 9_000}
    short, long = fitted(value, "concise"), fitted(value, "detailed")
    assert length(short) <= ROOM["concise"]
    assert length(long) <= ROOM["detailed"]
    assert (short["many_total"], long["many_total"]) == (5_000, 5_000)
    assert short["few"] == long["few"] == [1, 2]
    assert len(short["many"]) < len(long["many"]) == 1_000
    assert fitting([{"a": "x" * 50}] * 10, room=200) == 3
    assert fitting([{"a": "x" * 500}] * 2, room=200) == 1
    assert fitting([], room=0) == 0
    assert few(["a", "b"]) == ("a", "b")
    told = few(["x" * 1_000] * 9)
    assert told[-1] == f"… and {10 - len(told)} more warnings"
    assert length(told) < SHORT - ROOM["concise"] - 100

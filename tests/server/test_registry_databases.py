"""Publish, promote, serve and roll back, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import Desk
from shop import Shop, trained
from test_registry_tools import blocked

from mcp_forecast.settings import Settings
from mcp_forecast.upkeep.restore import restore_home

BOTH_DATABASES = True


def test_the_way_from_a_run_to_the_bundle_that_answers_and_back(
    open_desk: Callable[[Settings], Desk], settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    restore_home(settings, trained(tmp_path_factory))
    desk = open_desk(settings)
    shop = Shop(desk)
    runs = [shop.passed(horizon) for horizon in (7, 8)]
    packaged = desk.app.engine.shelf.prepare(runs[0]).packaged
    assert packaged is not None
    undo = blocked(desk.app.engine.artifacts.path(packaged.manifest))
    assert shop.done("publish_bundle", run_id=runs[0])["attempts_left"] == 2
    undo()
    made = [shop.done("publish_bundle", run_id=run_id) for run_id in runs]
    assert [(one["status"], shop.state(one["run_id"])) for one in made] == [("PUBLISHED", "PUBLISHED")] * 2
    for one in made:
        shop.done("promote_bundle", bundle_id=one["bundle_id"])
        assert shop.done("run_inference")["result"]["model"]["run_id"] == one["run_id"]
    back = shop.done("rollback_bundle")
    served = shop.done("run_inference")["result"]["model"]
    assert (served["run_id"], served["served_by"]["token"]) == (runs[0], back["token"])
    (line,) = shop.done("list_bundles", state="ACTIVE")["bundles"]
    assert line["bundle_id"] == made[0]["bundle_id"]
    found = shop.done("list_artifacts", name="bundle.json")["artifacts"]
    assert {one["digest"] for one in found} == {one["manifest"] for one in made}
    assert shop.explained() == ()

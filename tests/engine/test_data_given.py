"""What was given and what was filled: absent columns are demoted, futures that look filled are named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mcp_forecast_engine.data.columns import ColumnRoles, Correction
from mcp_forecast_engine.data.dataset import Dataset, build_dataset
from mcp_forecast_engine.data.demotion import demoted
from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.data.future import with_future
from mcp_forecast_engine.data.given import frozen_future, given_steps
from mcp_forecast_engine.data.preprocessing import to_panel
from mcp_forecast_engine.data.reading import read_rows
from mcp_forecast_engine.data.steps import DEFAULT_STEPS, Resample
from mcp_forecast_engine.errors import DataInvalid
from mcp_forecast_engine.evaluation.plan import origins_of, plan_for

COUNT, HORIZON = 500, 7
HEAT = 20 + np.random.default_rng(0).normal(size=COUNT + 50)


def dataset(*, stores: int = 1, absent: dict[str, range], future: int = 0) -> Dataset:
    """Days of stores with a sensor of their own and a flag that all share; absent: per column, the days without it."""
    rows: list[dict[str, Any]] = []
    for store in range(stores):
        for n in range(COUNT + future):
            row = {"sensor": round(HEAT[n] + store, 3), "fair": n % 9 == 0, "store": f"s{store}"}
            row |= {name: None for name, days in absent.items() if n in days and (name == "sensor" or store)}
            y = round(100 + 3 * HEAT[n] + n % 7 + float(np.sin(n * 1.7)), 2) if n < COUNT else None
            rows.append({"ds": str(np.datetime64("2023-01-01") + n), "y": y, **row})
    known = tuple(Correction(name, role="known_future") for name in ("sensor", "fair"))
    return build_dataset(read_rows(rows), ColumnRoles(series=("store",), target="y", covariates=known))


def demotions(data: Dataset, horizon: int = HORIZON) -> tuple[str, ...]:
    panel, _ = to_panel(data.frame)
    given = {name: given_steps(data.frame, panel, name) for name in panel.roles}
    return demoted(panel, origins_of(panel, plan_for(panel, horizon)), horizon, given=given)[1]


@pytest.mark.parametrize(
    ("days", "told"),
    [
        (range(COUNT - 60, COUNT), "absent at 7 of the 7 steps of the last horizon"),
        (range(COUNT - 7, COUNT), "absent at 7 of the 7 steps of the last horizon"),
        (range(100, COUNT - 7), "steps of the horizons of the backtest"),
    ],
)
def test_a_column_absent_where_a_forecast_would_read_it_is_demoted_by_name(days: range, told: str) -> None:
    (warning,) = demotions(dataset(absent={"sensor": days}))
    assert "'sensor' is absent" in warning
    assert told in warning
    assert warning.endswith("used as historical")


@pytest.mark.parametrize("days", [range(0), range(100), range(0, COUNT, 5), range(COUNT - 3, COUNT)])
def test_a_column_that_is_mostly_there_stays(days: range) -> None:
    assert demotions(dataset(absent={"sensor": days})) == ()


def test_rows_after_the_last_target_are_no_part_of_it() -> None:
    assert demotions(dataset(absent={}, future=HORIZON)) == ()


def test_what_all_series_share_is_given_where_one_of_them_gives_it_and_no_other_is() -> None:
    days = range(COUNT - 60, COUNT)
    data = dataset(stores=3, absent={"sensor": days, "fair": days})
    panel, _ = to_panel(data.frame)
    assert given_steps(data.frame, panel, "fair").all()
    assert (~given_steps(data.frame, panel, "sensor")).sum() == 3 * 60
    (warning,) = demotions(data)
    assert "'sensor'" in warning


def test_a_longer_step_has_a_value_where_one_of_its_rows_has() -> None:
    data = dataset(absent={"sensor": range(COUNT - 60, COUNT)})
    panel, _ = to_panel(data.frame, (*DEFAULT_STEPS, Resample("W-SUN", "mean")))
    given = given_steps(data.frame, panel, "sensor")
    assert given[:-10].all()
    assert not given[-8:].any()


def at_end(values: dict[str, np.ndarray]) -> Panel:
    panel, _ = to_panel(dataset(stores=2, absent={}).frame)
    return replace(panel, future={name: np.broadcast_to(ahead, (2, HORIZON)) for name, ahead in values.items()})


def test_a_future_frozen_at_one_value_is_named_and_a_flag_that_is_often_still_is_not() -> None:
    panel = at_end({"sensor": np.full(HORIZON, 21.5), "fair": np.zeros(HORIZON)})
    (warning,) = frozen_future(panel, ("fair", "sensor"), HORIZON)
    assert "'sensor' has one value (21.5) at all 7 future steps in each series" in warning
    assert "looks filled" in warning
    assert frozen_future(panel, ("sensor",), 1) == frozen_future(panel, ("sensor",), HORIZON + 1) == []
    assert frozen_future(at_end({"sensor": np.arange(HORIZON) + 20.0}), ("sensor",), HORIZON) == []


@pytest.mark.parametrize("value", [0.5, -1, 2, 0.999])
def test_half_a_flag_is_refused_and_a_flag_in_any_spelling_is_not(value: float) -> None:
    data = dataset(absent={})
    panel, _ = to_panel(data.frame)

    def rows(flag: Any) -> list[dict[str, Any]]:
        days = [str(np.datetime64("2023-01-01") + COUNT + n) for n in range(HORIZON)]
        return [{"store": "s0", "ds": day, "sensor": 20.0, "fair": flag} for day in days]

    with pytest.raises(DataInvalid, match="which is not boolean") as refusal:
        with_future(panel, data.schema, rows(value), HORIZON, ("fair", "sensor"))
    assert refusal.value.allowed == "true or false, 1 or 0"
    for flag in (True, 1, 1.0):
        found, _ = with_future(panel, data.schema, rows(flag), HORIZON, ("fair", "sensor"))
        assert found.future["fair"].tolist() == [[1.0] * HORIZON]


def test_of_a_flag_a_longer_step_may_hold_a_part() -> None:
    data = dataset(absent={})
    panel, _ = to_panel(data.frame, (*DEFAULT_STEPS, Resample("W-SUN", "mean")))
    week = panel.ds[-1] + 7 * 86_400
    row = {"store": "s0", "ds": str(np.datetime64(int(week), "s")), "sensor": 20.0, "fair": 2 / 7}
    assert with_future(panel, data.schema, [row], 1, ("fair", "sensor"))[0].future["fair"][0, 0] == 2 / 7

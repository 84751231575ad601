"""What was known when: revisions, late values, contradictions; and data without them, which stays as it was."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_toys import (
    AHEAD,
    ASOF,
    DAYS,
    FIRST,
    ONE,
    built,
    dataset_of,
    on,
    plan_of,
    registered,
    revised_rows,
    row,
    targets,
)

from mcp_forecast_engine.data.columns import ColumnRoles
from mcp_forecast_engine.data.dataset import decode, encode
from mcp_forecast_engine.data.labels import as_of, asof_text, pinned_asof, read_asof, timeline
from mcp_forecast_engine.errors import CorridorRefused, DataInvalid
from mcp_forecast_engine.factory.inputs import Panels
from mcp_forecast_engine.factory.taxonomy import REASONS
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.identity import digest_of_bytes


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path)


def test_data_without_observed_times_has_the_bytes_it_had() -> None:
    rows = [
        {
            "ds": f"2024-{1 + n // 28:02d}-{1 + n % 28:02d}", "shop": shop,
            "y": None if n == 7 else 100.5 + n % 7 + n / 8 + i, "price": 3.0 + n % 5, "open": n % 7 < 5,
            "weather": ("rain", "sun", "fog")[n % 3],
        }
        for i, shop in enumerate(("a", "b"))
        for n in range(56)
    ]  # fmt: skip
    data = encode(built(rows, ColumnRoles(series=("shop",), source="")))
    assert digest_of_bytes(data) == "sha256:3165241bd438a8634df95267e5afe2b30078309f3dbb8795ca14d3c12367f28b"
    steps = encode(built([{"ds": n + 1, "y": float(n * n % 11)} for n in range(40)], ColumnRoles(source="")))
    assert digest_of_bytes(steps) == "sha256:3c6ea75ec3c420a66d5a89d49964c942c1c2eeb21556305c228c92301e18b72b"


def test_what_was_known_is_the_newest_of_what_had_been_observed() -> None:
    dataset = built(revised_rows())
    first, later = targets(dataset, on(14.5)), targets(dataset, on(15))
    assert later["north", 0] == first["north", 0] + 20  # the revision of the first day, fifteen days on
    assert ("north", 13) in first
    assert ("north", 14) not in first  # the day itself is not over
    assert ("north", 9) in first
    assert ("north", 9) not in targets(dataset, on(13))  # that day was five days late


def test_rows_in_any_order_are_one_dataset_and_come_back_from_their_bytes(artifacts: ArtifactStore) -> None:
    rows = revised_rows()
    prepared = registered(rows, artifacts)
    assert registered(rows[::-1], artifacts).digest == prepared.digest
    stored = dataset_of(prepared, artifacts)
    assert encode(decode(encode(stored))) == artifacts.get(prepared.digest)
    assert stored.schema.observed == "seen"
    assert stored.observed is not None
    assert len(stored.observed) == len(rows)


def test_a_dataset_shows_its_newest_revisions_and_counts_the_others(artifacts: ArtifactStore) -> None:
    summary = registered(revised_rows(), artifacts).summary
    revised = 2 * len(range(0, DAYS, 4))
    assert (summary["rows"], summary["duplicates"], summary["gaps"]) == (2 * (DAYS + AHEAD), 0, 0)
    assert summary["observed"] == {
        "column": "seen", "first": "2024-01-02T00:00:00Z", "last": "2024-04-13T00:00:00Z",
        "rows": 2 * (DAYS + AHEAD) + revised, "revisions": revised, "conflicts": 0,
    }  # fmt: skip
    assert {c["name"]: c["role"] for c in summary["covariates"]} == {"promo": "known_future", "stock": "historical"}
    assert summary["future_steps"] == AHEAD


def test_covariates_are_revised_with_the_target_and_the_future_is_what_was_given_then(artifacts: ArtifactStore) -> None:
    prepared = registered(revised_rows(), artifacts)
    before, after = (Panels().get(plan_of(prepared, label_asof=on(at)), artifacts)[0] for at in (14.5, 20))
    assert after.covariates["stock"][0] == before.covariates["stock"][0] + 5
    assert before.future["promo"].shape[1] == 0  # rows after the last target came after day 83 only
    newest = Panels().get(plan_of(prepared, label_asof="2024-04-13"), artifacts)[0]
    assert newest.future["promo"].shape == (2, AHEAD)


def test_the_report_of_a_panel_says_how_much_was_known(artifacts: ArtifactStore) -> None:
    prepared = registered(revised_rows(), artifacts)
    panel, report, then, measured = Panels().get(plan_of(prepared), artifacts)
    dataset = dataset_of(prepared, artifacts)
    coverage = as_of(dataset, ASOF).coverage
    assert coverage is not None
    assert (coverage.steps, coverage.known, coverage.end) == (122, 120, "2024-03-01T00:00:00")
    assert measured == coverage
    assert report.warnings[0] == coverage.text
    assert coverage.text.startswith(
        "as of 2024-03-02T00:00:00Z: 98.4% of 122 targets up to 2024-03-01T00:00:00 were known"
    )
    assert coverage.later + coverage.superseded + len(as_of(dataset, ASOF).frame.y) == len(dataset.frame.y)
    assert panel.offsets.tolist() == [0, 61, 122]
    assert then.observed is None
    assert np.array_equal(then.frame.y, as_of(dataset, ASOF).frame.y, equal_nan=True)


def test_targets_that_are_too_young_do_not_take_part() -> None:
    dataset = built(revised_rows())
    mature = targets(dataset, on(60), maturity_days=15)
    assert max(day for _, day in mature) == 45
    assert mature.items() <= targets(dataset, on(60)).items()
    coverage = as_of(dataset, on(60), maturity_days=15).coverage
    assert coverage is not None
    assert coverage.immature == 2 * 14 - 2  # of days 46 … 59, of which the last is late


def test_a_series_that_nobody_had_observed_is_not_there_yet() -> None:
    rows = [*revised_rows(), *(row(day, "west", 5.0 + day % 7, seen=60) for day in range(40))]
    dataset = built(rows)
    assert as_of(dataset, on(30)).frame.unique_id == ("north", "south")
    assert as_of(dataset, on(70)).frame.unique_id == ("north", "south", "west")


@pytest.mark.parametrize(
    ("label_asof", "reason", "next_step"),
    [
        (None, "LABEL_ASOF_MISSING", "2024-04-13T00:00:00Z"),
        ("2023-12-31", "LABEL_SCOPE_EMPTY", "2024-04-13T00:00:00Z"),
        ("2024-01-01T23:59:59Z", "LABEL_SCOPE_EMPTY", "later label_asof"),
    ],
)
def test_no_time_and_a_time_too_early_are_refused(label_asof: str | None, reason: str, next_step: str) -> None:
    with pytest.raises(CorridorRefused) as refused:
        as_of(built(revised_rows()), label_asof)
    assert (refused.value.reason, refused.value.field) == (reason, "label_asof")
    assert next_step in str(refused.value.next_step)
    assert REASONS[reason].category == "LABELS"


def test_two_values_of_one_moment_are_a_contradiction_until_a_newer_one_settles_it() -> None:
    rows = [*revised_rows(), row(30, "south", 1.0, seen=3), row(30, "south", 2.0, seen=3)]
    contradicting = built(rows)
    told = timeline(contradicting)
    assert told is not None
    assert told["conflicts"] == 1
    assert ("south", 30) in targets(contradicting, on(32))  # the first value, before anybody contradicted
    with pytest.raises(CorridorRefused, match="'south' at 2024-01-31T00:00:00, observed 2024-02-03") as refused:
        as_of(contradicting, on(40))
    assert refused.value.reason == "LABEL_TIMELINE_INCONSISTENT"
    settled = built([*rows, row(30, "south", 3.0, seen=8)])
    assert targets(settled, on(40))["south", 30] == 3.0


def test_the_same_row_sent_twice_is_no_contradiction() -> None:
    rows = revised_rows()
    assert targets(built([*rows, *rows]), ASOF) == targets(built(rows), ASOF)


@pytest.mark.parametrize("more", [{"label_asof": ASOF}, {"label_asof": None, "maturity_days": 3}])
def test_data_without_observed_times_takes_no_label_asof(more: dict[str, Any]) -> None:
    plain = built([r for r in revised_rows() if r["y"] is not None], ColumnRoles(series=("store",), drop=("seen",)))
    with pytest.raises(DataInvalid, match="no word on when it became known"):
        as_of(plain, **more)
    assert as_of(plain, None).frame is plain.frame


def test_a_request_is_pinned_before_any_data_is_read(artifacts: ArtifactStore) -> None:
    observed = registered(revised_rows(), artifacts).summary["observed"]
    assert pinned_asof(observed, "2024-03-02T01:00:00+01:00") == ASOF
    assert pinned_asof(None, None) is None
    with pytest.raises(CorridorRefused, match="label_asof"):
        pinned_asof(observed, None)
    with pytest.raises(DataInvalid):
        pinned_asof(None, ASOF)


@pytest.mark.parametrize("text", ["yesterday", "2024-13-01", "2024-01-01T00:00:00.5Z", ""])
def test_a_label_asof_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(DataInvalid, match="label_asof"):
        read_asof(text)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 4_000_000_000))
def test_a_label_asof_is_written_as_it_is_read(seconds: int) -> None:
    assert read_asof(asof_text(seconds)) == seconds


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_row_is_known_before_it_was_observed(data: st.DataObject) -> None:
    seen = st.lists(st.integers(0, 12), min_size=1, max_size=3, unique=True)
    rows = [
        row(day, store, float(100 * day + later + ord(store)), seen=later)
        for store in ("a", "b")
        for day in range(8)
        for later in data.draw(seen)
    ]
    until = data.draw(st.integers(0, 20))
    known: dict[tuple[str, int], tuple[datetime, float]] = {}
    for one in rows:  # as a person would: of what had been seen, what was seen last
        at = datetime.fromisoformat(one["seen"])
        place = (one["store"], (datetime.fromisoformat(one["ds"]) - FIRST).days)
        if at <= FIRST + timedelta(days=until) and (place not in known or at >= known[place][0]):
            known[place] = (at, one["y"])
    dataset = built(rows, replace(ONE, drop=("stock", "promo")))
    if known:
        assert targets(dataset, on(until)) == {place: y for place, (_, y) in known.items()}
    else:
        with pytest.raises(CorridorRefused, match="no target was known"):
            as_of(dataset, on(until))


def test_steps_that_are_numbered_may_be_revised_too() -> None:
    rows = [{"ds": n + 1, "y": 5.0 + n % 7, "seen": on(n)} for n in range(30)]
    dataset = built([*rows, {"ds": 3, "y": 99.0, "seen": on(20)}], ColumnRoles(observed="seen"))
    assert as_of(dataset, on(19)).frame.y[2] == 7.0
    assert as_of(dataset, on(20)).frame.y[2] == 99.0
    with pytest.raises(DataInvalid, match="maturity_days"):
        as_of(dataset, on(20), maturity_days=1)


def test_wide_targets_are_revised_together() -> None:
    rows = [{"ds": on(n), "a": 5.0 + n % 7, "b": 50.0 + n % 5, "seen": on(n + 1)} for n in range(40)]
    rows.append({"ds": on(4), "a": 1.0, "b": 2.0, "seen": on(30)})
    dataset = built(rows, ColumnRoles(wide=("a", "b"), observed="seen"))
    assert targets(dataset, on(29))["a", 4] == 9.0
    assert (targets(dataset, on(30))["a", 4], targets(dataset, on(30))["b", 4]) == (1.0, 2.0)

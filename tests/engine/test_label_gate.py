"""Revised data are judged before anything is trained on them: how much was known, and how much contradicts itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gate_data import passing
from label_toys import ASOF, Row, built, on, revised_rows, row
from negative_home import Place, opened

from mcp_forecast_engine.data.labels import Coverage, as_of
from mcp_forecast_engine.engine import Engine
from mcp_forecast_engine.errors import CorridorRefused
from mcp_forecast_engine.factory.governance import LABEL_RULES, Limit, built_in, read_profile, read_profiles
from mcp_forecast_engine.factory.label_gate import judge_labels
from mcp_forecast_engine.store.artifacts import ArtifactStore

DEFAULT = built_in()["default"]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with opened(tmp_path / "home") as made:
        yield made


def coverage_of(rows: list[Row], label_asof: str) -> Coverage:
    found = as_of(built(rows), label_asof).coverage
    assert found is not None
    return found


def doubled(days: int) -> list[Row]:
    """Values that were told twice at first, differently, and then as they are."""
    return [row(day, "south", y, seen=0.5) for day in range(0, 4 * days, 4) for y in (1.0, 2.0)]


def test_contradictions_count_as_a_share_of_the_rows_that_were_seen_in_time() -> None:
    plain, rows = revised_rows(), [*revised_rows(), *doubled(20)]
    assert coverage_of(plain, ASOF).conflict_share == 0
    whole = coverage_of(rows, on(200))
    assert (whole.conflicts, whole.rows) == (20, len(rows))
    assert whole.conflict_share == pytest.approx(20 / len(rows))


@pytest.mark.parametrize(("share", "refused"), [(0.799, True), (0.8, False), (1.0, False)])
def test_the_limit_of_the_profile_is_itself_allowed(share: float, refused: bool) -> None:
    known = replace(coverage_of(revised_rows(), ASOF), steps=1000, known=round(1000 * share))
    if not refused:
        judge_labels(known, DEFAULT)
        return
    with pytest.raises(CorridorRefused, match=r"the share of targets that were known is 0\.799") as caught:
        judge_labels(known, DEFAULT)
    assert caught.value.details == {
        "rule": "coverage", "measured": 0.799, "limit": {"min": 0.8}, "profile": "default",
    }  # fmt: skip


def test_what_one_profile_refuses_another_may_allow(place: Place) -> None:
    rows = [*revised_rows(), *doubled(3)]
    dataset = place.register(rows, series=["store"], observed="seen")
    asked: dict[str, Any] = {"label_asof": on(100), "season_length": 7}
    with pytest.raises(CorridorRefused) as caught:
        place.plan(dataset, **asked)
    assert caught.value.reason == "LABEL_GATE_UNSATISFIED"
    assert place.plan(dataset, **asked, governance="exploratory").body["label_asof"] == f"{on(100)}Z"


def test_a_receipt_shows_that_the_rules_of_labels_were_kept(place: Place) -> None:
    dataset = place.register(revised_rows(), series=["store"], observed="seen")
    ended = place.work(place.enter(place.plan(dataset, label_asof=ASOF, season_length=7)))
    assert ended.result is not None
    digests = place.read(ended.result)["refs"]
    receipt, report = (place.read(digests[name]) for name in ("gate_receipt", "eval_report"))
    known = coverage_of(revised_rows(), ASOF)
    measured = {"coverage": known.share, "conflicts": known.conflict_share}
    assert report["labels"] == measured
    shown = {line["rule"]: line for line in receipt["rules"] if line["rule"] in LABEL_RULES}
    assert {rule: line["measured"] for rule, line in shown.items()} == measured
    assert {rule: line["limit"] for rule, line in shown.items()} == receipt["profile"]["labels"]
    assert all(line["passed"] for line in shown.values())


class Counting(ArtifactStore):
    """The same store; how often each file was read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads: Counter[str] = Counter()

    def get(self, digest: str) -> bytes:
        self.reads[digest] += 1
        return super().get(digest)


def test_revised_data_are_read_once_to_be_judged_and_measured(place: Place) -> None:
    dataset = place.register(revised_rows(), series=["store"], observed="seen")
    store = Counting(place.folder / "artifacts")
    counted = replace(place, engine=Engine(place.database, store, wall_limit_s=300.0))
    plan = counted.plan(dataset, label_asof=ASOF, season_length=7)
    assert store.reads[plan.body["dataset_digest"]] == 1


def test_data_without_observed_times_are_not_judged(place: Place) -> None:
    assert place.plan(place.register(passing()), governance="strict").run_id


def test_limits_of_labels_travel_with_the_profile_and_another_one_is_another_profile() -> None:
    assert read_profile(DEFAULT.to_dict()) == DEFAULT
    looser = replace(DEFAULT, labels={"coverage": Limit(0.5, None)})
    assert looser.digest != DEFAULT.digest
    stored = {name: part for name, part in DEFAULT.to_dict().items() if name != "labels"}
    assert read_profile(stored).labels == {}  # of an operator who asks nothing of labels


def test_a_rule_of_labels_that_nobody_knows_is_refused_with_those_there_are() -> None:
    profile = {part: DEFAULT.to_dict()[part] for part in ("replay", "rules")}
    document = {"policy_id": "p", "revision": "1", "profiles": {"x": {**profile, "labels": {"beauty": {"min": 1}}}}}
    with pytest.raises(CorridorRefused) as caught:
        read_profiles(document)
    assert (caught.value.reason, caught.value.allowed) == ("GOVERNANCE_PROFILE_INVALID", list(LABEL_RULES))

"""Words of a category that training never saw: warned of where they are past, refused where they lie ahead."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from forecast_toys import hourly, panel_of

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.data.future import with_future
from mcp_forecast_engine.data.schema import CovariateSchema, DatasetSchema
from mcp_forecast_engine.errors import CovariatesMismatch
from mcp_forecast_engine.serving.categories import recoded, require_seen, unseen_past

LEARNED = {"kind": ("a", "b", "c")}


def other(words: tuple[str, ...] = ("hail", "a"), future: tuple[float, ...] = (1.0, 1.0)) -> Panel:
    """Hours of a column `kind`, by default 'hail' for two days, then 'a'."""
    codes = np.where(np.arange(96) < 48, 0.0, 1.0)
    panel = panel_of([np.arange(96.0)], season_length=24, known_future={"kind": [codes]}, categories={"kind": words})
    return replace(panel, future={"kind": np.array([future])})


def test_codes_are_read_by_word_and_once() -> None:
    panel = recoded(other(("c", "b")), LEARNED)
    assert panel.covariates["kind"][[0, -1]].tolist() == [2, 1]
    assert panel.categories == LEARNED
    assert recoded(panel, LEARNED) is panel


def test_a_word_that_training_never_saw_is_named_where_the_model_reads_it() -> None:
    (told,) = unseen_past(other(), LEARNED, lookback=60)
    assert "'kind' is 'hail' in 12 rows" in told
    assert unseen_past(other(), LEARNED, lookback=48) == []
    assert unseen_past(hourly(4), LEARNED, lookback=48) == []


def test_a_new_word_in_the_rows_ahead_is_refused_with_the_known_ones() -> None:
    before = other(future=(1.0, 0.0, 1.0))
    panel = recoded(before, LEARNED)
    with pytest.raises(CovariatesMismatch, match="'kind' is 'hail' in the rows after the last target") as refusal:
        require_seen(panel, before, LEARNED, 2)
    assert refusal.value.allowed == ["a", "b", "c"]
    assert refusal.value.next_step
    require_seen(panel, before, LEARNED, 1)


def test_rows_that_are_sent_use_the_words_of_training_not_those_of_newer_data() -> None:
    kind = CovariateSchema("kind", "known_future", "categorical", False, "", "", ("hail", "a"))
    before = other(future=())
    schema = DatasetSchema("ds", "s0000", (), (), before.axis, (kind,), ())
    ahead = [{"ds": f"2012-01-06T0{hour}:00:00", "kind": "c"} for hour in range(2)]
    found, _ = with_future(recoded(before, LEARNED), schema, ahead, 2, ["kind"])
    assert found.future["kind"].tolist() == [[2, 2]]
    ahead[1]["kind"] = "hail"
    with pytest.raises(CovariatesMismatch, match="'hail' in the future rows") as refusal:
        with_future(recoded(before, LEARNED), schema, ahead, 2, ["kind"])
    assert refusal.value.allowed == ["a", "b", "c"]
    assert "word" in str(refusal.value.next_step)

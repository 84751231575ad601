"""The address of a PostgreSQL database: no password of it is ever said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mcp_forecast_engine.errors import StoreUnavailable
from mcp_forecast_engine.store.address import masked
from mcp_forecast_engine.store.database import open_database


def test_no_password_is_ever_said(tmp_path: Path) -> None:
    secret = "s3cr@t/?&x"
    addresses = (
        f"postgresql://me:{secret}@nowhere.invalid:5432/db",
        f"postgresql://me@nowhere.invalid/db?password={secret}&sslmode=disable",
        f"postgresql://me:{secret}@[::bad/db",
    )
    for address in addresses:
        assert "s3cr" not in masked(address)
        assert "t/?" not in masked(address)
        with pytest.raises(StoreUnavailable) as caught:
            open_database(address)
        error: BaseException | None = caught.value
        assert "s3cr" not in f"{caught.value} {caught.value.next_step}"
        while error is not None:
            assert "s3cr" not in str(error)
            error = error.__cause__
    for open_one in ("postgresql://me@host/db", "postgresql://me@h1:5432,h2:5433/db", "postgresql://me@[::1]:5432/db"):
        assert masked(open_one) == open_one
    assert masked(tmp_path / "forecast.db") == os.fspath(tmp_path / "forecast.db")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me@corp:s3cret@host/db", "postgresql://me@corp:***@host/db"),
        ("postgresql://me@corp:s3cret/db", "postgresql://me@corp:***"),
        ("postgresql://user:s3cret/db", "postgresql://user:***"),
        ("postgresql://u:p@s3cret@127.0.0.1/db", "postgresql://u:***@127.0.0.1/db"),
        ("postgresql://me@h:1/db?password=s3cr@t&sslmode=x", "postgresql://me@h:1/db?password=***&sslmode=x"),
        ("postgresql://me:xpassword=s3cret@host/db", "postgresql://me:***"),
        ("host=h user=u password=s3cret", "host=h user=u password=***"),
        ("password = s3cret user=u", "password = *** user=u"),
        (r"host=h password='s3c\' ret x=1' user=u", "host=h password=*** user=u"),
        ("host=h sslpassword='s3c ret", "host=h sslpassword=***"),
    ],
)
def test_a_password_is_masked_wherever_libpq_or_a_slip_may_put_it(address: str, shown: str) -> None:
    assert masked(address) == shown


@pytest.mark.parametrize(
    "address", ["postgresql://u:p@s3cret@127.0.0.1/db", "postgresql://user:s3cret/db", "postgresql://me@corp:s3cret/db"]
)
def test_a_password_that_libpq_takes_for_a_host_or_port_is_refused_unsaid(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be read") as caught:
        open_database(address)
    assert "%40" in (caught.value.next_step or "")
    assert "s3cret" not in f"{caught.value} {caught.value.next_step} {caplog.text}"

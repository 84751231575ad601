"""The rows of the table, by name."""

from __future__ import annotations

from forecasting import bike, epf, etth, m4, tourism, walmart
from forecasting.tasks import Row

ROWS: dict[str, Row] = {
    row.name: row for part in (epf, m4, etth, bike, tourism, walmart) for row in part.ROWS
}  # fmt: skip

"""All tables of all parts, for Alembic."""

from __future__ import annotations

import mcp_forecast_engine.store.tables  # noqa: F401
from sqlmodel import SQLModel

METADATA = SQLModel.metadata

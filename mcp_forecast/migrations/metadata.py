"""All tables of all parts, for Alembic."""

from __future__ import annotations

from sqlmodel import SQLModel

import mcp_forecast.home.tables  # noqa: F401
import mcp_forecast_audit.tables  # noqa: F401
import mcp_forecast_engine.store.tables  # noqa: F401

METADATA = SQLModel.metadata

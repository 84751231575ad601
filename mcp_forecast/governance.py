"""The operator's governance file: read where a server starts, so that what is wrong with it is told there, by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mcp_forecast.settings import PREFIX, Settings

if TYPE_CHECKING:
    from mcp_forecast_engine.factory.governance import GovernanceProfile


def profiles_of(settings: Settings) -> Mapping[str, GovernanceProfile] | None:
    """The profiles that trainings may name; None: those of the engine, read when the first one is named.

    Raises CorridorRefused (GOVERNANCE_PROFILE_INVALID) with the file, what is wrong with it and what helps.
    """
    if not settings.governance:
        return None
    from mcp_forecast_engine.errors import CorridorRefused
    from mcp_forecast_engine.factory.governance import with_operators

    file = Path(settings.governance)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise CorridorRefused(
            "GOVERNANCE_PROFILE_INVALID", f"{file} cannot be read: {error.strerror}", field=f"{PREFIX}GOVERNANCE",
            next_step=f"let {PREFIX}GOVERNANCE name a JSON file that may be read, or unset it",
        ) from error  # fmt: skip
    return with_operators(data, file=str(file))

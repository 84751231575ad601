"""Zones that people most often mean, by their IANA names: what an error about a zone can offer."""

from __future__ import annotations

from typing import Final

from mcp_forecast_engine.errors import DataInvalid

# One or more for every offset that many people live at; any other IANA name is read as well.
USUAL_ZONES: Final = (
    "UTC", "Europe/London", "Europe/Lisbon", "Europe/Berlin", "Europe/Paris", "Europe/Madrid", "Europe/Rome",
    "Europe/Amsterdam", "Europe/Brussels", "Europe/Vienna", "Europe/Zurich", "Europe/Warsaw", "Europe/Prague",
    "Europe/Stockholm", "Europe/Oslo", "Europe/Copenhagen", "Europe/Helsinki", "Europe/Athens", "Europe/Istanbul",
    "Europe/Moscow", "Africa/Lagos", "Africa/Cairo", "Africa/Johannesburg", "Africa/Nairobi", "Asia/Dubai",
    "Asia/Karachi", "Asia/Kolkata", "Asia/Dhaka", "Asia/Bangkok", "Asia/Jakarta", "Asia/Singapore", "Asia/Hong_Kong",
    "Asia/Shanghai", "Asia/Manila", "Asia/Seoul", "Asia/Tokyo", "Australia/Perth", "Australia/Sydney",
    "Pacific/Auckland", "America/Sao_Paulo", "America/Argentina/Buenos_Aires", "America/Bogota", "America/Mexico_City",
    "America/New_York", "America/Toronto", "America/Chicago", "America/Denver", "America/Phoenix",
    "America/Los_Angeles", "America/Vancouver", "America/Anchorage", "Pacific/Honolulu",
)  # fmt: skip


def unclear_zone(name: str, found: str, asked: str = "") -> DataInvalid:
    """The refusal of times whose zone is not clear. name: their column; asked: what the caller called a zone."""
    word = asked.lower().replace(" ", "_")
    near = [zone for zone in USUAL_ZONES if word and word in zone.lower()]
    return DataInvalid(
        f"time column {name!r}: {found}", field="time_zone", allowed=near or list(USUAL_ZONES),
        next_step="say whose wall clock it is with `time_zone`: an IANA name such as 'Europe/Berlin', or 'UTC'",
    )  # fmt: skip

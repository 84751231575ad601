"""Where a bundle may be ACTIVE: an environment, a mode and a slot, of one tenant or of everybody."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from sqlalchemy import RowMapping

from mcp_forecast_engine.errors import DataInvalid

_TEXT: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")  # as in a training request
NOBODY: Final = ""  # the tenant of a row whose scope is everybody's: part of a key, so never null


@dataclass(frozen=True)
class Scope:
    """One place with at most one ACTIVE bundle; tenant None is everybody's. Raises DataInvalid for other texts."""

    environment: str = "local"
    mode: str = "live"
    slot: str = "primary"
    tenant: str | None = None

    def __post_init__(self) -> None:
        """Refuse what is no text of a scope."""
        for name, text in asdict(self).items():
            if not (name == "tenant" and text is None) and not _TEXT.fullmatch(text):
                raise DataInvalid(
                    f"{name} of a scope is {text!r}", field=name,
                    allowed="1 to 64 of a-z, 0-9, _, . and -, a letter or digit first",
                    next_step=f"name {name} in these characters, or leave it out", reason="TARGET_SCOPE_INVALID",
                )  # fmt: skip

    @property
    def everybodys(self) -> Scope:
        """The same place without a tenant."""
        return replace(self, tenant=None)

    def told_to(self, tenant: str | None) -> str:
        """The scope as one tenant may read it: who another tenant is, is no business of theirs."""
        return str(self) if self.tenant in (None, tenant) else f"{self.everybodys} of another tenant"

    @property
    def columns(self) -> dict[str, str]:
        """The scope as columns of a row."""
        return {**asdict(self), "tenant": self.tenant or NOBODY}

    def to_dict(self) -> dict[str, str]:
        """Plain JSON values; no tenant where it is everybody's."""
        return {name: text for name, text in asdict(self).items() if text is not None}

    def __str__(self) -> str:
        """The scope as people read it."""
        return "/".join(self.to_dict().values())


SCOPE_COLUMNS: Final = tuple(Scope().columns)


def without_scope(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What a caller asked for, but for the scope it named, which is no other caller's business."""
    return {name: value for name, value in asked.items() if name not in SCOPE_COLUMNS}


def read_scope(row: RowMapping) -> Scope:
    """The scope in a row's columns."""
    environment, mode, slot, tenant = (row[name] for name in SCOPE_COLUMNS)
    return Scope(environment, mode, slot, tenant or None)

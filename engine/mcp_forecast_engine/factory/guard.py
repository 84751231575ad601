"""What a leakage guard found: no look ahead, one that ends the run, or one that the request asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["passed", "violated", "accepted"]


@dataclass(frozen=True)
class GuardResult:
    """One guard's finding.

    status: "violated" ends the run; "accepted": a look ahead that the request itself asked for. checked: how many
    values, columns or windows were looked at, 0 where there was nothing to look at. detail: the first finding in words.
    """

    name: str
    status: Status
    checked: int
    detail: str

    @property
    def passed(self) -> bool:
        """Whether the run may go on."""
        return self.status != "violated"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        plain = {"name": self.name, "status": self.status, "checked": self.checked}
        return {**plain, "passed": self.passed, "detail": self.detail}

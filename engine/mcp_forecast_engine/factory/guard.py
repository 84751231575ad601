"""What a leakage guard found: no look ahead, one that ends the run, or one that the request asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

Status = Literal["passed", "nothing to check", "violated", "accepted"]
# Whatever is not one of these counts as a leak.
CLEAN: Final[tuple[Status, ...]] = ("passed", "nothing to check")
_OURS: Final = "report it with this message: the training"
# What to do where a guard ended the run: a column that tells the target is in the data, anything else is our mistake.
MEND: Final = {
    "labels": f"{_OURS} read other values than were known at label_asof, whatever the data",
    "manifest": f"{_OURS} read other values than its manifest names, whatever the data",
    "columns": "leave the column that is named out of `covariates`, or register the data without it; then train again",
    "windows": f"{_OURS} cut its windows wrongly, whatever the data",
    "blind": f"{_OURS} read what comes after its cutoffs, whatever the data",
    "evidence": f"{_OURS} told figures that its own forecasts do not give, whatever the data",
}


@dataclass(frozen=True)
class GuardResult:
    """One guard's finding; what passed without anything to look at says so, for it proves nothing.

    status: "violated" ends the run; "accepted": a look ahead that the request itself asked for. checked: how many
    values, columns or windows were looked at, 0 where there was nothing to look at. detail: the first finding in words.
    """

    name: str
    status: Status
    checked: int
    detail: str

    def __post_init__(self) -> None:
        if self.status == "passed" and not self.checked:
            object.__setattr__(self, "status", "nothing to check")

    @property
    def passed(self) -> bool:
        """Whether the run may go on."""
        return self.status != "violated"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        plain = {"name": self.name, "status": self.status, "checked": self.checked}
        return {**plain, "passed": self.passed, "detail": self.detail}

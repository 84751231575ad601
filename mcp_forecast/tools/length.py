"""How long an answer may be, and what is cut so that it fits; what is cut says how long it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from mcp_forecast.tools.brief import CHARACTERS, MOST, brief
from mcp_forecast_contracts.schema import ResponseFormat

# Of the 8,000 and 100,000 characters of an answer, the envelope and its warnings take the rest.
ROOM: Final[dict[ResponseFormat, int]] = {"concise": 7_000, "detailed": 95_000}
LONGEST_LISTS: Final[dict[ResponseFormat, int]] = {"concise": MOST, "detailed": 1_000}
LONGEST_TEXTS: Final[dict[ResponseFormat, int]] = {"concise": CHARACTERS, "detailed": 4_000}
WARNINGS_ROOM: Final = 800
_STEPS: Final = (1_000, 400, 100, 50, 24, MOST, 8, 5, 3, 2, 1)


def length(value: Any) -> int:
    """Characters of a value as compact JSON."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def fitted(value: dict[str, Any], how: ResponseFormat, *, room: int | None = None) -> dict[str, Any]:
    """The value with its lists cut just as much as needed to fit; true lengths stand beside them as `<name>_total`."""
    room = ROOM[how] if room is None else room
    cut = value
    for most in (most for most in _STEPS if most <= LONGEST_LISTS[how]):
        cut = brief(value, most=most, characters=LONGEST_TEXTS[how])
        if length(cut) <= room:
            break
    return cut


def fitting(items: Sequence[Mapping[str, Any]], *, room: int) -> int:
    """How many of the first items fit; one at least, if there is one, so that a page always goes on."""
    for count, item in enumerate(items):
        room -= length(item) + 1
        if room < 0:
            return max(count, 1)
    return len(items)


def first_that_fits(made: Callable[[int], dict[str, Any]], levels: int, how: ResponseFormat) -> dict[str, Any]:
    """The fullest of some versions of an answer, `made(0)` the longest, that fits; else the last one."""
    answer = made(0)
    for level in range(1, levels):
        if length(answer) <= ROOM[how]:
            break
        answer = made(level)
    return answer


def few(warnings: Sequence[str]) -> tuple[str, ...]:
    """The first warnings, as many as there is room for beside the answer, and how many more there are."""
    texts = [text if len(text) <= CHARACTERS else f"{text[:CHARACTERS]}…" for text in warnings]
    shown = texts[: fitting([{"": text} for text in texts], room=WARNINGS_ROOM)]
    left = len(texts) - len(shown)
    return (*shown, f"… and {left} more warnings") if left else tuple(shown)

"""Answers that stay short: long lists and sentences are cut, and say how long they were."""

from __future__ import annotations

from typing import Any, Final

MOST: Final = 12  # items of a list
CHARACTERS: Final = 400  # of a sentence


def brief(value: dict[str, Any], *, most: int = MOST, characters: int = CHARACTERS) -> dict[str, Any]:
    """The same object with every long list cut and its true length beside it, as `<name>_total`."""
    cut: dict[str, Any] = {}
    for name, item in value.items():
        cut[name] = _brief(item, most, characters)
        if isinstance(item, list) and len(item) > most:
            cut[f"{name}_total"] = len(item)
    return cut


def _brief(item: Any, most: int, characters: int) -> Any:
    if isinstance(item, dict):
        return brief(item, most=most, characters=characters)
    if isinstance(item, list):
        return [_brief(one, most, characters) for one in item[:most]]
    if isinstance(item, str) and len(item) > characters:
        return f"{item[:characters]}… ({len(item)} characters)"
    return item

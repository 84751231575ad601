"""What was ACTIVE in a scope before what: the order in which rollbacks walk back, from the scope's moves alone.

A promotion puts a bundle on top; a rollback takes bundles off until the one it goes back to is on top, or none is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from mcp_forecast_engine.registry.bundles import BundleRef
from mcp_forecast_engine.registry.events import EventType

History = tuple[BundleRef, ...]  # the last one is ACTIVE
EMPTY: Final[History] = ()


def history_of(moves: Iterable[tuple[EventType, BundleRef | None]]) -> History:
    """The history that these moves of one scope, oldest first, have left."""
    history = EMPTY
    for event_type, bundle in moves:
        history = moved(history, event_type, bundle)
    return history


def moved(history: History, event_type: EventType, bundle: BundleRef | None) -> History:
    """The history after a move that made this bundle ACTIVE, or none."""
    if bundle is None:
        return EMPTY
    if event_type == "BUNDLE_PROMOTED_ACTIVE":
        return (*history, bundle)
    back = [at for at, ref in enumerate(history[:-1]) if ref == bundle]
    return history[: back[-1] + 1] if back else (bundle,)


def behind(history: History, retired: Callable[[BundleRef], bool]) -> Iterator[BundleRef]:
    """The bundles a rollback may go back to, each once, nearest first: none retired, nor the one it goes away from."""
    return (ref for ref in dict.fromkeys(reversed(history[:-1])) if ref != history[-1] and not retired(ref))

"""Whether the events explain everything: replayed from the first one, they lead to the very rows that serve.

Used where nobody is trusted: by tests, by the doctor and by the verification of the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, select

from mcp_forecast_engine.registry import active, events
from mcp_forecast_engine.registry.bundles import BUNDLE, Bundle, BundleRef, read_bundle
from mcp_forecast_engine.registry.events import Event
from mcp_forecast_engine.registry.history import EMPTY, History, behind, moved
from mcp_forecast_engine.registry.scope import Scope

_BUNDLES: Final = select(BUNDLE).order_by(BUNDLE.c.seq)


@dataclass(frozen=True)
class Explained:
    """How many events, bundles and scopes there are, and what no event explains: nothing, where all is well."""

    events: int
    bundles: int
    scopes: int
    faults: tuple[str, ...]


@dataclass
class Replay:
    """The registry as its events alone tell it, fed one by one, oldest first."""

    seq: int = 0
    published: dict[BundleRef, Event] = field(default_factory=dict)
    retired: set[BundleRef] = field(default_factory=set)
    histories: dict[Scope, History] = field(default_factory=dict)
    tokens: dict[Scope, int] = field(default_factory=dict)

    def active(self, scope: Scope) -> BundleRef | None:
        """What is ACTIVE in a scope."""
        return next(reversed(self.histories.get(scope, EMPTY)), None)

    def feed(self, event: Event) -> list[str]:
        """Let one more event happen, and say what is wrong with it."""
        faults = [f"event {event.seq}: {what}" for what, wrong in self._checks(event) if wrong]
        self.seq = event.seq
        if event.event_type in events.MOVES:
            self.histories[event.scope] = moved(self.histories.get(event.scope, EMPTY), event.event_type, event.bundle)
            self.tokens[event.scope] = event.seq
        elif event.event_type == "BUNDLE_PUBLISHED" and event.bundle is not None:
            self.published[event.bundle] = event
        elif event.event_type == "BUNDLE_RETIRED" and event.bundle is not None:
            self.retired.add(event.bundle)
        return faults

    def _checks(self, event: Event) -> Iterator[tuple[str, bool]]:
        yield f"follows {self.seq}, so that events are missing", event.seq != self.seq + 1
        yield "does not have the name of its content: it was changed", event.event_id != event.name_from_content()
        yield "is of an unknown type", event.event_type not in LAWFUL
        yield from LAWFUL.get(event.event_type, _nothing)(self, event)


def explain(connection: Connection) -> Explained:
    """Replay every event and compare with what is ACTIVE and published; the connection has to see one instant."""
    replay, faults = Replay(), []
    for event in events.every(connection):
        faults += replay.feed(event)
    stored = active.rows(connection)
    told = {scope: (replay.active(scope), token) for scope, token in replay.tokens.items()}
    for scope in sorted(stored.keys() | told.keys(), key=str):
        found, explained = stored.get(scope), told.get(scope)
        if found != explained:
            faults.append(f"scope {scope}: {_standing(found)} is stored, events say {_standing(explained)}")
    rows = connection.execute(_BUNDLES).mappings().all()
    faults += _unpublished({read_bundle(row).ref: (read_bundle(row), row["seq"]) for row in rows}, replay)
    return Explained(replay.seq, len(rows), len(told), tuple(faults))


def _unpublished(stored: dict[BundleRef, tuple[Bundle, int]], replay: Replay) -> Iterator[str]:
    for ref in sorted(stored.keys() | replay.published.keys()):
        bundle, seq = stored.get(ref, (None, 0))
        event = replay.published.get(ref)
        if bundle is None or event is None:
            yield f"bundle {ref}: {'its row is missing' if bundle is None else 'no event published it'}"
        elif (bundle.to_dict(), seq) != (event.evidence.get("bundle"), event.seq):
            yield f"bundle {ref}: its row is not what event {event.seq} published"


def _standing(found: tuple[BundleRef | None, int] | None) -> str:
    return "nothing" if found is None else f"{found[0] or 'nothing'} (token {found[1]})"


_Faults = Iterator[tuple[str, bool]]


def _nothing(replay: Replay, event: Event) -> _Faults:
    yield from ()


def _publishes(replay: Replay, event: Event) -> _Faults:
    yield "publishes nothing", event.bundle is None
    yield f"publishes {event.bundle} again", event.bundle in replay.published


def _names(replay: Replay, event: Event) -> _Faults:
    yield f"is about {event.bundle}, which is not published", event.bundle not in replay.published


def _promotes(replay: Replay, event: Event) -> _Faults:
    yield from _names(replay, event)
    yield from _leaves(replay, event)
    yield f"promotes {event.bundle}, which is retired", event.bundle in replay.retired
    yield f"promotes {event.bundle}, which was ACTIVE already", event.bundle == replay.active(event.scope)


def _goes_back(replay: Replay, event: Event) -> _Faults:
    yield from _leaves(replay, event)
    history = replay.histories.get(event.scope, EMPTY)
    ahead: list[BundleRef | None] = [*behind(history, replay.retired.__contains__)]
    yield "goes back from nothing", not history
    yield f"goes back to {event.bundle}, which it cannot", event.bundle not in (ahead or [None])


def _leaves(replay: Replay, event: Event) -> _Faults:
    found = replay.active(event.scope)
    yield f"moves from {event.before}, but {found} was ACTIVE", event.before != found


def _retires(replay: Replay, event: Event) -> _Faults:
    yield from _names(replay, event)
    yield f"retires {event.bundle} again", event.bundle in replay.retired
    busy = [str(scope) for scope in replay.histories if replay.active(scope) == event.bundle]
    yield f"retires {event.bundle}, which is ACTIVE in {', '.join(busy)}", bool(busy)


LAWFUL: Final[dict[str, Callable[[Replay, Event], _Faults]]] = {
    "BUNDLE_PUBLISHED": _publishes,
    "BUNDLE_APPROVED": _names,
    "BUNDLE_PROMOTED_ACTIVE": _promotes,
    "BUNDLE_ROLLED_BACK": _goes_back,
    "BUNDLE_RETIRED": _retires,
    "PROMOTION_REJECTED": _names,
    "BUNDLE_SIGNED": _names,
}

"""The scope that a call names, and the source of a forecast: what is left out has the usual value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mcp_forecast.errors import Refusal
from mcp_forecast_contracts.bundles import ScopeArguments
from mcp_forecast_contracts.inference import RunInferenceArguments
from mcp_forecast_engine.registry.scope import SCOPE_COLUMNS, Scope

if TYPE_CHECKING:
    from mcp_forecast.app import App
    from mcp_forecast_engine.serving.served import Source

_MODELS: Final = ("run_id", "bundle_id")


def scope_of(app: App, request: ScopeArguments) -> Scope:
    """The scope a request names."""
    return Scope(**{"environment": app.settings.environment, **_named(request)})


def scope_or_none(app: App, request: ScopeArguments) -> Scope | None:
    """The same where any part of it is named; None: whatever scope."""
    return scope_of(app, request) if _named(request) else None


def source_of(app: App, request: RunInferenceArguments) -> Source | None:
    """Where the model comes from: a bundle, a scope, or None for the run that is named.

    Raises Refusal where more than one of them is.
    """
    given = [name for name in _MODELS if getattr(request, name) is not None]
    if len(given) > 1 or (given and _named(request)):
        both = given if len(given) > 1 else [*given, *_named(request)]
        raise _one_of(f"{' and '.join(both)} cannot go together: a run, a bundle, or a scope answers", both[1])
    if request.version is not None and request.bundle_id is None:
        raise _one_of("version is that of a bundle, and no bundle_id is named", "version")
    if request.run_id is not None:
        return None
    from mcp_forecast_engine.serving.served import Pin  # numpy: only where it is needed

    return Pin(request.bundle_id, request.version) if request.bundle_id is not None else scope_of(app, request)


def _named(request: ScopeArguments) -> dict[str, str]:
    return {name: value for name in SCOPE_COLUMNS if (value := getattr(request, name)) is not None}


def _one_of(message: str, field: str) -> Refusal:
    allowed: Any = ["run_id", "bundle_id (and version)", "environment, mode, slot, tenant, each or none"]
    return Refusal(
        "INVALID_ARGUMENTS", message, field=field, allowed=allowed,
        details={"reason": "ONE_OF"},  # no contract can say this: portable schemas have no top-level oneOf
    )  # fmt: skip

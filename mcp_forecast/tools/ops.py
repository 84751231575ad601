"""The operations tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import mcp_forecast
from mcp_forecast.calls.tool import Call, Outcome, Tool
from mcp_forecast.home.reconciliation import reconciled
from mcp_forecast.home.schema import REVISION
from mcp_forecast.tools.links import is_here
from mcp_forecast_contracts.ops import GET_SERVICE_STATUS, GetServiceStatusArguments
from mcp_forecast_engine.runtime.usage import usage
from mcp_forecast_engine.store.snapshot import one_view

if TYPE_CHECKING:
    from mcp_forecast.app import App


def service_status(app: App, call: Call, request: GetServiceStatusArguments) -> Outcome:
    """Version, store, queue and limits, read now; with `work` also what was done, as of one instant."""
    settings = app.settings
    work = {}
    if request.work:
        with one_view(app.database) as connection:
            work = {"work": reconciled(connection)}
    with app.database.read() as connection:
        runs, audit = app.engine.run_counts(connection), app.sealer.status(connection, paths=is_here(call.caller))
        used = usage(connection, call.caller.id, now=call.at)
    return Outcome(
        {
            "version": mcp_forecast.__version__,
            "caller": call.caller.id,
            "scopes": sorted(call.caller.scopes),
            "home": str(settings.home),
            "roots": [str(root) for root in settings.roots],
            "store": {"kind": app.database.kind, "schema": REVISION, **app.database.report()},
            "runs": runs,
            "limits": {
                "rate_per_s": settings.rate_per_s,
                "burst": settings.rate_burst,
                "workers": settings.workers,
                "lease_s": settings.lease_s,
                "wall_limit_s": settings.wall_limit_s,
                "quotas": app.quotas.shown(used),
            },
            "policy": dict(app.policy.stamp),
            "audit": audit,
            **work,
        }
    )


OPS_TOOLS: Final = (Tool(GET_SERVICE_STATUS, read=service_status, short=lambda request: not request.work),)

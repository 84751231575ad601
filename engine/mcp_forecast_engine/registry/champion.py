"""What a new model is measured against: the bundle that is ACTIVE where it is to go."""

from __future__ import annotations

from sqlalchemy import Connection

from mcp_forecast_engine.factory.documents import Documents
from mcp_forecast_engine.factory.plan import Champion
from mcp_forecast_engine.registry.active import active
from mcp_forecast_engine.registry.scope import Scope
from mcp_forecast_engine.runtime import ledger


def champion_for(connection: Connection, documents: Documents, scope: Scope, work_key: str) -> Champion | None:
    """The ACTIVE bundle of a scope, for a training of this work; None where there is none.

    Work that is ACTIVE itself keeps the champion that it was measured against: the same call is the same run, also
    after its bundle was promoted. Raises NotFound, ArtifactCorrupt.
    """
    bundle = active(connection, scope).bundle
    if bundle is None:
        return None
    run, target = ledger.get(connection, bundle.run_id), str(bundle.compatibility["target"])
    if run.plan.get("work_key") == work_key:
        own = run.plan["request"]["champion"]
        return Champion(own, **{"target": target, **run.plan["champion"]}) if own else None
    artifacts = documents.trained(run)["artifacts"]
    evaluation = next(artifact["digest"] for artifact in artifacts if artifact["name"] == "evaluation.json")
    return Champion(str(bundle.ref), evaluation, target)

"""Where a forecast's model comes from: a run that is named, a bundle that is pinned, or whatever answers in a scope."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from mcp_forecast_engine.data.input_spec import INPUT_SPEC_RECIPE
from mcp_forecast_engine.factory.publication import told_rule
from mcp_forecast_engine.registry.bundles import Bundle
from mcp_forecast_engine.registry.lifecycle import is_retired
from mcp_forecast_engine.registry.resolution import Needs, Resolution, pinned, resolve
from mcp_forecast_engine.registry.scope import Scope


@dataclass(frozen=True)
class Pin:
    """A bundle by name; version None: its only one."""

    bundle_id: str
    version: str | None = None


Source = Pin | Scope


@dataclass(frozen=True)
class ServedBy:
    """How the model of a request was found. bundle: None where a run was named; resolution: where a scope was asked.

    retired: whether a bundle that was named may no longer become ACTIVE.
    """

    bundle: Bundle | None = None
    resolution: Resolution | None = None
    pin: Pin | None = None
    retired: bool = False

    @property
    def warnings(self) -> tuple[str, ...]:
        """What this caller has to know of how it was found."""
        if self.resolution is not None:
            return self.resolution.warnings
        if self.bundle is not None and self.retired:
            return (f"{self.bundle.ref} is retired: it answers only where it is named, and is never ACTIVE again",)
        return ()

    @property
    def identity(self) -> dict[str, Any]:
        """What of it belongs to the forecast: which bundle, not how it was found."""
        if self.bundle is None:
            return {}
        return {"bundle": {**self.bundle.ref._asdict(), "manifest": self.bundle.manifest}}

    @property
    def asked(self) -> dict[str, Any]:
        """What the caller named."""
        if self.resolution is not None:
            return self.resolution.scope.to_dict()
        return {} if self.pin is None else {name: value for name, value in vars(self.pin).items() if value is not None}

    @property
    def lasting(self) -> dict[str, Any]:
        """What callers are told of it whoever asked for the same forecast: no scope, and no tenant."""
        return {"by": "run"} if self.bundle is None else {"by": "bundle", **self.bundle.ref._asdict()}

    def to_dict(self) -> dict[str, Any]:
        """What this caller is told; from a registry also why, and by which token."""
        found = self.resolution
        if self.bundle is None or found is None:
            return self.lasting
        assert found.served_from is not None
        return {
            "by": "registry", **self.bundle.ref._asdict(), "scope": str(found.scope),
            "served_from": str(found.served_from), "outcome": found.outcome, "reason_codes": list(found.reason_codes),
            "token": found.token, "policy_rev": found.policy_rev,
        }  # fmt: skip


BY_RUN: Final = ServedBy()


def find(connection: Connection, source: Source, needs: Needs) -> ServedBy:
    """The bundle that answers. Raises NotFound, BundleIncompatible."""
    if isinstance(source, Pin):
        bundle = pinned(connection, source.bundle_id, source.version, needs)
        return ServedBy(bundle, pin=source, retired=is_retired(connection, bundle.ref))
    found = resolve(connection, source, needs)
    return ServedBy(found.require(), found)


def needs_of(horizon: int | None, levels: Sequence[int], summary: Mapping[str, Any] | None) -> Needs:
    """What a request needs of a bundle. levels: intervals in per cent; summary: of other data than that of training."""
    ends = sorted({round(end, 4) for level in levels for end in ((100 - level) / 200, 1 - (100 - level) / 200)})
    data = {} if summary is None else {"target": summary["target"], "data_freq": summary["freq"]}
    return Needs(horizon=horizon, levels=tuple(ends), input_contract_version=INPUT_SPEC_RECIPE, **data)


def gate_told(trained: Mapping[str, Any]) -> dict[str, Any]:
    """What the gate said of a model, for its forecasts: the decision, and the rules that failed."""
    gate = trained.get("gate")
    if gate is None:
        return {}
    failed = [rule["rule"] for rule in _failed(gate)]
    return {"gate": {"decision": gate["decision"], **({"failed": failed} if failed else {})}}


def gate_warnings(trained: Mapping[str, Any]) -> tuple[str, ...]:
    """What a reader of the forecast of a model has to know that failed its gate."""
    gate = trained.get("gate", {"decision": "PASS"})
    if gate["decision"] == "PASS":
        return ()
    told = "; ".join(map(told_rule, _failed(gate)))
    return (f"this model failed its gate ({told}): for inspection, not for decisions",)


def _failed(gate: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return (rule for rule in gate["rules"] if not rule["passed"])

"""The columns that a trained model is bound to: their schema and its hash, the inputs in order, what may be missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp_forecast_engine.data.derived import derived_names
from mcp_forecast_engine.data.fallback import LAST_SEASON, USUAL, usual_value
from mcp_forecast_engine.data.frame import Panel, Role
from mcp_forecast_engine.data.input_spec import input_spec
from mcp_forecast_engine.data.schema import CovariateSchema, DatasetSchema, ValueType, covariate_schema_hash
from mcp_forecast_engine.models.contract import KEY, Contract, read_contract
from mcp_forecast_engine.models.features import Layout
from mcp_forecast_engine.models.pretrained_manifest import is_manifest, read_manifest


def bound_columns(model: bytes, panel: Panel, schema: DatasetSchema, plan: Mapping[str, Any]) -> dict[str, Any]:
    """What the `serving` part of a training result says about columns. Raises ArtifactCorrupt.

    model: the exported model, whose own contract says what it reads. lookback: steps of the target that it is given:
    those that its forecast comes from, and those that its intervals are measured on. needs_future: known-future
    covariates that callers send; optional_future: those of them that fall back by a named policy where they are
    missing. derived: computed from the time stamps. covariates: what is read, in persisted order, each with the role
    the model gives it.
    """
    layout = layout_of(model)
    derived = derived_names(plan, panel.axis.freq)
    read = _read(layout, schema, derived, _source(plan))
    optional = [c.name for c in read if c.nullable and c.known_future]
    spec = input_spec(layout, target=schema.target_text)
    return {
        "lookback": layout.lookback,
        "needs_future": [name for name in layout.known_future if name not in derived],
        "optional_future": optional,
        "derived": [name for name in derived if name in {c.name for c in read}],
        "covariates": [_told(covariate, panel) for covariate in read],
        "covariate_schema_hash": covariate_schema_hash(read),
        "input_spec": {**spec.to_dict(), "digest": spec.digest()},
        **({} if schema.zone is None else {"zone": schema.zone}),
    }


def layout_of(model: bytes) -> Layout:
    """The columns that an exported model reads, from its own contract."""
    return contract_in(model).layout


def contract_in(model: bytes) -> Contract:
    """What an exported model says about itself. Raises ArtifactCorrupt."""
    if is_manifest(model):
        return read_manifest(model)[1]
    import onnx

    kept = {entry.key: entry.value for entry in onnx.load_model_from_string(model).metadata_props}
    return read_contract(kept.get(KEY, ""))


def _read(layout: Layout, schema: DatasetSchema, derived: tuple[str, ...], source: str) -> tuple[CovariateSchema, ...]:
    """The schema of every column read; a known-future column whose past alone is read is historical here."""
    roles: dict[str, Role] = dict.fromkeys(layout.historical, "historical")
    roles.update(dict.fromkeys(layout.known_future, "known_future"))
    roles.update(dict.fromkeys(layout.static, "static"))
    own = {covariate.name: covariate for covariate in schema.covariates}
    found = []
    for name in sorted(roles):
        if name in derived:
            kind: ValueType = "numeric" if name.endswith("_days") else "boolean"
            found.append(CovariateSchema(name, roles[name], kind, False, source, "given by the time stamps"))
            continue
        c = own[name]
        found.append(CovariateSchema(name, roles[name], c.type, c.nullable, c.source, c.reason, c.categories))
    return tuple(found)


def _source(plan: Mapping[str, Any]) -> str:
    settings = plan.get("holidays")
    return "" if settings is None else f"holidays {settings['calendar']}, release {settings['library']}"


def _told(covariate: CovariateSchema, panel: Panel) -> dict[str, Any]:
    plain = covariate.to_dict()
    told = {name: plain[name] for name in ("name", "type", "role", "nullable")}
    if covariate.source:
        told["source"] = covariate.source
    if covariate.nullable:
        told["fallback"] = {
            "policy": LAST_SEASON if covariate.known_future else USUAL,
            "usual": usual_value(panel, covariate.name),
        }
    return told

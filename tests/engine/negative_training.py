"""How a training is refused: by its request, its references, its data, its labels; each for one reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from label_toys import on, revised_rows, row
from negative_home import Act, Place, told, told_end

from mcp_forecast_engine.factory.plan import TrainingPlan
from mcp_forecast_engine.registry.scope import Scope
from mcp_forecast_engine.runtime import lease
from mcp_forecast_engine.store.identity import read_canonical

Scenario = Callable[[Place], Act]
OTHER_HORIZON: Final = 5
ANOTHER: Final = "sha256:" + "0" * 64


def _ends(place: Place, run_id: str) -> Act:
    return lambda: told_end(place, run_id)


def request_with(field: str, value: Any) -> Scenario:
    """A queued run whose stored request has another field; None: lacks it."""

    def scenario(place: Place) -> Act:
        plan = place.plan(place.plain, horizon=OTHER_HORIZON)
        document = {**place.read(plan.body["refs"]["train_build_request"]), field: value}
        if value is None:
            del document[field]
        refs = {**plan.body["refs"], "train_build_request": place.put(document)}
        return _ends(place, place.enter(replace(plan, body={**plan.body, "refs": refs})))

    return scenario


def file_gone(ref: str) -> Scenario:
    """A queued run, one of whose pinned documents is gone."""

    def scenario(place: Place) -> Act:
        plan = place.plan(place.plain, horizon=OTHER_HORIZON)
        run_id = place.enter(plan)
        place.artifacts.path(plan.body["refs"][ref]).unlink()
        return _ends(place, run_id)

    return scenario


def pinned_otherwise(place: Place, plan: TrainingPlan, **changed: Any) -> TrainingPlan:
    """The plan of a request with other references, with every key and digest that follows from it."""
    named = {"dataset_manifest": "dataset_manifest_refs", "training_config": "training_config_ref",
             "governance_profile": "governance_profile_ref"}  # fmt: skip
    documents = {name: place.put(value) for name, value in changed.items() if name in named}
    update = {field: (documents[name],) if field.endswith("refs") else documents[name]
              for name, field in named.items() if name in documents}  # fmt: skip
    rest = {name: value for name, value in changed.items() if name not in named}
    request = plan.request.model_copy(update={**update, **rest})
    whole = {name: value for name, value in plan.body.items() if name not in ("asked", "refs", "work_key")}
    whole["request"] = request.identity()
    refs = {
        **plan.body["refs"], **documents, "train_build_request": place.put(request.to_dict()),
        "resolved_plan": place.put({"schema_version": "resolved_train_plan.v1", **whole}),
    }  # fmt: skip
    body = {**whole, "work_key": request.work_key, "refs": refs, "asked": plan.body["asked"]}
    return TrainingPlan(request.run_id, request.run_key, body, request)


def document_with(ref: str, change: Callable[[dict[str, Any]], Any]) -> Scenario:
    """A queued run that was pinned, all along, to a document that says something else."""

    def scenario(place: Place) -> Act:
        plan = place.plan(place.plain, horizon=OTHER_HORIZON)
        document = change(read_canonical(place.artifacts.get(plan.body["refs"][ref])))
        return _ends(place, place.enter(pinned_otherwise(place, plan, **{ref: document})))

    return scenario


def other_release(place: Place) -> Act:
    """A run that was queued by another release, which had other code."""
    plan = place.plan(place.plain, horizon=OTHER_HORIZON)
    return _ends(place, place.enter(pinned_otherwise(place, plan, code_release_id="0.0.1")))


def plan_edited(place: Place) -> Act:
    """A queued run whose row was edited."""
    run_id = place.enter(place.plan(place.plain, horizon=OTHER_HORIZON))
    place.edit("UPDATE run SET plan = json_set(plan, '$.horizon', 6) WHERE run_id = :it", it=run_id)
    return _ends(place, run_id)


def other_columns(place: Place) -> Act:
    """A dataset whose row says other columns than its bytes have."""
    place.edit(
        "UPDATE dataset SET summary = json_set(summary, '$.covariate_schema_hash', :other) WHERE dataset_id = :it",
        other=ANOTHER, it=place.plain,
    )  # fmt: skip
    return _ends(place, place.enter(place.plan(place.plain, horizon=OTHER_HORIZON)))


def champion_gone(place: Place) -> Act:
    """The evaluation of the ACTIVE bundle, which the run is measured against, is away."""
    made = place.publish(place.passed).bundle
    assert made is not None
    place.promote(made.ref, Scope())
    plan = place.plan(place.plain, horizon=OTHER_HORIZON)
    run_id = place.enter(plan)
    place.artifacts.path(plan.body["champion"]["evaluation"]).unlink()
    return _ends(place, run_id)


def leaking(place: Place) -> Act:
    """A finished evaluation says better scores than its forecasts have, and the run is taken up after it."""
    run_id, was = place.passed, place.run(place.passed)
    evaluation = place.read(_step(place, run_id, "evaluate"))
    flattered = [{**arm, "metrics": [_halved(one) for one in arm["metrics"]]} for arm in evaluation["arms"]]
    place.edit(
        "UPDATE run_step SET artifact = :it WHERE run_id = :run AND step = 'evaluate'",
        it=place.put({**evaluation, "arms": flattered}), run=run_id,
    )  # fmt: skip
    place.edit("DELETE FROM run_step WHERE run_id = :run AND step IN ('guard', 'explain', 'measure', 'report', "
               "'record', 'pack', 'gate')", run=run_id)  # fmt: skip
    place.edit("UPDATE run SET state = 'QUEUED', result = NULL, ended_at = NULL WHERE run_id = :run", run=run_id)
    assert was.state == "PASS"
    return _ends(place, run_id)


def _halved(metric: dict[str, Any]) -> dict[str, Any]:
    return metric if metric["value"] is None else {**metric, "value": metric["value"] / 2}


def _step(place: Place, run_id: str, step: str) -> str:
    with place.database.read() as connection:
        found = lease.step_artifact(connection, run_id, step)
    assert found is not None
    return found


def asked_asof(label_asof: str | None, **more: Any) -> Scenario:
    """A training of revised data, as of a time."""
    return lambda place: (
        lambda: told(lambda: place.plan(place.revised, **{"label_asof": label_asof, "season_length": 7, **more}))
    )


def mostly_late(place: Place) -> Act:
    """One of two stores tells its values two months late."""
    rows = [one if one["store"] == "north" else row(day % 90, "south", 5.0, seen=60)
            for day, one in enumerate(one for one in revised_rows() if one["y"] is not None)]  # fmt: skip
    dataset = place.register(rows, series=["store"], observed="seen")
    return lambda: told(lambda: place.plan(dataset, label_asof=on(70), season_length=7))


def contradicted(place: Place) -> Act:
    """Two rows of one moment differ, and nothing newer settles it."""
    rows = [*revised_rows(), row(30, "south", 1.0, seen=3), row(30, "south", 2.0, seen=3)]
    dataset = place.register(rows, series=["store"], observed="seen")
    return lambda: told(lambda: place.plan(dataset, label_asof=on(40), season_length=7))


def often_contradicted(place: Place) -> Act:
    """Rows of one moment differ again and again; newer ones settled every case."""
    twice = [row(day, "south", y, seen=0.5) for day in range(0, 80, 4) for y in (1.0, 2.0)]
    dataset = place.register([*revised_rows(), *twice], series=["store"], observed="seen")
    return lambda: told(lambda: place.plan(dataset, label_asof=on(100), season_length=7))


TRAINING: Final[dict[str, Scenario]] = {
    "SCHEMA_INVALID": request_with("surprise", 1),
    "REQUEST_INVALID": request_with("provenance", {"requester": "a", "trigger": "call", "publish_allowed": "yes"}),
    "INTENT_KIND_UNSUPPORTED": request_with("intent_kind", "guess"),
    "MANIFEST_REF_MISSING": request_with("dataset_manifest_refs", []),
    "CONFIG_REF_MISSING": request_with("training_config_ref", None),
    "GOVERNANCE_PROFILE_MISSING": request_with("governance_profile_ref", ""),
    "REQUESTER_MISSING": request_with("provenance", {"requester": "", "trigger": "call", "publish_allowed": True}),
    "TARGET_SCOPE_INVALID": request_with("target_scope", {"environment": "Prod!"}),
    "POLICY_REVISION_MISSING": request_with("policy_revision", None),
    "CONFIG_REVISION_MISSING": request_with("config_revision", ""),
    "CODE_RELEASE_MISSING": request_with("code_release_id", 4),
    "OWNERSHIP_BOUNDARY_VIOLATION": request_with("rows", [{"y": 1}]),
    "RUN_KEY_PAYLOAD_MISMATCH": request_with("run_key", ANOTHER),
    "MANIFEST_UNRESOLVED": file_gone("dataset_manifest"),
    "TRAINING_PROFILE_UNRESOLVED": file_gone("training_config"),
    "GOVERNANCE_PROFILE_UNRESOLVED": file_gone("governance_profile"),
    "EVIDENCE_UNRESOLVED": champion_gone,
    "MANIFEST_INVALID": document_with("dataset_manifest", lambda it: {**it, "seed": -1}),
    "MANIFEST_IMMUTABILITY_VIOLATION": document_with("dataset_manifest", lambda it: {**it, "seed": it["seed"] + 1}),
    "TRAINING_PROFILE_INVALID": document_with("training_config", lambda it: {**it, "horizon": it["horizon"] + 1}),
    "GOVERNANCE_PROFILE_INVALID": document_with("governance_profile", lambda it: {**it, "rules": {}}),
    "RESOLVED_TRAIN_PLAN_IMMUTABILITY_VIOLATION": plan_edited,
    "RUN_CONFIG_DIGEST_MISMATCH": other_release,
    "FEATURE_SCHEMA_INCOMPATIBLE": other_columns,
    "LEAKAGE_GUARD_VIOLATION": leaking,
    "LABEL_ASOF_MISSING": asked_asof(None),
    "LABEL_SCOPE_EMPTY": asked_asof("2020-01-01T00:00:00Z"),
    "LABEL_TIMELINE_INCONSISTENT": contradicted,
    "LABEL_GATE_UNSATISFIED": often_contradicted,
    "COVERAGE_POLICY_VIOLATION": mostly_late,
}

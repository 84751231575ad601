"""How a publication is refused: by evidence that does not fit, bytes or rows that were changed, or its state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from bit_flips import flip
from negative_home import Act, Body, Place, told
from signing_toys import pem
from sqlalchemy import Connection

from mcp_forecast_engine.engine import Engine
from mcp_forecast_engine.factory.bundle import package
from mcp_forecast_engine.ports import Signing
from mcp_forecast_engine.registry.events import Order
from mcp_forecast_engine.runtime import publishing
from mcp_forecast_engine.runtime.publishing import MOST_ATTEMPTS
from mcp_forecast_engine.store.identity import digest_of_bytes

Scenario = Callable[[Place], Act]


def _published(place: Place) -> Act:
    return lambda: told(lambda: place.publish(place.passed))


def result_with(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Scenario:
    """A run that passed, whose row names another result."""

    def scenario(place: Place) -> Act:
        document = place.engine.documents.of(place.run(place.passed))
        place.edit(
            "UPDATE run SET result = :it WHERE run_id = :run", it=place.put(change(document)), run=place.passed
        )  # fmt: skip
        return _published(place)

    return scenario


def evidence_with(ref: str, **changed: Any) -> Scenario:
    """The same, naming a document of its evidence of which some fields are others."""
    return evidence_of(ref, lambda found: {**found, **changed})


def evidence_of(ref: str, make: Callable[[dict[str, Any]], Any]) -> Scenario:
    """The same, naming another document of its evidence."""

    def scenario(place: Place) -> Act:
        def change(result: dict[str, Any]) -> dict[str, Any]:
            was = result["refs"][ref]
            refs = {**result["refs"], ref: place.put(make(place.read(was)))}
            kept = [one for one in result["artifacts"] if one["digest"] != was]
            return {**result, "refs": refs, "artifacts": kept}

        return result_with(change)(place)

    return scenario


def without_report(result: dict[str, Any]) -> dict[str, Any]:
    return {**result, "refs": {**result["refs"], "eval_report": None}}


def one_name(result: dict[str, Any]) -> dict[str, Any]:
    """Every file has the name of one."""
    return {**result, "artifacts": [{**one, "name": "eval_report.json"} for one in result["artifacts"]]}


def other_model(place: Place) -> Act:
    """A run that passed, whose row names another result: with the model of the run that failed."""
    failed = place.engine.documents.of(place.run(place.failed))
    other = next(one for one in failed["artifacts"] if one["name"] == "model.onnx")

    def change(result: dict[str, Any]) -> dict[str, Any]:
        files = [other if one["name"] == "model.onnx" else one for one in result["artifacts"]]
        return {**result, "artifacts": files, "serving": {**result["serving"], "model": other["digest"]}}

    return result_with(change)(place)


def with_part(part: str, value: Any) -> Scenario:
    """A run that passed, whose row names another result: one part of it is something else."""
    return result_with(lambda result: {**result, part: value})


def with_ref(ref: str, value: Any) -> Scenario:
    """The same, with something else for a reference."""
    return result_with(lambda result: {**result, "refs": {**result["refs"], ref: value}})


def flipped(name: str) -> Scenario:
    """A byte of a file of the run is another one on disk."""

    def scenario(place: Place) -> Act:
        files = {one["name"]: one["digest"] for one in place.engine.documents.of(place.run(place.passed))["artifacts"]}
        flip(place.artifacts.path(files[name]))
        return _published(place)

    return scenario


def bundle_flipped(place: Place) -> Act:
    """A byte of a published bundle's model is another one on disk."""
    bundle = place.publish(place.passed).bundle
    assert bundle is not None
    files = {one["name"]: one["sha256"] for one in place.read(bundle.manifest)["files"]}
    flip(place.artifacts.path(files["model.onnx"]))
    return lambda: told(lambda: place.engine.shelf.verified(bundle.bundle_id, bundle.version))


def edited_after(statement: str) -> Scenario:
    """A published bundle, and then somebody edits the rows."""

    def scenario(place: Place) -> Act:
        place.publish(place.passed)
        place.edit(statement)
        return _published(place)

    return scenario


def unsigned(place: Place) -> Act:
    """What may become ACTIVE has to be signed by this key, and is not."""
    bundle = place.publish(place.passed).bundle
    assert bundle is not None
    key = pem(place.folder.parent, "key").with_suffix(".pub")
    strict = Engine(place.database, place.artifacts, wall_limit_s=300.0, signing=Signing(required=key))

    def act() -> Body:
        error = told(lambda: strict.shelf.verified(bundle.bundle_id, bundle.version))
        assert error["message"].startswith(f"{bundle.ref} is not signed by the key sha256:")
        return error

    return act


def failed_gate(place: Place) -> Act:
    return lambda: told(lambda: place.publish(place.failed))


def never_stored(place: Place) -> Act:
    """Where the bundle's document has to be written lies a folder, as often as may be tried."""
    run = place.run(place.passed)
    data = package(run, place.engine.documents.of(run), place.artifacts)
    place.artifacts.path(digest_of_bytes(data)).mkdir(parents=True)
    for tried in range(1, MOST_ATTEMPTS + 1):
        made = place.publish(place.passed)
        assert (made.status, made.attempts) == ("PUBLISH_PENDING", tried)
    return _published(place)


def nothing_waits(place: Place) -> Act:
    """More attempts are granted to a publication that does not wait for any."""
    return _in_one_command(place, lambda connection: publishing.grant_attempts(connection, place.passed))


def moved_meanwhile(place: Place) -> Act:
    """Between the packaging of a run and its entry the run's row was edited: the bundle and its event are written, and
    then the run cannot become PUBLISHED."""
    prepared = place.engine.shelf.prepare(place.passed)
    place.edit("UPDATE run SET state = 'FAIL' WHERE run_id = :run", run=place.passed)
    order = Order(actor="anna", at=place.database.clock())
    return _in_one_command(place, lambda connection: place.engine.shelf.publish(connection, prepared, order))


def _in_one_command(place: Place, do: Callable[[Connection], object]) -> Act:
    def act() -> None:
        with place.database.command() as connection:
            do(connection)

    return lambda: told(act)


PUBLICATION: Final[dict[str, Scenario]] = {
    "EVIDENCE_REF_MISSING": result_with(without_report),
    "EVAL_REPORT_INVALID": evidence_with("eval_report", scores={}),
    "EVAL_REPORT_MISMATCH": evidence_with("eval_report", eval_report_id="er_other"),
    "GATE_INVALID": evidence_with("gate_receipt", run_id="run_" + "0" * 24),
    "GATE_DECISION_MISMATCH": evidence_with("gate_receipt", gate_decision="FAIL"),
    "BUNDLE_SIGNATURE_INVALID": unsigned,
    "EXECUTION_RECORD_IMMUTABILITY_VIOLATION": flipped("execution_record.json"),
    "TRAIN_ARTIFACT_IMMUTABILITY_VIOLATION": flipped("model.onnx"),
    "EVAL_REPORT_IMMUTABILITY_VIOLATION": flipped("eval_report.json"),
    "EVIDENCE_PACK_IMMUTABILITY_VIOLATION": flipped("evidence_pack.json"),
    "GATE_RECEIPT_IMMUTABILITY_VIOLATION": flipped("gate_receipt.json"),
    "BUNDLE_PACKAGE_IMMUTABILITY_VIOLATION": bundle_flipped,
    "REGISTRY_EVENT_IMMUTABILITY_VIOLATION": edited_after("UPDATE registry_event SET reason = 'because'"),
    "PUBLISH_NOT_ELIGIBLE": failed_gate,
    "BUNDLE_PUBLICATION_INVALID": result_with(one_name),
    "REGISTRY_EVENT_INVALID": edited_after("DELETE FROM registry_event"),
    "PUBLISH_CONFLICT": edited_after("UPDATE bundle SET kind = 'other'"),
    "PUBLISH_RETRY_EXHAUSTED": never_stored,
    "RETRY_NOT_PENDING": nothing_waits,
    "INVALID_TRANSITION": moved_meanwhile,
}

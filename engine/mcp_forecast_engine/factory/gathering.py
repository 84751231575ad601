"""The second half of a training: its evidence is gathered step by step, and the gate judges it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from mcp_forecast_engine.data.derived import derived_names
from mcp_forecast_engine.errors import CorridorRefused
from mcp_forecast_engine.evaluation.budget import Budget
from mcp_forecast_engine.evaluation.champion import UNCOMPARED
from mcp_forecast_engine.evaluation.plan import ENOUGH_WINDOWS, origins_of
from mcp_forecast_engine.evaluation.report import chosen_arm
from mcp_forecast_engine.factory.authoring import APART
from mcp_forecast_engine.factory.eval_report import eval_report, lost_to_active, measured, nothing_to_save
from mcp_forecast_engine.factory.examination import Examination
from mcp_forecast_engine.factory.gates import judge
from mcp_forecast_engine.factory.governance import LabelRule
from mcp_forecast_engine.factory.guard import MEND
from mcp_forecast_engine.factory.label_gate import label_figures
from mcp_forecast_engine.factory.leakage import STAGE, check_evaluation
from mcp_forecast_engine.factory.leakage_blind import source_of
from mcp_forecast_engine.factory.leakage_data import check_columns, check_labels, check_manifest
from mcp_forecast_engine.factory.lineage import stem
from mcp_forecast_engine.factory.pins import Pins
from mcp_forecast_engine.factory.plan import BASE_SEED
from mcp_forecast_engine.factory.prepared import Prepared
from mcp_forecast_engine.factory.receipts import evidence_pack, execution_record, gate_receipt, profile_ref
from mcp_forecast_engine.factory.refinement import Room, absent_of, more_units
from mcp_forecast_engine.factory.train_request import stage_seed
from mcp_forecast_engine.runtime.job import Job
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.identity import canonical_bytes, digest_of_bytes, read_canonical
from mcp_forecast_engine.store.named_artifacts import STEP_NAMES

# What the clock measured, and who asked first, is no evidence: their bytes differ where nothing else does.
CLOCKED: Final = "measure"
ASKED: Final = "request"


class Evidence:
    """The files that a run left so far, by step; every method adds to them. model: as exported."""

    def __init__(self, job: Job, pins: Pins, files: dict[str, bytes]) -> None:
        self._job, self._pins, self._files = job, pins, dict(files)
        self.model = files["train"] if "train" in files else files["refer"]
        self._evaluation = read_canonical(files["evaluate"])

    @property
    def files(self) -> dict[str, bytes]:
        """Every file of the run, by step: those that it was given, and those that were added."""
        return dict(self._files)

    @property
    def refs(self) -> dict[str, str]:
        """The digest of every piece of evidence, by the name of its file without the ending."""
        kept = {step: data for step, data in self._files.items() if step not in (CLOCKED, ASKED, *APART)}
        return {stem(STEP_NAMES[step]): digest_of_bytes(data) for step, data in kept.items()}

    def guard(self, made: Prepared, budget: Budget, artifacts: ArtifactStore, cores: int) -> None:
        """Check that no future was let in. Raises CorridorRefused (LEAKAGE_GUARD_VIOLATION) with the guard's name."""
        self._step("guard", lambda: canonical_bytes(self._checked(made, budget, artifacts, cores)))
        for guard in read_canonical(self._files["guard"])["guards"]:
            if not guard["passed"]:
                raise CorridorRefused(
                    "LEAKAGE_GUARD_VIOLATION", f"guard {guard['name']}: {guard['detail']}", field=guard["name"],
                    next_step=MEND[guard["name"]],
                )  # fmt: skip

    def examine(self, run_model: Callable[[], Examination]) -> None:
        """Run the exported model: what moves its forecasts, and how long one takes."""
        found: list[Examination] = []

        def explained() -> bytes:
            found.append(run_model())
            return canonical_bytes(found[0].explanation())

        def timed() -> bytes:
            examined = found[0] if found else run_model()
            return canonical_bytes({"latency_ms": round(examined.latency_ms, 4)})

        self._step("explain", explained)
        self._step(CLOCKED, timed)

    def judge(self, made: Prepared) -> dict[str, Any]:
        """Report, record, pack and receipt; what the gate says, as a training's result shows it. made: as guarded."""
        request, asked = self._pins.request, self._job.run.plan["asked"]
        self._step("report", lambda: canonical_bytes(self._report(label_figures(made.coverage))))
        self._job.evaluated()
        self._step("record", lambda: canonical_bytes(self._record()))
        self._step("pack", lambda: canonical_bytes(evidence_pack(request, self.refs)))
        report = read_canonical(self._files["report"])
        figures = measured(
            report, model_bytes=len(self.model), latency_ms=read_canonical(self._files[CLOCKED])["latency_ms"],
            replay_difference=read_canonical(self._files["guard"])["replay_difference"],
        )  # fmt: skip
        uncompared = None if lost_to_active(report) else self._uncompared
        gate = judge(figures, self._pins.governance, asked, room=self._room(made, report), uncompared=uncompared)
        receipt = gate_receipt(
            request, gate, self._pins.governance, eval_report_id=report["eval_report_id"], refs=self.refs
        )
        self._step("gate", lambda: canonical_bytes(receipt))
        kept = read_canonical(self._files["gate"])
        shown = {"decision": kept["gate_decision"], "profile": profile_ref(self._pins.governance)}
        refined = {} if gate.refinement is None else {"refinement": dict(gate.refinement)}
        return {**shown, "rules": kept["rules"], **refined}

    def _room(self, made: Prepared, report: Mapping[str, Any]) -> Room:
        plan, limit = self._job.run.plan, self._pins.governance.limits.get("units")
        least, units = 0 if limit is None else limit.least or 0, report["evidence"]["units"]
        return Room(
            exact=nothing_to_save(report),
            units=more_units(made.panel, plan["asked"], least) if units < max(least, ENOUGH_WINDOWS) else None,
            season=bool(made.windows.baseline_season),
            columns=bool(made.dataset.schema.covariates),
            absent=absent_of(plan["extras"]),
        )

    @property
    def _uncompared(self) -> str:
        """Why no figure says how this model stands against the ACTIVE bundle, where none does."""
        request = self._pins.request
        if not request.champion:
            return f"nothing is ACTIVE in {'/'.join(request.target_scope.to_dict().values())}"
        told = [note.removeprefix(UNCOMPARED) for note in self._evaluation["notes"] if note.startswith(UNCOMPARED)]
        why = told[0] if told else "its interval needs more test windows"
        return f"ACTIVE is {request.champion}, and not compared: {why}"

    @property
    def _seeds(self) -> dict[str, int]:
        """Of the stages that draw; models draw the same numbers in every run, by seeds of their own."""
        return {STAGE: stage_seed(self._pins.request.run_key, STAGE, BASE_SEED)}

    def _checked(self, made: Prepared, budget: Budget, artifacts: ArtifactStore, cores: int) -> dict[str, Any]:
        plan, panel = self._job.run.plan, made.panel
        raw = made.registered(artifacts)
        derived = derived_names(plan, panel.axis.freq)
        checked = check_evaluation(
            source_of(made.dataset.frame, plan, panel), panel, self._evaluation, self._files["predict"],
            budget=budget, depth=self._pins.governance.replay,
            seed=self._seeds[STAGE], cores=cores,
        )  # fmt: skip
        guards = (
            check_labels(raw, self._pins.manifest, panel, origins_of(panel, made.windows), plan["horizon"]),
            check_manifest(self._pins.manifest, raw, panel, plan),
            check_columns(panel, chosen_arm(self._evaluation)["covariates"], plan["horizon"], derived=derived),
            *checked.guards,
        )
        return {
            "schema_version": "leakage.v1",
            "guards": [guard.to_dict() for guard in guards],
            "replay": self._pins.governance.replay,
            "replay_difference": checked.replay_difference,
        }

    def _report(self, labels: Mapping[LabelRule, float]) -> dict[str, Any]:
        request = self._pins.request
        return eval_report(
            self._evaluation,
            refs=self.refs,
            basis={
                "run_key": request.run_key,
                "dataset_fingerprints": [self._pins.manifest.dataset_fingerprint],
                "training_config": request.training_config_ref,
                "governance_profile": request.governance_profile_ref,
                "base_seed": BASE_SEED,
            },
            guards=read_canonical(self._files["guard"])["guards"],
            factors=read_canonical(self._files["explain"])["factors"],
            labels=labels,
            provenance={"code_release_id": request.code_release_id, "config_revision": request.config_revision},
        )

    def _record(self) -> dict[str, Any]:
        return execution_record(
            self._pins.request, split=self._evaluation["plan"], base_seed=BASE_SEED, seeds=self._seeds, refs=self.refs
        )

    def _step(self, name: str, make: Callable[[], bytes]) -> None:
        self._files[name] = self._job.step(name, make)

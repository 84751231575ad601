"""The run tools: train, infer, wait, cancel, list. All are views of one row of the ledger."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
from sqlalchemy import Connection

from mcp_forecast.calls.tool import Call, Outcome, Tool
from mcp_forecast.tools.cursor import ROW, RUN_POSITION, listing_of, read_cursor
from mcp_forecast.tools.length import ROOM
from mcp_forecast.tools.links import is_here
from mcp_forecast.tools.page import page_of
from mcp_forecast.tools.run_view import FIRST_PAGE, OfCall, run_answer, run_line
from mcp_forecast.tools.scope import scope_of, source_of
from mcp_forecast_contracts.inference import RUN_INFERENCE, RunInferenceArguments
from mcp_forecast_contracts.runs import (
    CANCEL_RUN,
    GET_RUN_STATUS,
    LIST_RUNS,
    CancelRunArguments,
    GetRunStatusArguments,
    ListRunsArguments,
)
from mcp_forecast_contracts.training import RUN_TRAINING, RunTrainingArguments

if TYPE_CHECKING:
    from mcp_forecast.app import App
    from mcp_forecast_engine.factory.plan import TrainingPlan
    from mcp_forecast_engine.runtime.run import Run
    from mcp_forecast_engine.serving.plan import InferencePlan

POLL_S: Final = 0.1  # between looks at a run that is waited for


def plan_training(app: App, call: Call, request: RunTrainingArguments) -> TrainingPlan:
    """Resolve what was asked into a pinned plan; refuses what cannot train."""
    return app.engine.plan_training(
        requester=call.caller.id,
        scope=scope_of(app, request),
        governance=request.governance_profile,
        dataset_id=request.dataset_id,
        horizon=request.horizon,
        profile=request.profile,
        covariates=None if request.covariates is None else tuple(request.covariates),
        season_length=request.season_length,
        test_windows=request.test_windows,
        budget=request.budget,
        holidays=request.holidays,
        preprocessing_id=request.preprocessing_id,
        label_asof=request.label_asof,
        maturity_days=request.maturity_days,
    )


def train(app: App, call: Call, request: RunTrainingArguments, plan: TrainingPlan, connection: Connection) -> Outcome:
    """Put the run into the ledger, or find the one that is the same."""
    run = _entered(app, call, plan, connection)
    return Outcome(run_answer(app, run, FIRST_PAGE), _asked_refs(run, plan), plan.warnings)


def _asked_refs(run: Run, plan: TrainingPlan) -> dict[str, str]:
    """The request and what it names, for the log."""
    return {
        "run_id": run.run_id,
        "train_request_id": plan.request.train_request_id,
        "dataset_manifest": plan.request.dataset_manifest_refs[0],
    }


def forecast(app: App, call: Call, request: RunInferenceArguments) -> InferencePlan:
    """Resolve the model and its inputs, and forecast at once if that fits into `wait_s`."""
    plan = app.engine.plan_inference(
        source_of(app, request),
        run_id=request.run_id,
        dataset_id=request.dataset_id,
        horizon=request.horizon,
        future=request.future,
        levels=tuple(request.levels or (80, 95)),
        explain=request.explain,
    )
    with app.database.read() as connection:
        if not app.engine.has_run(connection, plan):
            app.quotas.require_day(connection, caller=call.caller.id, now=app.clock())
    deadline = call.began + request.wait_s
    return app.engine.try_inline(plan, should_stop=lambda: call.stop.is_set() or time.monotonic() > deadline)


def infer(app: App, call: Call, request: RunInferenceArguments, plan: InferencePlan, connection: Connection) -> Outcome:
    """Record the forecast, or queue the run when it was too much to answer inline."""
    run = _entered(app, call, plan, connection)
    named = {"run_id": run.run_id, "model_run_id": plan.body["model_run_id"], "dataset_id": plan.dataset_id}
    refs = {**named, **_served_refs(plan), **_made(run)}
    answer = run_answer(app, run, FIRST_PAGE, of_call=OfCall(plan.asked, plan.served_by))
    told = answer.get("result", {}).get("warnings", ())  # of a finished run they stand in its result, on every door
    return Outcome(answer, refs, tuple(text for text in plan.warnings if text not in told))


def _served_refs(plan: InferencePlan) -> dict[str, str]:
    """The bundle that answered, for the log, and in which scope and by which token of the registry."""
    bundle = plan.body.get("bundle")
    if bundle is None:
        return {}
    found = plan.served_by
    asked = {"registry_token": str(found["token"]), "scope": found["scope"]} if found["by"] == "registry" else {}
    return {"bundle_id": bundle["bundle_id"], "bundle": bundle["manifest"], **asked}


def _entered(app: App, call: Call, plan: TrainingPlan | InferencePlan, connection: Connection) -> Run:
    """The run of a plan. Only a new one is counted: repeats are free, also when a quota is used up."""
    now = app.clock()
    run, new = app.engine.submit(connection, plan, caller=call.caller.id, now=now)
    if new:
        app.quotas.admit(connection, run, caller=call.caller.id, now=now)
    return run


def replay(app: App, connection: Connection, stored: dict[str, Any]) -> dict[str, Any] | None:
    """The stored handle while the run goes on; how it ended once it has; None when a new attempt may cure its end."""
    run = app.engine.run(connection, stored["run_id"])
    if app.engine.reopens(run):
        return None
    if not run.ended:
        return stored
    # What was asked, and how its model was found, is what was answered then, whoever asked for the same run since.
    asked = dict(stored["request"])
    served_by = asked.pop("served_by", None) or stored.get("result", {}).get("model", {}).get("served_by")
    return run_answer(app, run, FIRST_PAGE, of_call=OfCall(asked, served_by))


async def wait_for_end(app: App, call: Call, request: GetRunStatusArguments) -> None:
    """Poll until the run ends or the time is up; say how far it is when that changes."""
    look = partial(_look, app, request.run_id)
    run = await app.read(look)
    told: tuple[Any, ...] = ()
    while not run.ended and time.monotonic() < call.began + request.wait_s:
        now = (run.progress_done, run.progress_total, run.progress_text)
        if call.report is not None and now != told:
            await call.report(run.progress_done, run.progress_total or None, run.progress_text)
            told = now
        await anyio.sleep(POLL_S)
        run = await app.read(look)
    documents, detailed = app.engine.documents, request.response_format == "detailed"
    if run.result is not None and not documents.at_hand(run, detailed=detailed):
        # Long ones are parsed off the loop, once.
        await app.off_loop("read", partial(documents.details if detailed else documents.of, run))


def _look(app: App, run_id: str) -> Run:
    with app.database.read() as connection:
        return app.engine.run(connection, run_id)


def status(app: App, call: Call, request: GetRunStatusArguments) -> Outcome:
    """The row as it is now, with the result or error once it has ended."""
    start = read_cursor(f"forecast {request.run_id}", request.cursor, ROW) or 0
    run = _look(app, request.run_id)
    page, how = (start, request.limit), request.response_format
    return Outcome(run_answer(app, run, page, how, with_paths=is_here(call.caller)), _made(run))


def _made(run: Run) -> dict[str, str]:
    """The digest of what a run made, for the log: the answer that was given is bound to it."""
    return {} if run.result is None else {"result": run.result}


def cancel(app: App, call: Call, request: CancelRunArguments, prepared: None, connection: Connection) -> Outcome:
    """Cancel a queued run now, a running one as soon as its process is gone."""
    run = app.engine.cancel(connection, request.run_id, now=call.at)
    return Outcome(run_answer(app, run, FIRST_PAGE))


def runs_page(app: App, call: Call, request: ListRunsArguments) -> Outcome:
    """One page of runs, newest first."""
    listing = listing_of("runs", kind=request.kind, state=request.state)
    after = read_cursor(listing, request.cursor, RUN_POSITION)
    with app.database.read() as connection:
        found = app.engine.runs_page(connection, request.kind, request.state, after, request.limit + 1)
        total = app.engine.runs_total(connection, request.kind, request.state)
    lines = [run_line(app, run, request.response_format) for run in found[: request.limit]]
    positions, room = [(run.created_at, run.run_id) for run in found], ROOM[request.response_format]
    page = page_of("runs", lines, listing=listing, positions=positions, room=room)
    return Outcome({**page, "total": total})


RUN_TOOLS: Final = (
    Tool(RUN_TRAINING, prepare=plan_training, commit=train, replay=replay, wakes=True),
    Tool(RUN_INFERENCE, prepare=forecast, commit=infer, replay=replay, wakes=True),
    Tool(GET_RUN_STATUS, wait=wait_for_end, read=status),
    Tool(CANCEL_RUN, commit=cancel, wakes=True),
    Tool(LIST_RUNS, read=runs_page, short=False),
)

"""What a client reads before its first call: the workflow, in the 2,000 characters that every client keeps."""

from __future__ import annotations

from typing import Final

INSTRUCTIONS: Final = """\
Forecasting desk: trains, checks and serves time-series forecasts. Numbers come from runs; never invent or adjust one.

Workflow
1. register_dataset: a CSV or Parquet path below an allowed folder, or rows. One time column, a target, optional
   series id and covariates.
2. describe_dataset: check time, target, frequency and roles. known_future is only for covariates whose future values
   you will really have (calendar, price plan), never ones measured later. run_preprocessing: recorded steps, if needed.
3. run_training(dataset_id, horizon): a run_id at once; the work goes on even if this chat ends.
4. get_run_status(run_id, wait_s=25): repeat until finished. Read `trust` first and tell the user what it says; never
   present a forecast it warns about as reliable.
5. run_inference(run_id): the forecast with intervals. Known-future covariates need rows for every series and step.
6. To let a run that passed its gate answer for all: publish_bundle, promote_bundle, then run_inference without an id;
   rollback_bundle undoes it, list_bundles shows what is ACTIVE.
Also: list_runs finds runs; compare_runs says which is better and how sure; list_artifacts names the evidence;
get_audit_trail who did what; cancel_run stops a run; get_service_status shows limits and health.
Resources: forecast://runs/{id}, datasets/{id}, artifacts/{digest}, contracts/{tool}/{version}, contracts/errors.

Rules
- Every answer is {ok, result | error, request_id, replayed, warnings}. Read the warnings.
- Retries are safe: send an idempotency_key of your own with a command and repeat the same call with the same key; the
  first answer is replayed. Other arguments need a new key.
- An error carries code, disposition and next_step. retryable: wait retry_after_s, then repeat. terminal: change the
  named field as `allowed` says. outcome_unknown: repeat only with the same key.
- The same training request is the same run while the same bundle is ACTIVE in its scope. Use ids exactly as returned.
"""

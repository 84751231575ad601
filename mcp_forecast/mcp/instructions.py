"""What a client reads before its first call: the workflow, in the 2,000 characters that every client keeps."""

from __future__ import annotations

from typing import Final

INSTRUCTIONS: Final = """\
Forecasting desk: trains, checks and serves time-series forecasts. Numbers come from runs; never invent or adjust one.

Workflow
1. register_dataset: a CSV or Parquet path below an allowed folder, or rows. One time column, a target, optional
   series id and covariates.
2. describe_dataset: check the inferred time, target, frequency and roles. Correct known_future: only covariates whose
   future values you will really have (calendar, price plan, promotion), never ones that are measured later.
3. run_training(dataset_id, horizon): returns a run_id at once; the work goes on even if this chat ends.
4. get_run_status(run_id, wait_s=25): repeat until finished. Then read `trust` first: accuracy against a simple
   baseline, interval coverage, and the reasons. Tell the user what it says; never present a forecast it warns about
   as reliable.
5. run_inference(run_id): the forecast with intervals. A model with known-future covariates needs their future rows for
   every series and step of the horizon.
Also: list_runs finds earlier runs; cancel_run stops one; get_service_status shows limits and health.

Rules
- Every answer is {ok, result | error, request_id, replayed, warnings}. Read the warnings.
- Retries are safe: send an idempotency_key of your own with a command and repeat the same call with the same key; the
  first answer is replayed. Other arguments need a new key.
- An error carries code, disposition and next_step. retryable: wait retry_after_s, then repeat. terminal: change the
  named field as `allowed` says. outcome_unknown: repeat only with the same key.
- Identical training requests give the same run, so asking twice does not train twice.
- Use ids exactly as returned.
"""

"""What a training writes besides its model where the extra `coreml` is installed: the same graph for Apple's devices.

It is a file of the run and of its bundle, by digest, and no evidence: nothing here ran it (the receipt says so), and a
bundle has the same id and version where the extra is missing.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Final

from mcp_forecast_engine.errors import ModelUntranslatable
from mcp_forecast_engine.runtime.job import Job

APART: Final = ("author", "attest")
log = logging.getLogger(__name__)


def core_ml_files(job: Job, model: bytes) -> dict[str, bytes]:
    """The Core ML package of an exported model and its receipt, by step.

    Empty where the extra is not installed or does not work, or the model cannot be translated, which is no fault of the
    training. A run that resumes translates again, to the same bytes.
    """
    if find_spec("coremltools") is None:
        return {}
    try:
        from mcp_forecast_engine.models.coreml import author_core_ml

        made = author_core_ml(model)
    except (ImportError, ModelUntranslatable, NotImplementedError, RuntimeError, ValueError) as error:
        log.warning("no Core ML package of %s: %s", job.run.run_id, error)
        return {}
    return {
        "author": job.step("author", lambda: made.content),
        "attest": job.step("attest", lambda: made.receipt.to_json().encode()),
    }

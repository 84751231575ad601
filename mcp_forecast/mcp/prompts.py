"""Prompts: what a person may start from a menu; each names the calls in order, in the words of the instructions."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Template
from typing import Any, Final

import mcp_types as T
from mcp.shared.exceptions import MCPError

from mcp_forecast.mcp.context import Context


@dataclass(frozen=True)
class Blank:
    """One argument of a prompt. pattern: what a whole value looks like; allowed: the same in words."""

    name: str
    description: str
    pattern: str
    allowed: str
    required: bool = True
    quoted: bool = True


@dataclass(frozen=True)
class Prompt:
    """One workflow. text: a template over its blanks; a line with an optional blank is left out without its value."""

    name: str
    title: str
    description: str
    blanks: tuple[Blank, ...]
    text: str


_TEXT: Final = r"[^\x00-\x1f]{1,1000}"
_TO_8760: Final = "[1-9][0-9]{0,2}|[1-7][0-9]{3}|8[0-6][0-9]{2}|87[0-5][0-9]|8760"
_DATASET: Final = Blank("dataset_id", "a registered dataset, ds_…", "ds_[0-9a-f]{24}", "ds_ and 24 hex digits")
_RUN: Final = Blank("run_id", "a training run, run_…", "run_[0-9a-f]{24}", "run_ and 24 hex digits")
_OTHER: Final = Blank("other_run_id", "the training run to compare with", "run_[0-9a-f]{24}", "run_ and 24 hex digits")
_HORIZON: Final = Blank("horizon", "steps ahead, e.g. 24 for a day of hours", _TO_8760, "1 to 8760", quoted=False)
_PATH: Final = Blank("path", "CSV or Parquet file below an allowed folder", _TEXT, "a path in one line")
_KNOWN: Final = Blank(
    "known_future",
    "columns whose future values you will really have, with commas",
    _TEXT,
    "column names with commas",
    required=False,
)

PROMPTS: Final[tuple[Prompt, ...]] = (
    Prompt(
        "forecast_from_file",
        "Forecast from a file",
        "From a CSV or Parquet file to a forecast that has been judged.",
        (_PATH, _HORIZON, _KNOWN),
        """\
Make a forecast of $horizon steps from the file $path.
1. register_dataset(path=$path, idempotency_key=…); if it asks, name time, target or series.
2. describe_dataset(dataset_id=…): tell me time, target, frequency, gaps and the role of each covariate.
- I will really have the future values of $known_future, and of no other columns. Correct every other known_future role
   with register_dataset(path=$path, covariates=…).
3. run_training(dataset_id=…, horizon=$horizon, idempotency_key=…); then get_run_status(run_id=…, wait_s=25) until it
   has ended.
4. Tell me result.trust first, with its reasons. If it says do_not_trust, stop and ask me.
5. run_inference(run_id=…, future=…, idempotency_key=…); ask me for the future values the model needs, leave future out
   if it needs none.
6. Report the forecast with its intervals and every warning. Numbers come from the answers; never invent one.""",
    ),
    Prompt(
        "check_covariates",
        "Check a dataset's covariate roles",
        "Find covariates that look known ahead but are measured later, before they spoil a model.",
        (_DATASET,),
        """\
Check the covariate roles of dataset $dataset_id.
1. describe_dataset(dataset_id=$dataset_id, limit=100), with cursor=… while there is more.
2. For each covariate say its role, the reason given for it, and whether its future values will really be known when a
   forecast is made (calendar, price plan, promotion) or are measured later (sales, traffic, weather as it was).
3. Ask me about each one you are not sure of.
4. For wrong roles: register_dataset(path=…, covariates=…) with the same file and the corrected role; it gives a new
   dataset_id. Use that one from then on.""",
    ),
    Prompt(
        "judge_run",
        "Is this run trustworthy?",
        "Read the evidence of a training run and say plainly what it supports.",
        (_RUN,),
        """\
Judge the training run $run_id.
1. get_run_status(run_id=$run_id, wait_s=25) until it has ended.
2. Read result.trust first: the verdict and its reasons. Then the skill against seasonal naive with its interval, the
   coverage of the 80 and 95 % intervals beside what they promise, and what was tried.
3. list_artifacts(run_id=$run_id) names the evidence with its digests.
4. Say in a few sentences: use it, use it with care (and where), or do not. Quote the numbers you rely on.""",
    ),
    Prompt(
        "compare_two_runs",
        "Which of two runs is better?",
        "Compare two training runs on the same windows, with how sure the answer is.",
        (_RUN, _OTHER),
        """\
Compare the training runs $run_id and $other_run_id.
1. compare_runs(run_ids=[$run_id, $other_run_id]).
2. If they are not comparable, say why, and which run_training call would make them so.
3. Say which is better, by how much and how sure: the paired interval decides. An interval that spans zero is no winner.
4. Name the differences in configuration that may explain it, as possibilities and not as causes.""",
    ),
    Prompt(
        "audit_run",
        "Who did what with a run?",
        "The calls that asked for, read, used or stopped a run, from the log that shows tampering.",
        (_RUN,),
        """\
Tell the history of run $run_id.
1. get_audit_trail(ref=$run_id, verify="log"), then with cursor=… and no verify while there is more. Only "log" shows
   that no entry is hidden from the list; "page" proves the entries shown.
2. get_run_status(run_id=$run_id) for what became of it.
3. List the calls, oldest first: time, caller, tool, outcome, request_id. Mark refused calls and replays.
4. Say what was verified and what was not; if verification found a problem, say that first.""",
    ),
)
_BY_NAME: Final = {prompt.name: prompt for prompt in PROMPTS}
_OPTIONAL_LINE: Final = re.compile(r"^- (?P<text>.*(?:\n   .*)*)\n", re.MULTILINE)


async def list_prompts(_: Context, params: T.PaginatedRequestParams | None) -> Any:
    """Every prompt, on one page. Raises MCPError for a cursor, as none is ever given out."""
    if params is not None and params.cursor is not None:
        raise MCPError(code=T.INVALID_PARAMS, message="Invalid cursor")
    return {"resultType": "complete", "prompts": [_line(prompt) for prompt in PROMPTS]}


async def get_prompt(_: Context, params: T.GetPromptRequestParams) -> Any:
    """One prompt with its blanks filled in. Raises MCPError -32602 that names what is missing, unknown or wrong."""
    prompt = _BY_NAME.get(params.name)
    if prompt is None:
        raise _invalid("name", f"no prompt is named {params.name[:100]!r}", list(_BY_NAME))
    text = filled(prompt, params.arguments or {})
    message = {"role": "user", "content": {"type": "text", "text": text}}
    return {"resultType": "complete", "description": prompt.description, "messages": [message]}


def filled(prompt: Prompt, values: Mapping[str, str]) -> str:
    """The text with these values, quoted as they stand in a call. Raises MCPError -32602."""
    names = [blank.name for blank in prompt.blanks]
    strange = sorted(values.keys() - set(names))
    if strange:
        raise _invalid(strange[0], f"{strange[0][:100]!r}: not an argument of {prompt.name}", names)
    for blank in prompt.blanks:
        value = values.get(blank.name)
        if value is None and blank.required:
            raise _invalid(blank.name, f"{blank.name}: required, but absent", [blank.allowed])
        if value is not None and re.fullmatch(blank.pattern, value) is None:
            raise _invalid(blank.name, f"{blank.name}: found {value[:100]!r}", [blank.allowed])
    quoted = {blank.name for blank in prompt.blanks if blank.quoted}
    shown = {n: json.dumps(value, ensure_ascii=False) if n in quoted else value for n, value in values.items()}
    return Template(_without_unfilled(prompt, values)).substitute(shown)


def _without_unfilled(prompt: Prompt, values: Mapping[str, str]) -> str:
    """Lines that begin with a dash stand only when their optional blank has a value."""
    optional = [f"${blank.name}" for blank in prompt.blanks if not blank.required and blank.name not in values]
    return _OPTIONAL_LINE.sub(
        lambda line: "" if any(name in line["text"] for name in optional) else f"   {line['text']}\n", prompt.text
    )


def _line(prompt: Prompt) -> dict[str, Any]:
    return {
        "name": prompt.name,
        "title": prompt.title,
        "description": prompt.description,
        "arguments": [
            {"name": blank.name, "description": blank.description, "required": blank.required}
            for blank in prompt.blanks
        ],
    }


def _invalid(field: str, message: str, allowed: list[str]) -> MCPError:
    from mcp_forecast.errors import body

    data = body("INVALID_ARGUMENTS", message, field=field, allowed=allowed)
    return MCPError(code=T.INVALID_PARAMS, message=message, data=data)

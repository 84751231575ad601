"""Generated calls of every tool, half of them valid, half broken: is every one answered, typed, in time, on record?

    python benchmarks/torture_calls.py [--calls 500] [--legacy 50]

A real server by each door, four calls under way at once. Every answer has to come under its id, once, within 2 seconds,
fit the tool's output schema, say the same in text and structure, carry a code of the closed list other than INTERNAL,
and stand in the audit log exactly once. Identifiers of a real dataset and a finished run take the place of some of the
generated ones, so that calls reach further than "no such thing". Exits with 1 if anything was otherwise.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "contracts"))

import jsonschema
from callers import LATE_S, LEGACY, Asked, Caller, Heard, open_caller
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis_jsonschema import from_schema
from instances import ODD, QUICK, accepted, edges
from wire import MODERN, percentile

from mcp_forecast_contracts.catalogue import ORDER, documents
from mcp_forecast_contracts.errors import CODES
from mcp_forecast_engine.runtime.run import FINISHED

ROWS = [{"ds": f"2025-{m:02d}-{d:02d}", "y": float(d + 3 * m)} for m in range(1, 13) for d in range(1, 29)]
UNLIMITED = {
    "MCP_FORECAST_RUNS_PER_DAY": "1000000", "MCP_FORECAST_RUNS_AT_ONCE": "1000000",
    "MCP_FORECAST_QUEUE_LIMIT": "1000000", "MCP_FORECAST_WORKERS": "1",
}  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """The calls of one tool by one door: how many were answered how. wrong: what should not have been, in words."""

    answers: int
    ok: int
    wrong: tuple[str, ...]
    seconds: tuple[float, ...]
    requests: tuple[str, ...]


def generated(tool: str, count: int, real: Mapping[str, Any]) -> list[Asked]:
    """So many calls of a tool, the same ones every time: half fit its schema, half mostly do not."""
    schema, dice = documents()[tool]["input_schema"], random.Random(tool)
    names = [*schema["properties"], "unknown", ""]
    half = count // 2
    broken = [odd for odd in edges(schema) if _sendable(odd)]
    broken = dice.sample(broken, min(half // 2, len(broken)))
    mutated = st.builds(lambda sound, name, odd: {**sound, name: odd}, from_schema(schema), st.sampled_from(names), ODD)
    valid = [_realistic(made, real, dice) for made in _drawn(from_schema(schema), half)]
    calls = [*valid, *broken, *_drawn(mutated, count - half - len(broken))]
    dice.shuffle(calls)
    return [Asked(tool, arguments) for arguments in calls]


def judge(tool: str, heard: Sequence[Heard]) -> Judged:
    """What is wrong with the answers to one tool's calls."""
    validator = jsonschema.Draft202012Validator(documents()[tool]["output_schema"])
    schema = documents()[tool]["input_schema"]
    wrong, ok, requests = Counter[str](), 0, list[str]()
    for one in heard:
        faults = list(_faults(one, validator, schema))
        wrong.update(faults)
        if faults:
            print(f"    {tool} {json.dumps(one.asked.arguments)[:300]}: {faults} {json.dumps(one.messages)[:600]}")
        for message in one.messages:
            answer = message.get("result", {}).get("structuredContent", {})
            requests += [answer["request_id"]] if "request_id" in answer else []
            ok += answer.get("ok", False)
    told = tuple(f"{fault}: {count}" for fault, count in wrong.items())
    return Judged(sum(len(h.messages) for h in heard), ok, told, tuple(h.seconds for h in heard), tuple(requests))


def by_door(door: str, era: str, count: int) -> Iterator[tuple[str, Judged]]:
    """Every tool by one door in one era; a last line judges the server and its log."""
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        home = Path(folder) / "home"
        caller = open_caller(door, era, home, UNLIMITED)
        real, requests = _furnished(caller), Counter[str]()
        for tool in ORDER:
            judged = judge(tool, caller.ask_all(generated(tool, count, real)))
            requests.update(judged.requests)
            yield tool, judged
        wrong = [] if caller.process.poll() is None else ["the server is gone"]
        listed = caller.ask_raw({"method": "tools/list", "params": {}})
        wrong += [] if listed.get("result", {}).get("tools") else ["tools/list fails"]
        wrong += [f"{len(caller.strays)} answers under no id"] if caller.strays else []
        _end_runs(caller)
        caller.close()
        logged = _logged(home)
        unlike = sum(logged[request] != times for request, times in requests.items())
        wrong += [f"{unlike} answers not in the log exactly once"] if unlike else []
        yield "all, and the log", Judged(requests.total(), 0, tuple(wrong), (), ())


def _furnished(caller: Caller) -> dict[str, Any]:
    """What arguments can name, by argument: a dataset, finished runs, steps, an artifact."""
    dataset = _made(caller, "register_dataset", {"rows": ROWS, "freq": "D"})["dataset_id"]
    steps = _made(caller, "run_preprocessing", {"dataset_id": dataset})["preprocessing_id"]
    request = {"dataset_id": dataset, "covariates": []}
    runs = [_made(caller, "run_training", {**request, "horizon": horizon})["run_id"] for horizon in (3, 4)]
    end = time.monotonic() + 120
    while any(_made(caller, "get_run_status", {"run_id": run, "wait_s": 1})["state"] not in FINISHED for run in runs):
        assert time.monotonic() < end
    artifacts = _made(caller, "list_artifacts", {"run_id": runs[0]})["artifacts"]
    return {
        "dataset_id": dataset, "run_id": runs[0], "run_ids": runs, "baseline_run_id": runs[1], "ref": runs[0],
        "preprocessing_id": steps, "digest": artifacts[0]["digest"],
    }  # fmt: skip


def _made(caller: Caller, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    (heard,) = caller.ask_all([Asked(tool, arguments)])
    answer: dict[str, Any] = heard.messages[0]["result"]["structuredContent"]
    assert answer["ok"], answer
    return dict(answer["result"])


def _end_runs(caller: Caller) -> None:
    """Cancel what generated calls started: its worker would outlive the server and the folder."""
    for state in ("QUEUED", "RUNNING"):
        while runs := _made(caller, "list_runs", {"state": state, "limit": 100})["runs"]:
            for number, run in enumerate(runs):
                _made(caller, "cancel_run", {"run_id": run["run_id"], "idempotency_key": f"end-{state}-{number}"})


def _drawn(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """So many values of a strategy, again from the start where it has no more."""
    found: list[Any] = []

    @settings(QUICK, max_examples=count)
    @given(strategy)
    def draw(value: Any) -> None:
        if _sendable(value) and len(found) < count:
            found.append(value)

    draw()
    return list(itertools.islice(itertools.cycle(found), count))


def _sendable(value: Any) -> bool:
    """Whether it can stand in a JSON text: infinity, NaN and halves of surrogate pairs cannot."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        return False
    return True


def _realistic(arguments: dict[str, Any], real: Mapping[str, Any], dice: random.Random) -> dict[str, Any]:
    """The same arguments; half of the time they name what exists, or send rows that can be read."""
    if dice.random() < 0.5:
        return arguments
    if "rows" in arguments:
        return {
            name: ROWS if name == "rows" else value for name, value in arguments.items() if name in ("rows", "name")
        }
    return {name: real.get(name, value) for name, value in arguments.items()}


def _faults(heard: Heard, validator: jsonschema.Draft202012Validator, schema: dict[str, Any]) -> Iterator[str]:
    if len(heard.messages) != 1:
        yield "lost" if not heard.messages else "answered twice"
        return
    result = heard.messages[0].get("result", {})
    answer = result.get("structuredContent")
    if not isinstance(answer, dict) or not validator.is_valid(answer):
        yield "not typed"
        return
    if json.loads(result["content"][0]["text"]) != answer or result.get("isError", False) == answer["ok"]:
        yield "text, structure and isError differ"
    if not answer["ok"] and (answer["error"]["code"] not in CODES or answer["error"]["code"] == "INTERNAL"):
        yield answer["error"]["code"]
    arguments = {} if heard.asked.arguments is None else heard.asked.arguments  # none sent is an empty object
    if answer["ok"] and not accepted(schema, arguments):
        yield "accepted against the schema"
    if heard.seconds > LATE_S:
        yield f"later than {LATE_S:g} s"


def _logged(home: Path) -> Counter[str]:
    """How often each request stands in the log of a home."""
    with closing(sqlite3.connect(home / "forecast.db")) as database:
        return Counter(
            json.loads(body).get("request_id") for (body,) in database.execute("SELECT body FROM audit_entry")
        )


def main() -> int:
    """Ask by both doors in both eras and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=500, help="per tool and door, era 2026-07-28")
    parser.add_argument("--legacy", type=int, default=50, help="per tool and door, era 2025-11-25")
    asked = parser.parse_args()
    print(f"{'door':6}{'era':12}{'tool':20}{'answers':>8}{'ok':>6}{'p50 ms':>8}{'max s':>7}  wrong")
    sound = True
    for door, (era, count) in itertools.product(("stdio", "http"), ((MODERN, asked.calls), (LEGACY, asked.legacy))):
        for tool, judged in by_door(door, era, count):
            sound &= not judged.wrong
            took = list(judged.seconds) or [0.0]
            times = f"{percentile(took, 50) * 1000:8.1f}{max(took):7.2f}"
            wrong = ", ".join(judged.wrong) or "-"
            print(f"{door:6}{era:12}{tool:20}{judged.answers:>8}{judged.ok:>6}{times}  {wrong}", flush=True)
    return 0 if sound else 1


if __name__ == "__main__":
    raise SystemExit(main())

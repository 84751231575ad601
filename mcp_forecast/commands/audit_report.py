"""What `mcp-forecast audit verify` prints: the verdict, what contradicts what, and what nobody has checked."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from mcp_forecast_audit.report import Report


def print_report(
    asked: argparse.Namespace, report: Report, *, kept: Path | None, missing: Path | None, hints: tuple[str, ...] = ()
) -> int:
    """Print what a verification found, in words or as JSON; returns the exit code: 0 intact and signed, 1 not intact,
    2 nothing verified.

    kept: the checkpoint that the log was compared with; missing: where there is none, the file that was looked for.
    hints: what to think of keys that were not given.
    """
    code = 1 if not report.intact else 0 if report.is_signed and not report.ends_early else 2
    if asked.json:
        print(
            json.dumps(
                {"intact": None if code == 2 else report.intact, "ends_early": report.ends_early, **asdict(report)},
                indent=1,
            )
        )
        return code
    print(_first_line(report))
    for problem in report.problems:
        print(f"  {problem}")
    if report.problem_count > len(report.problems):
        print(f"  … and {report.problem_count - len(report.problems)} more")
    for hint in hints:
        print(hint)
    print(f"{report.entries} entries, {report.sealed} sealed under {report.checkpoints} signed checkpoints")
    if report.root is not None:
        print(f"root {report.root}")
    _print_unchecked(asked, report, kept=kept, missing=missing)
    return code


def _first_line(report: Report) -> str:
    if not report.intact:
        count = report.problem_count
        return f"NOT INTACT: {count} contradiction{'' if count == 1 else 's'}"
    if report.ends_early:
        return (
            f"this export ends before the checkpoint ({report.entries} of {report.outside} entries): take a newer "
            "export, or a checkpoint of its time"
        )
    return "intact" if report.is_signed else "nothing verified: no checkpoint signs it"


def _print_unchecked(asked: argparse.Namespace, report: Report, *, kept: Path | None, missing: Path | None) -> None:
    unsealed = report.entries - report.sealed
    if report.ends_early:
        print(f"not compared with {kept}, over {report.outside} entries")
    elif kept is not None:
        print(f"compared with {kept}" + (f", over {report.outside} entries" if report.outside is not None else ""))
    else:
        where = f" ({missing} is not there)" if missing is not None else ""
        print(f"not checked: a checkpoint kept elsewhere{where}. A log cut back to an older state would not show.")
    if unsealed > 0:
        print(f"not checked: that the last {unsealed} entries are as they were made; they are not sealed yet")
    if asked.public_key is None:
        print("not checked: who signed. The keys are the log's own; pass one kept elsewhere with --public-key.")

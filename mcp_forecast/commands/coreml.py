"""`mcp-forecast coreml`: an exported model becomes a Core ML package, with a receipt that says what was checked."""

from __future__ import annotations

import argparse
import contextlib
import io
from importlib.util import find_spec
from pathlib import Path

from mcp_forecast.commands.refused import refused


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `coreml` to the command line."""
    text = "write a Core ML package of an exported model, apart from the home, with a receipt beside it"
    made = commands.add_parser("coreml", help=text, description=text)
    made.add_argument("model", type=Path, metavar="MODEL.onnx", help="model.onnx of a training run")
    made.add_argument("out", type=Path, metavar="OUT.mlpackage.zip", help="OUT.receipt.json goes beside it")
    made.set_defaults(command=_author)


def _author(asked: argparse.Namespace) -> int:
    if find_spec("coremltools") is None:
        return refused("coremltools is not installed: pip install 'mcp-forecast[coreml]'")
    from mcp_forecast_engine.errors import EngineError
    from mcp_forecast_engine.models.coreml import author_core_ml

    try:
        # coremltools shows bars and, off a Mac, complains about libraries that only a Mac has.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            package = author_core_ml(asked.model.read_bytes(), name=asked.out.name.split(".")[0])
        asked.out.write_bytes(package.content)
        receipt = asked.out.with_name(asked.out.name.split(".")[0] + ".receipt.json")
        receipt.write_text(package.receipt.to_json(), encoding="utf-8")
    except (EngineError, OSError) as error:
        return refused(error)
    print(f"{asked.out}: {package.receipt.verified}, {package.receipt.why}\n{receipt}: what was made, by digest")
    return 0

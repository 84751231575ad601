"""The house: faces, sizes, the table of errors, fresh contracts and the boundaries where everything is caught."""

from __future__ import annotations

import ast
import inspect
import json
import pkgutil
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import mcp_forecast
import mcp_forecast_engine
from mcp_forecast.commands import contracts
from mcp_forecast.errors import CODE_OF, error_body
from mcp_forecast.home import schema
from mcp_forecast_contracts.catalogue import ORDER, documents
from mcp_forecast_contracts.errors import CODES, ERRORS
from mcp_forecast_contracts.registry import CONTRACTS
from mcp_forecast_engine import errors as engine_errors
from mcp_forecast_policy.rules import DEFAULT_POLICY, load_policy

ROOT = Path(__file__).parent.parent
PACKAGES = ("mcp_forecast", "engine/mcp_forecast_engine", "policy/mcp_forecast_policy", "audit/mcp_forecast_audit",
            "tool_contracts/mcp_forecast_contracts")  # fmt: skip
TOP_LEVEL = {"mcp_forecast", "skills", "engine", "policy", "tool_contracts", "audit", "tests", "examples", "benchmarks"}
# The only places that catch everything: each answers for a whole process or thread.
BOUNDARIES = {
    "mcp_forecast/calls/pipeline.py": 1,
    "mcp_forecast/mcp/server.py": 1,
    "mcp_forecast/mcp/stdio_door.py": 1,
    "engine/mcp_forecast_engine/runtime/worker.py": 1,
    "engine/mcp_forecast_engine/runtime/supervisor.py": 1,
    "engine/mcp_forecast_engine/store/writer.py": 3,  # an entry, a command, a chore: none may end the thread
}
FACES = {
    "mcp_forecast.calls.pipeline": {"Trail", "call", "unopened"},
    "mcp_forecast.app": {"App", "build_engine", "milestone_of", "open_app"},
    "mcp_forecast_policy.rules": {"ScopeTable", "load_policy"},
    "mcp_forecast_audit.log": {"append", "append_missing", "count"},
    "mcp_forecast_engine.engine": {"Engine"},
    "mcp_forecast_contracts.catalogue": {"documents", "tools"},
}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def test_the_top_level_folders_are_the_fixed_ones() -> None:
    found = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    assert found - {"dist", "build", "node_modules"} <= TOP_LEVEL


def test_the_public_faces_are_pinned() -> None:
    for name, face in FACES.items():
        module = import_module(name)
        public = {
            n for n, value in vars(module).items()
            if not n.startswith("_") and getattr(value, "__module__", None) == name and callable(value)
        }  # fmt: skip
        assert public == face, name


def test_every_module_says_what_it_is_in_one_sentence() -> None:
    assert [path for path, tree in sources() if not ast.get_docstring(tree)] == []


def test_every_public_function_and_class_has_a_docstring() -> None:
    missing = [
        f"{path}:{node.lineno} {node.name}"
        for path, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and _is_public(tree, node)
        and not ast.get_docstring(node)
    ]
    assert missing == []


def _is_public(tree: ast.Module, node: ast.AST) -> bool:
    classes = [
        n for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_") and not _is_protocol(n)
    ]
    return node in tree.body or any(node in n.body for n in classes)


def _is_protocol(node: ast.ClassDef) -> bool:
    return any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)


def test_files_and_functions_stay_small(capsys: pytest.CaptureFixture[str]) -> None:
    files, functions = Counter[str](), Counter[str]()
    for path, tree in sources():
        files[path] = len((ROOT / path).read_text(encoding="utf-8").splitlines())
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                functions[f"{path}:{node.name}"] = (node.end_lineno or 0) - node.lineno + 1
    with capsys.disabled():
        over = sum(1 for n in functions.values() if n > 40)
        print(f"\n{len(files)} files, largest {files.most_common(3)}; {over} functions over 40 lines")
    assert [f for f, lines in files.items() if lines > 400 and "/migrations/" not in f] == []
    assert [f for f, lines in functions.items() if lines > 60 and "/migrations/" not in f] == []


def test_everything_is_caught_only_at_the_listed_boundaries() -> None:
    found: Counter[str] = Counter()
    for path, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler) and (
                node.type is None
                or (isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException"))
            ):
                ends_in_raise = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
                found[path] += not ends_in_raise
    assert {path: n for path, n in found.items() if n} == BOUNDARIES


def test_the_environment_is_read_in_settings_alone() -> None:
    readers = {
        path for path, _ in sources()
        if re.search(r"os\.environ|os\.getenv", (ROOT / path).read_text(encoding="utf-8"))
    }  # fmt: skip
    assert readers == {"mcp_forecast/settings.py"}


def test_nothing_pickles() -> None:
    words = re.compile(r"\bpickle\b(?!=False)|\bmarshal\b|\bshelve\b|allow_pickle=True")
    users = [p for p, _ in sources() if re.search(words, re.sub(r'"""[\s\S]*?"""|#.*', "", (ROOT / p).read_text()))]
    assert users == []


def test_every_engine_error_has_a_code() -> None:
    classes = {
        c for _, c in inspect.getmembers(engine_errors, inspect.isclass) if issubclass(c, engine_errors.EngineError)
    }
    assert classes - {engine_errors.EngineError} == set(CODE_OF)
    for cls in CODE_OF:
        named = ("LEAKAGE_GUARD_VIOLATION",) if cls is engine_errors.CorridorRefused else ()
        body = error_body(cls(*named, "what was found"), correlation_id="c")
        assert body["code"] in CODES
        assert body["next_step"]


def test_every_error_class_of_the_engine_lives_in_its_errors_module() -> None:
    stray = []
    for info in pkgutil.walk_packages(mcp_forecast_engine.__path__, "mcp_forecast_engine."):
        module = import_module(info.name)
        for name, value in vars(module).items():
            if inspect.isclass(value) and issubclass(value, engine_errors.EngineError):
                stray += [f"{info.name}.{name}"] if value.__module__ != "mcp_forecast_engine.errors" else []
    assert stray == []


def test_the_list_of_codes_is_closed_and_short() -> None:
    assert set(ERRORS) == set(CODES)
    assert len(CODES) <= 40
    used = {code for document in documents().values() for code in document["errors"]}
    assert used <= set(CODES)


def test_the_contract_files_are_fresh() -> None:
    assert contracts.check() == [], "run `make contracts` and commit the result"


def test_every_tool_has_a_contract_a_rule_and_an_implementation() -> None:
    from mcp_forecast.tools import TOOLS

    table = dict(load_policy(DEFAULT_POLICY.read_bytes()).scopes)
    assert list(TOOLS) == list(CONTRACTS) == list(ORDER)
    assert table == {name: contract.scope for name, contract in CONTRACTS.items()}


def test_the_schema_revision_is_the_newest_migration() -> None:
    names = sorted(p.name for p in (ROOT / "mcp_forecast/migrations/versions").glob("[0-9]*.py"))
    assert names[-1].startswith(schema.REVISION)


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == mcp_forecast.__version__
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_no_committed_file_names_a_path_of_a_machine() -> None:
    suspicious = re.compile(r"(?<![\w.])/(?:work|root|home/\w+|Users/\w+)/")
    texts = [p for p in ROOT.rglob("*") if p.suffix in {".py", ".md", ".toml", ".json"} and p.is_file()]
    own = [
        p
        for p in texts
        if not any(part.startswith(".") or part == "node_modules" for part in p.relative_to(ROOT).parts)
    ]
    named = [p.relative_to(ROOT).as_posix() for p in own if suspicious.search(p.read_text(encoding="utf-8"))]
    assert named == []


def test_the_contract_json_is_plain_data() -> None:
    for document in documents().values():
        assert json.loads(json.dumps(document)) == document

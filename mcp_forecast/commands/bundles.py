"""`mcp-forecast bundles`: publish, list, promote and roll back from the command line, by the tools that agents call."""

from __future__ import annotations

import argparse
import json
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from mcp_forecast.commands.bundle_files import add_actions
from mcp_forecast.settings import process_settings

if TYPE_CHECKING:
    from mcp_forecast.commands.forecast import Desk

Document = dict[str, Any]
REJECTED: Final = 1
_LINES: Final = 20  # of a listing, as its contract says
_SCOPE: Final = ("environment", "mode", "slot", "tenant")
_OF_CALL: Final = (
    *_SCOPE, "run_id", "bundle_id", "version", "state", "view", "to", "retire", "expected_token", "reason", "limit",
    "idempotency_key",
)  # fmt: skip


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `bundles list`, `publish`, `retry`, `promote`, `rollback`, `export` and `verify`."""
    text = "publish trained runs, and say which of them answers"
    actions = commands.add_parser("bundles", help=text, description=text).add_subparsers(
        metavar="ACTION", required=True
    )
    listing = _action(actions, "list", "list_bundles", "what is published, what is ACTIVE where, and by which token")
    listing.add_argument("--state", choices=("PUBLISHED", "ACTIVE", "RETIRED"), help="only bundles that stand so")
    listing.add_argument("--events", dest="view", action="store_const", const="events", help="what happened instead")
    listing.add_argument("--limit", type=int, metavar="N", help="lines at most, up to 100; default 20")
    publish = _action(actions, "publish", "publish_bundle", "put a run that passed its gate on record", scoped=False)
    publish.add_argument("run_id", metavar="RUN_ID")
    text = "let a publication that the storage failed be tried again, once that is mended; nothing is trained again"
    retry = actions.add_parser("retry", help=text, description=text)
    retry.add_argument("run_id", metavar="RUN_ID")
    retry.set_defaults(command=_retry_granted)
    promote = _action(actions, "promote", "promote_bundle", "let a bundle answer in a scope")
    promote.add_argument("bundle_id", metavar="BUNDLE_ID")
    promote.add_argument("--version", metavar="V", help="which version, if there are several")
    back = _action(actions, "rollback", "rollback_bundle", "let the bundle before answer again")
    back.add_argument("--to", metavar="BUNDLE", help="a bundle that was ACTIVE there before; default: the last one")
    back.add_argument("--retire", action="store_true", default=None, help="never let the present one answer again")
    add_actions(actions)
    for changing in (promote, back):
        changing.add_argument("--reason", required=True, help="why, in a sentence; it stays in the record")
        changing.add_argument("--expected-token", type=int, metavar="N", help="refuse if the scope has moved since")
    for keyed in (publish, promote, back):
        keyed.add_argument(
            "--idempotency-key", default=f"cli-{secrets.token_hex(8)}", metavar="KEY", help="to repeat the same call"
        )


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    tool: str,
    text: str,
    *,
    scoped: bool = True,
) -> argparse.ArgumentParser:
    made = actions.add_parser(name, help=text, description=text)
    made.add_argument("--json", action="store_true", help="print the tool's answer as JSON instead")
    for part in _SCOPE if scoped else ():
        made.add_argument(f"--{part}", metavar="NAME", help=f"{part} of the scope")
    made.set_defaults(command=_called, tool=tool)
    return made


def _called(asked: argparse.Namespace) -> int:
    """One call of a tool; 0, 1 where the policy rejected it or the storage failed, or 2 with what was refused."""
    import anyio
    from rich.console import Console

    from mcp_forecast.app import open_app
    from mcp_forecast.commands.forecast import Desk
    from mcp_forecast.commands.forecast_files import Refused
    from mcp_forecast.commands.refused import refused
    from mcp_forecast_engine.errors import EngineError

    arguments = {name: value for name in _OF_CALL if (value := getattr(asked, name, None)) is not None}
    try:
        app = open_app(process_settings())
        try:
            result, warnings = anyio.run(partial(_answered, Desk(app, Console(stderr=True)), asked.tool, arguments))
        finally:
            app.close()
    except Refused as error:
        return refused(f"{error}\n  {error.error['next_step']}")
    except EngineError as error:
        return refused(error)
    if asked.json:
        print(json.dumps(result))
    else:
        print(*_SHOWN[asked.tool](result, arguments), *(f"  warning: {text}" for text in warnings), sep="\n")
    return REJECTED if result.get("status") in ("REJECTED", "PUBLISH_PENDING") else 0


async def _answered(desk: Desk, tool: str, arguments: Document) -> tuple[Document, list[str]]:
    """A tool's answer; of a listing as many pages as it takes, for nobody here has a cursor."""
    result, warnings = await desk.call(tool, arguments)
    name = arguments.get("view", "bundles")
    while tool == "list_bundles" and result["has_more"] and len(result[name]) < arguments.get("limit", _LINES):
        left = {"limit": arguments.get("limit", _LINES) - len(result[name]), "cursor": result["next_cursor"]}
        page, _ = await desk.call(tool, {**arguments, **left})
        result = {**page, name: [*result[name], *page[name]]}
    return result, warnings


def _retry_granted(asked: argparse.Namespace) -> int:
    """No tool: an agent that repeats its calls would grant itself attempts without end."""
    from mcp_forecast.commands.refused import refused
    from mcp_forecast.upkeep.retrying import grant_retry
    from mcp_forecast_engine.errors import EngineError

    try:
        run = grant_retry(process_settings(), asked.run_id)
    except EngineError as error:
        return refused(error)
    print(f"{run.run_id} is {run.state}\n  {(run.error or {})['next_step']}")
    return 0


def _listed(result: Document, asked: Document) -> list[str]:
    lines = [
        f"{one['bundle_id']}@{one['version']}  {one['state']}  {one['run_id']}  {one['published_at']}  "
        f"{one.get('profile', '')}  {one.get('verdict', '')}".rstrip()
        for one in result.get("bundles", ())
    ]
    lines += [
        f"{one['seq']:>5}  {one['at']}  {one['event_type']}  {one['scope']}  {one.get('bundle', 'nothing')}  "
        f"{one['actor']}: {one['reason']}"
        for one in result.get("events", ())
    ]
    actives = [
        f"{one['scope']}: {one.get('bundle', 'nothing')} is ACTIVE (token {one['token']})" for one in result["active"]
    ]
    more = ["there are more: --limit, or list_bundles with its cursor"] if result["has_more"] else []
    filters = ", ".join(f"{name} {value}" for name, value in asked.items() if name not in ("limit", "view"))
    nothing = f"nothing fits: {filters}" if filters else "nothing is published yet"
    return [*(lines or [nothing]), *more, *actives]


def _published(result: Document, asked: Document) -> list[str]:
    if "bundle_id" not in result:
        again = f"mcp-forecast bundles publish {result['run_id']}"
        left = f"{result['attempts_left']} attempts are left"
        told = result["next_step"] if not result["attempts_left"] else f"make the storage work, then {again}: {left}"
        return [f"{result['status']}: {result['error']}", f"  {told}"]
    bundle = f"{result['bundle_id']} --version {result['version']}"
    return [
        f"{result['status']}: {result['bundle_id']}@{result['version']}",
        f"  mcp-forecast bundles promote {bundle} --reason '…'",
        "  lets it answer; bundles list tells the scope's token",
    ]


def _moved(result: Document, asked: Document) -> list[str]:
    why = f": {', '.join(result['reason_codes'])}" if "reason_codes" in result else ""
    now = f"{result['scope']}: {result.get('active', 'nothing')} is ACTIVE (token {result['token']})"
    return [f"{result['status']}{why}", now, f"  {result['next_step']}"]


_SHOWN: Final[Mapping[str, Callable[[Document, Document], list[str]]]] = {
    "list_bundles": _listed,
    "publish_bundle": _published,
    "promote_bundle": _moved,
    "rollback_bundle": _moved,
}

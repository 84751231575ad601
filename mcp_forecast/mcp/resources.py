"""What can be read by URI: runs, datasets and artifacts over the one path of a call, contracts from their files.

A run is what get_run_status says of it, a dataset what describe_dataset says, an artifact what read_artifact gives:
the same limits, scopes and audit entries. Contracts are committed files and need no home.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

import mcp_types as T
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from mcp_forecast.mcp.context import Context, compact
from mcp_forecast.mcp.opening import Envelope
from mcp_forecast_contracts import catalogue

Ask = Callable[[Context, str, dict[str, Any]], Awaitable[Envelope]]

PAGE: Final = 50
MOST_RUNS: Final = 20  # recent ones in the list; list_runs finds the others
MOST_DATASETS: Final = 20
MOST_PART: Final = 1024 * 1024  # of one call of read_artifact
MOST_BYTES: Final = 8 * 1024 * 1024  # of an artifact as a resource; read_artifact pages through a longer one
LEGACY_NOT_FOUND: Final = -32002
REFUSED: Final = -32010  # known, but refused now: the error body in `data` says why and what to do
CALL_META: Final = "io.github.mcp-forecast/call"
_CALL_OF: Final = {
    "forecast://runs/": ("get_run_status", "run_id"),
    "forecast://datasets/": ("describe_dataset", "dataset_id"),
    "forecast://artifacts/": ("read_artifact", "digest"),
}
_CONTRACTS: Final = "forecast://contracts/"
_ERRORS: Final = f"{_CONTRACTS}errors"
_DATASET_FILE: Final = "dataset.npz"  # every dataset has one artifact of this name
_JSON: Final = "application/json"
_NOT_THERE: Final = {"NOT_FOUND", "INVALID_ARGUMENTS", "UNKNOWN_TOOL"}
_FRESH_MS: Final = 300_000
TEMPLATES: Final[tuple[dict[str, str], ...]] = (
    {
        "uriTemplate": "forecast://runs/{id}",
        "name": "run",
        "title": "Run",
        "description": "State, progress and result of a run, as get_run_status answers it. id: a run_id.",
        "mimeType": _JSON,
    },
    {
        "uriTemplate": "forecast://datasets/{id}",
        "name": "dataset",
        "title": "Dataset",
        "description": "Columns, covariate roles and series, as describe_dataset answers them. id: a dataset_id.",
        "mimeType": _JSON,
    },
    {
        "uriTemplate": "forecast://artifacts/{id}",
        "name": "artifact",
        "title": "Artifact",
        "description": "The bytes of an artifact, checked against its digest. id: a digest, sha256:<hex>.",
    },
    {
        "uriTemplate": "forecast://contracts/{tool}/{version}",
        "name": "contract",
        "title": "Contract of a tool",
        "description": "Schemas, errors, examples and digest. The version is in `_meta` of the listed tool.",
        "mimeType": _JSON,
    },
    {
        "uriTemplate": _ERRORS,
        "name": "errors",
        "title": "Error codes",
        "description": "Every code with its category, disposition and standing advice.",
        "mimeType": _JSON,
    },
)


class Resources:
    """Lists and reads resources. ask: makes one call for the caller in hand and gives its envelope."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def listed(self, ctx: Context, params: T.PaginatedRequestParams | None) -> Any:
        """Recent runs and datasets, then the contracts. Raises MCPError for a refused call or a foreign cursor."""
        cursor = None if params is None else params.cursor
        contracts = contract_links()
        start = 0 if cursor is None else _start_of(cursor, len(contracts))
        recent = await self._recent(ctx) if cursor is None else []
        end = start + PAGE - len(recent)
        page: dict[str, Any] = {"resultType": "complete", "resources": [*recent, *contracts[start:end]]}
        return page if end >= len(contracts) else {**page, "nextCursor": f"contracts:{end}"}

    async def templates(self, _: Context, params: T.PaginatedRequestParams | None) -> Any:
        """The shapes of URIs, on one page."""
        if params is not None and params.cursor is not None:
            raise MCPError(code=T.INVALID_PARAMS, message="Invalid cursor")
        return {"resultType": "complete", "resourceTemplates": list(TEMPLATES)}

    async def read(self, ctx: Context, params: T.ReadResourceRequestParams) -> Any:
        """The content behind a URI. Raises MCPError with our error body for an unknown one or a refused call."""
        uri = str(params.uri)
        contract = contract_text(uri)
        if contract is not None:
            content = {"uri": uri, "mimeType": _JSON, "text": contract}
            return {"resultType": "complete", "contents": [content], "ttlMs": _FRESH_MS, "cacheScope": "public"}
        call = call_of(uri)
        if call is None:
            raise unknown(uri, ctx)
        made = await (self._artifact(ctx, uri, call) if call[0] == "read_artifact" else self._document(ctx, uri, call))
        return {"resultType": "complete", "contents": [made]}

    async def _document(self, ctx: Context, uri: str, call: tuple[str, dict[str, Any]]) -> dict[str, Any]:
        envelope = await self._answer(ctx, uri, call)
        return {"uri": uri, "mimeType": _JSON, "text": compact(envelope["result"]), "_meta": _call_meta(envelope)}

    async def _artifact(self, ctx: Context, uri: str, call: tuple[str, dict[str, Any]]) -> dict[str, Any]:
        """All pages of an artifact, each a call of its own; text stays text, other bytes are base64."""
        tool, arguments = call[0], {**call[1], "limit": MOST_PART}
        envelope = await self._answer(ctx, uri, (tool, arguments))
        first = envelope["result"]
        if first["size"] > MOST_BYTES:
            raise _too_long(uri, first["size"])
        data, part = _bytes(first), first
        while part.get("has_more"):
            part = (await self._answer(ctx, uri, (tool, {**arguments, "offset": len(data)})))["result"]
            data += _bytes(part)
        media = str(first["media_type"])
        textual = media == _JSON or media.startswith("text/")
        content = {"text": data.decode()} if textual else {"blob": base64.b64encode(data).decode()}
        return {"uri": uri, "mimeType": media, **content, "_meta": _call_meta(envelope)}

    async def _recent(self, ctx: Context) -> list[dict[str, Any]]:
        runs = await self._answer(ctx, "forecast://runs/", ("list_runs", {"limit": MOST_RUNS}))
        asked = {"name": _DATASET_FILE, "limit": MOST_DATASETS}
        made = await self._answer(ctx, "forecast://datasets/", ("list_artifacts", asked))
        return [
            *(_run_link(line) for line in runs["result"]["runs"]),
            *(_dataset_link(line) for line in made["result"]["artifacts"]),
        ]

    async def _answer(self, ctx: Context, uri: str, call: tuple[str, dict[str, Any]]) -> Envelope:
        envelope = await self._ask(ctx, *call)
        if not envelope["ok"]:
            raise refused(uri, envelope, ctx.protocol_version)
        return envelope


def call_of(uri: str) -> tuple[str, dict[str, Any]] | None:
    """The call that reads this URI, as tool and arguments; None when no call does."""
    for prefix, (tool, argument) in _CALL_OF.items():
        rest = uri.removeprefix(prefix)
        if rest != uri and rest and "/" not in rest:
            return tool, {argument: rest}
    return None


def contract_text(uri: str) -> str | None:
    """The committed contract or error table under this URI as compact JSON; None for any other URI."""
    if uri == _ERRORS:
        return compact(json.loads((catalogue.FOLDER / "errors.json").read_bytes()))
    tool, _, contract_version = uri.removeprefix(_CONTRACTS).partition("/")
    document = catalogue.documents().get(tool) if uri.startswith(_CONTRACTS) else None
    return None if document is None or document["version"] != contract_version else compact(document)


def contract_links() -> list[dict[str, Any]]:
    """The error table and every contract, as a list of resources shows them."""
    errors = {"uri": _ERRORS, "name": "errors", "title": "Error codes", "mimeType": _JSON}
    return [
        errors,
        *(
            {
                "uri": f"{_CONTRACTS}{name}/{document['version']}",
                "name": f"{name}@{document['version']}",
                "title": f"Contract: {document['title']}",
                "mimeType": _JSON,
            }
            for name, document in catalogue.documents().items()
        ),
    ]


def refused(uri: str, envelope: Envelope, protocol: str) -> MCPError:
    """A refused call as the error of a resource: our error body in `data`, with the URI and the call's request_id."""
    body: dict[str, Any] = envelope["error"]
    code = _not_found(protocol) if body["code"] in _NOT_THERE else REFUSED
    data = {**body, "uri": uri, "request_id": envelope.get("request_id")}
    return MCPError(code=code, message=str(body.get("message", body["code"])), data=data)


def unknown(uri: str, ctx: Context) -> MCPError:
    """No resource has this URI; says which shapes there are."""
    from mcp_forecast.errors import body

    made = body(
        "NOT_FOUND",
        "no resource has this URI",
        field="uri",
        allowed=[template["uriTemplate"] for template in TEMPLATES],
        next_step="use a URI of resources/list, or fill a template in",
    )
    return MCPError(code=_not_found(ctx.protocol_version), message=made["message"], data={**made, "uri": uri})


def _too_long(uri: str, size: int) -> MCPError:
    from mcp_forecast.errors import body

    made = body(
        "INVALID_ARGUMENTS",
        f"the artifact has {size} bytes; a resource shows at most {MOST_BYTES}",
        field="uri",
        next_step="page through it: read_artifact with its digest and offset",
    )
    return MCPError(code=REFUSED, message=made["message"], data={**made, "uri": uri})


def _not_found(protocol: str) -> int:
    return T.INVALID_PARAMS if protocol in MODERN_PROTOCOL_VERSIONS else LEGACY_NOT_FOUND


def _call_meta(envelope: Envelope) -> dict[str, Any]:
    return {CALL_META: {"request_id": envelope.get("request_id"), "warnings": envelope.get("warnings", [])}}


def _run_link(line: dict[str, Any]) -> dict[str, Any]:
    verdict = f", {line['verdict']}" if line.get("verdict") else ""
    return {
        "uri": f"forecast://runs/{line['run_id']}",
        "name": line["run_id"],
        "title": f"{line['kind']} run, {line['state']}{verdict}",
        "mimeType": _JSON,
        "annotations": {"lastModified": line.get("ended_at") or line["created_at"]},
    }


def _dataset_link(line: dict[str, Any]) -> dict[str, Any]:
    return {
        "uri": f"forecast://datasets/{line['dataset_id']}",
        "name": line["dataset_id"],
        "title": "dataset",
        "mimeType": _JSON,
        "annotations": {"lastModified": line["created_at"]},
    }


def _bytes(part: dict[str, Any]) -> bytes:
    data: str = part["data"]
    return base64.b64decode(data) if part["encoding"] == "base64" else data.encode()


def _start_of(cursor: str, count: int) -> int:
    kind, _, number = cursor.partition(":")
    if kind == "contracts" and number.isascii() and number.isdigit() and len(number) < 9 and int(number) < count:
        return int(number)
    raise MCPError(code=T.INVALID_PARAMS, message="Invalid cursor")

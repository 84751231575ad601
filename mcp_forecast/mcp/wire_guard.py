"""What a line on the wire is: a JSON-RPC message, something to refuse under its id, or nothing to answer.

The SDK drops every line it cannot parse, and its caller waits for ever. Here each such line is answered at once:
-32700 for what is no JSON, -32600 for JSON that is no request. Broken notifications and broken answers stay silent,
as JSON-RPC 2.0 (section 4.1) asks: nobody waits for them, and their id belongs to the other side.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from mcp_types import (
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    RequestId,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError
from pydantic_core import from_json

MAX_LINE: Final = 16 * 1024 * 1024

# A string (closed or cut), a bracket, a mark, or a bare word. Possessive, so that no input makes it go back.
_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[{}\[\]:,]|[^\s"{}\[\]:,]++', re.DOTALL)
_MAX_TOKENS: Final = 4000  # about a millisecond; a longer line still shows its id at its very end
_LAST_ID: Final = re.compile(rb'"id"\s*:\s*("[^"\\]{0,128}"|-?\d{1,20})\s*\}\s*$')
_ANSWER_KEYS: Final = {"result", "error"}


@dataclass(frozen=True)
class Refused:
    """A line that is answered instead of served. id: the line's own, None when it has none that could be read."""

    code: int
    message: str
    id: RequestId | None = None

    def reply(self) -> JSONRPCError:
        """The answer that goes back over the wire."""
        return JSONRPCError(jsonrpc="2.0", id=self.id, error=ErrorData(code=self.code, message=self.message))


def read_line(line: bytes) -> JSONRPCMessage | Refused | None:
    """Read one line, without its end. None: nothing to serve and nobody to answer. Never raises."""
    if not line or line.isspace():
        return None
    try:
        message = jsonrpc_message_adapter.validate_json(line, by_name=False)
        if isinstance(message, JSONRPCNotification):
            # The SDK reads `"id": null` and `"id": 1.5` as "no id": the caller would wait for ever.
            value = from_json(line)
            return _refused_request(value) if "id" in value else message
        # The parser takes NaN and Infinity, which are no JSON; nearly no line has these letters.
        if b"NaN" in line or b"Infinity" in line:
            from_json(line, allow_inf_nan=False)
        return message
    except ValidationError:
        return _refuse(line)
    except ValueError as error:
        return _unparsable(line, str(error))


def refuse_long(head: bytes) -> Refused | None:
    """Refuse a line longer than MAX_LINE, of which only the head is kept."""
    return _unparsable(head, f"the line is longer than {MAX_LINE} bytes", cut=True)


def _refuse(line: bytes) -> Refused | None:
    try:
        value = from_json(line, allow_inf_nan=False)
    except ValueError as error:
        return _unparsable(line, str(error))
    return _refused_request(value)


def _refused_request(value: Any) -> Refused | None:
    if isinstance(value, list):
        return Refused(INVALID_REQUEST, "Invalid request: batches are not served; send one message a line")
    if not isinstance(value, dict):
        return Refused(INVALID_REQUEST, "Invalid request: a message is a JSON object")
    method = value.get("method")
    if "method" not in value and _ANSWER_KEYS & value.keys():
        return None
    if "id" not in value and isinstance(method, str):
        return None
    return Refused(INVALID_REQUEST, f"Invalid request: {_fault_of(value)}", _valid_id(value.get("id")))


def _fault_of(value: dict[str, Any]) -> str:
    if value.get("jsonrpc") != "2.0":
        return 'jsonrpc must be "2.0"'
    if not isinstance(value.get("method"), str):
        return "method must be a string"
    if _valid_id(value.get("id")) is None:
        return "id must be a string or an integer"
    return "params must be an object"


def _valid_id(value: object) -> RequestId | None:
    return value if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)) else None


def _unparsable(line: bytes, reason: str, *, cut: bool = False) -> Refused | None:
    """Answer a line that is no JSON, unless what can be seen of it is an answer or a whole notification."""
    members, whole = _outline(line)
    if "method" not in members and _ANSWER_KEYS & members.keys():
        return None
    if "method" in members and "id" not in members and whole and not cut:
        return None
    return Refused(PARSE_ERROR, f"Parse error: {reason}", _read_id(members.get("id")))


def _outline(line: bytes) -> tuple[dict[str, bytes], bool]:
    """Names and first tokens of the outermost object's members, and whether that object was seen to its end."""
    members: dict[str, bytes] = {}
    depth, key, last, count = 0, "", b"", 0
    for match in islice(_TOKEN.finditer(line), _MAX_TOKENS):
        token, count = match[0], count + 1
        if depth == 0 and token != b"{":
            return {}, False
        if depth == 1 and last == b":":
            members[key] = token
        if token in (b"{", b"["):
            depth += 1
        elif token in (b"}", b"]"):
            depth -= 1
            if depth == 0:
                return members, True
        elif token == b":" and depth == 1:
            key = last.strip(b'"').decode("ascii", "replace")
        last = token
    if count == _MAX_TOKENS and "id" not in members and (tail := _LAST_ID.search(line[-256:])):
        members["id"] = tail[1]
    return members, False


def _read_id(token: bytes | None) -> RequestId | None:
    if token is None:
        return None
    try:
        return _valid_id(from_json(token))
    except ValueError:
        return None

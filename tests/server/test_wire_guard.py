"""What the wire guard makes of a line: served, refused under its id, or left without an answer."""

from __future__ import annotations

import json
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_types import JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from mcp_forecast.mcp.stdio import LineSplitter
from mcp_forecast.mcp.wire_guard import Refused, read_line, refuse_long

PARSE, INVALID = -32700, -32600


def request(value: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x","arguments":{"v":' + value + b"}}}"


REFUSED = {
    "nested 250 deep": (request(b"[" * 250 + b"]" * 250), PARSE, 7),
    "an integer of 5,000 digits": (request(b"1" * 5000), PARSE, 7),
    "a lone surrogate": (request(b'"\\ud800"'), PARSE, 7),
    "bad UTF-8 in a string": (request(b'"\xff"'), PARSE, 7),
    "an overlong UTF-8 form": (request(b'"\xc0\xaf"'), PARSE, 7),
    "bad UTF-8 outside a string": (request(b"\xff"), PARSE, 7),
    "NaN": (request(b"NaN"), PARSE, 7),
    "Infinity": (request(b"-Infinity"), PARSE, 7),
    "a raw control character": (request(b'"\x01"'), PARSE, 7),
    "a cut line": (b'{"jsonrpc":"2.0","id":7,"method":"x","params":{"a', PARSE, 7),
    "a cut line before its id": (b'{"jsonrpc":"2.0","method":"x","par', PARSE, None),
    "the id after broken params": (b'{"method":"x","params":{"a":\xff,"id":1},"jsonrpc":"2.0","id":"z"}', PARSE, "z"),
    "an id inside the params only": (b'{"method":"x","params":{"id":1,"a":\xff', PARSE, None),
    "an id inside a string only": (b'{"method":"\\"id\\":1","params":\xff', PARSE, None),
    "an id that is broken itself": (b'{"jsonrpc":"2.0","id":"\\ud800","method":"x"}', PARSE, None),
    "a huge id": (b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"x"}', PARSE, None),
    "garbage": (b"garbage", PARSE, None),
    "a byte order mark": (b"\xef\xbb\xbf" + request(b"1"), PARSE, None),
    "a broken batch": (b'[{"jsonrpc":"2.0","id":7', PARSE, None),
    "a batch": (b"[" + request(b"1") + b"]", INVALID, None),
    "an empty batch": (b"[]", INVALID, None),
    "a scalar": (b"5", INVALID, None),
    "null": (b"null", INVALID, None),
    "an empty object": (b"{}", INVALID, None),
    "another JSON-RPC version": (b'{"jsonrpc":"1.0","id":7,"method":"x"}', INVALID, 7),
    "no method": (b'{"jsonrpc":"2.0","id":7}', INVALID, 7),
    "a method that is a number": (b'{"jsonrpc":"2.0","id":7,"method":5}', INVALID, 7),
    "params that are a list": (b'{"jsonrpc":"2.0","id":7,"method":"x","params":[1]}', INVALID, 7),
    "a null id": (b'{"jsonrpc":"2.0","id":null,"method":"x"}', INVALID, None),
    "a fractional id": (b'{"jsonrpc":"2.0","id":1.5,"method":"x"}', INVALID, None),
    "a true id": (b'{"jsonrpc":"2.0","id":true,"method":"x"}', INVALID, None),
    "an escaped spelling of a null id": (b'{"jsonrpc":"2.0","\\u0069d":null,"method":"x"}', INVALID, None),
}  # fmt: skip
SILENT = {
    "an empty line": b"",
    "a blank line": b" \t\r",
    "a notification with a list": b'{"jsonrpc":"2.0","method":"x","params":[1]}',
    "a notification with a lone surrogate": b'{"jsonrpc":"2.0","method":"x","params":{"a":"\\ud800"}}',
    "an answer that is no object": b'{"jsonrpc":"2.0","id":5,"result":5}',
    "an answer with a lone surrogate": b'{"jsonrpc":"2.0","id":5,"result":{"a":"\\ud800"}}',
    "an error answer without a code": b'{"jsonrpc":"2.0","id":5,"error":{}}',
    "an answer to nobody": b'{"jsonrpc":"2.0","id":null,"result":{}}',
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_line_that_cannot_be_served_is_refused_under_its_id(case: str) -> None:
    line, code, request_id = REFUSED[case]
    refused = read_line(line)
    assert isinstance(refused, Refused)
    assert (refused.code, refused.id) == (code, request_id)
    assert json.loads(refused.reply().model_dump_json())["id"] == request_id


@pytest.mark.parametrize("case", SILENT)
def test_nobody_is_answered_who_does_not_wait(case: str) -> None:
    assert read_line(SILENT[case]) is None


@pytest.mark.parametrize("value", [b"1", b'"NaN"', b'"\xc3\xa9"', b'"\\ud83d\\ude00"', b"1e400", b"9" * 4000, b"null"])
def test_a_good_request_is_served_as_it_was_sent(value: bytes) -> None:
    message = read_line(request(value))
    assert isinstance(message, JSONRPCRequest)
    assert message.id == 7
    assert message.params == {"name": "x", "arguments": {"v": json.loads(value)}}


def test_notifications_and_answers_are_served() -> None:
    assert isinstance(read_line(b'{"jsonrpc":"2.0","method":"x"}'), JSONRPCNotification)
    assert isinstance(read_line(b'{"jsonrpc":"2.0","id":1,"result":{}}'), JSONRPCResponse)


@pytest.mark.parametrize(
    "line",
    [
        b'{"method":"x","params":{"a":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b'},"jsonrpc":"2.0","id":7}',
        b'{"jsonrpc":"2.0","id":7,"method":"x","params":{' + b'"a":1,' * 100_000,
    ],
)
def test_a_long_hostile_line_is_refused_in_milliseconds_under_its_id(line: bytes) -> None:
    begun = time.perf_counter()
    refused = read_line(line)
    assert time.perf_counter() - begun < 0.1  # about 2 ms; the machine may be busy
    assert refused is not None
    assert refused.id == 7  # type: ignore[union-attr]


def test_cutting_strings_short_costs_time_in_proportion_only() -> None:
    begun = time.perf_counter()
    assert isinstance(read_line(b'{"' + b'\\"' * 2_000_000), Refused)
    assert time.perf_counter() - begun < 1.0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(params=st.dictionaries(st.text(), json_values), request_id=st.integers() | st.text(), ascii_only=st.booleans())
def test_every_well_formed_request_is_served_unchanged(params: object, request_id: object, ascii_only: bool) -> None:
    line = json.dumps(
        {"jsonrpc": "2.0", "id": request_id, "method": "x", "params": params}, ensure_ascii=ascii_only
    ).encode("utf-8", "surrogatepass")
    message = read_line(line)
    assert isinstance(message, JSONRPCRequest)
    assert (message.id, message.params) == (request_id, params)


@given(line=st.binary(max_size=200))
def test_no_bytes_make_the_guard_raise(line: bytes) -> None:
    read_line(line)
    refuse_long(line)


@given(
    cut=st.integers(min_value=25, max_value=80), request_id=st.integers(-(10**15), 10**15) | st.text("ab é", max_size=5)
)
def test_a_request_cut_anywhere_after_its_id_is_refused_under_it(cut: int, request_id: object) -> None:
    head = json.dumps({"jsonrpc": "2.0", "id": request_id}, ensure_ascii=False)[:-1] + ","
    line = (head + '"method":"tools/call","params":{"name":"x","arguments":{"id":1}}}').encode()[
        : len(head.encode()) + cut - 25
    ]
    refused = read_line(line)
    assert isinstance(refused, Refused)
    assert (refused.code, refused.id) == (PARSE, request_id)


@given(data=st.binary(max_size=300).map(lambda b: b.replace(b"\x00", b"\n")), cuts=st.lists(st.integers(0, 300)))
def test_lines_do_not_depend_on_how_the_bytes_arrive(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(c, len(data)) for c in cuts), len(data)]
    lines = LineSplitter()
    found = [line for a, b in pairwise(edges) for line, _ in lines.feed(data[a:b])]
    found += [line for line, _ in lines.rest()]
    whole = data.split(b"\n")
    assert found == (whole if whole[-1] else whole[:-1])


def test_a_line_over_the_limit_is_refused_under_its_id_and_the_next_one_is_served() -> None:
    lines = LineSplitter(limit=1000)
    long = b'{"jsonrpc":"2.0","id":7,"method":"x","params":{"a":"' + b"y" * 2000 + b'"}}'
    taken = [item for chunk in (long[:900], long[900:], b"\nnext\n") for item in lines.feed(chunk)]
    assert [cut for _, cut in taken] == [True, False]
    refused = refuse_long(taken[0][0])
    assert refused is not None
    assert refused.id == 7
    assert taken[1][0] == b"next"

"""What JSON the API reads, and what it refuses though Python would take it."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cableway_handlers.api.problems import RequestError
from cableway_handlers.api.strict_json import MAX_DEPTH, parse


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"day": "2026-01-01", "n": 1.5, "deep": [{"a": null}]}',
        '{"emoji": "🚡", "é": "\\ud83d\\udea1"}'.encode(),
        b"[" * MAX_DEPTH + b"]" * MAX_DEPTH,
        b"[" + b"[]," * 1000 + b"[]]",
        b'"\\\\u0000 is only text"',
    ],
)
def test_honest_json_is_read_as_python_reads_it(body: bytes) -> None:
    assert parse(body) == json.loads(body)


@pytest.mark.promise("P24")
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"a": 1} x', "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": Infinity}', "Infinity"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1e400}', "out of range"),
        (b'{"a": ' + b"1" * 5000 + b"}", "too many digits"),
        (b'{"a": 1, "a": 2}', "same key twice"),
        (b'{"a": {"b": 1, "\\u0062": 2}}', "same key twice"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"\\udfff": 1}', "surrogate"),
        (b'{"a": "x\\u0000"}', "NUL"),
        (b'{"a\\u0000": 1}', "NUL"),
        (b'{"a": "\x00"}', "not JSON"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b'{"a": "\xed\xa0\x80"}', "UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "UTF-8"),
        ('{"a": 1}'.encode("utf-16-le"), "not JSON"),
        (b'\xef\xbb\xbf{"a": 1}', "not JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "deeper"),
        (b'{"a":' * 900 + b"1" + b"}" * 900, "deeper"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "deeper"),
    ],
)
def test_doubtful_json_is_refused_with_what_is_wrong(body: bytes, reason: str) -> None:
    with pytest.raises(RequestError, match=reason) as raised:
        parse(body)
    assert raised.value.status == 400


def test_the_message_never_repeats_the_body() -> None:
    with pytest.raises(RequestError) as raised:
        parse(b'{"password": "hunter2" "hunter2": 1, "hunter2": 2}')
    assert "hunter2" not in json.dumps(raised.value.problem())


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_request_error(body: bytes) -> None:
    with contextlib.suppress(RequestError):
        parse(body)

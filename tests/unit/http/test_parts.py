from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cableway.blocs.http.addresses import parsed
from cableway.blocs.http.body import read_body
from cableway.blocs.http.message import Request, json_body
from cableway.blocs.http.options import HttpOptions
from cableway.blocs.http.pagination import header_link
from cableway.blocs.http.paths import MISSING, JsonPath, path_fault
from cableway.blocs.http.retry import ALLOWANCE, RetryBudget, delay_s, may_pass, retry_after_s
from cableway.blocs.http.templates import (
    filled_header,
    filled_json,
    filled_url,
    template_fault,
    url_template_fault,
)
from cableway.context import MissingDataError
from cableway.errors import HttpError, RowError


async def pieces(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def unpacked(data: bytes, encoding: str, max_bytes: int = 1 << 22) -> bytes:
    return await read_body(pieces(data), encoding, max_bytes=max_bytes, place=lambda: "GET x")


async def test_bodies_are_unpacked() -> None:
    text = bytes(range(256)) * 12_000
    raw = zlib.compressobj(wbits=-15)
    assert await unpacked(text, "") == text
    assert await unpacked(gzip.compress(text), "GZIP") == text
    assert await unpacked(gzip.compress(text[:5]) + gzip.compress(text[5:]), "gzip") == text
    assert await unpacked(zlib.compress(text), "deflate") == text
    assert await unpacked(raw.compress(text) + raw.flush(), "deflate") == text
    assert await unpacked(b"", "gzip") == b""
    assert await unpacked(gzip.compress(b"\0" * (1 << 21)), "gzip") == b"\0" * (1 << 21)


@pytest.mark.fault("F7")
async def test_a_bomb_is_given_up_on_while_it_is_small() -> None:
    bomb = gzip.compress(b"\0" * (1 << 25), 9)
    with pytest.raises(HttpError, match="larger than 1000000 bytes") as caught:
        await unpacked(bomb, "gzip", max_bytes=1_000_000)
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize(
    ("data", "encoding"),
    [(b"no gzip", "gzip"), (gzip.compress(b"x" * 99, mtime=0)[:-9], "gzip"), (b"x", "br"), (b"x", "gzip, gzip")],
    ids=["nothing of it", "cut", "unknown", "twice"],
)
async def test_what_cannot_be_unpacked_is_said(data: bytes, encoding: str) -> None:
    with pytest.raises(HttpError) as caught:
        await unpacked(data, encoding)
    assert caught.value.reason == "encoding"


DOCUMENT: Any = {"data": {"items": [1, 2]}, "a.b": 3, "groups": [{"m": [1]}, {"m": [2, 3]}, {}], "none": None}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("data.items", [[1, 2]]),
        ("$.data.items[1]", [2]),
        ("$", [DOCUMENT]),
        ("['a.b']", [3]),
        ('$["a.b"]', [3]),
        ("groups[*].m", [[1], [2, 3]]),
        ("none", [None]),
        ("no.such", []),
        ("data.items[9]", []),
        ("data[0]", []),
    ],
)
def test_paths_lead_into_json(path: str, found: list[Any]) -> None:
    assert JsonPath(path).all(DOCUMENT) == found
    assert JsonPath(path).one(DOCUMENT) == (found[0] if found else MISSING)


def test_a_path_that_is_none_is_said() -> None:
    assert path_fault("data.items") is None
    assert path_fault("") == "is no path; write one such as data.items"
    assert "is no path" in str(path_fault("a..b"))
    assert "each member" in str(path_fault("a[*]"))
    assert path_fault("a[*]", one=False) is None
    assert "names alone" in str(path_fault("a[0]", names=True))
    assert JsonPath("page.after").placed({"page": {"size": 5}, "x": 1}, "c") == {
        "page": {"size": 5, "after": "c"},
        "x": 1,
    }


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=30))
def test_no_text_makes_the_reader_of_paths_fail(text: str) -> None:
    if path_fault(text, one=False) is None:
        JsonPath(text).all(DOCUMENT)


def request(method: str = "GET", **more: Any) -> Request:
    return Request(method=method, url=parsed("https://a.example/x?key=secret"), **more)


def failed(status: int | None = None, reason: Any = "status", asked: float | None = None) -> HttpError:
    return HttpError("x", place="y", reason=reason, http_status=status, retry_after_s=asked)


def test_what_did_something_is_sent_again_only_where_it_surely_did_nothing() -> None:
    for status in (429, 500, 502, 503, 504, 408):
        assert may_pass(request(), failed(status))
    for status in (400, 401, 404, 409, 410, 501):
        assert not may_pass(request(), failed(status))
    assert [may_pass(request("POST"), failed(status)) for status in (429, 503, 500, 504)] == [True, True, False, False]
    assert may_pass(request("POST", repeatable=True), failed(500))
    assert not may_pass(request("POST"), failed(reason="timeout"))
    assert may_pass(request("POST"), failed(reason="connect"))
    assert not may_pass(request(), failed(403))
    assert may_pass(request(), failed(403, asked=5))
    assert not may_pass(request(), failed(reason="address"))


@pytest.mark.fault("F15")
def test_repetitions_add_up_and_do_not_multiply() -> None:
    budget = RetryBudget(attempts=10)
    # A stage works on one item ten times, and every request of it fails.
    sent = 0
    for _ in range(10):
        sent += 1
        while budget.take("item"):
            sent += 1
    assert sent == 10 + 9


@pytest.mark.fault("F15")
def test_a_server_that_is_down_is_not_asked_by_everyone_as_often_as_anyone_may() -> None:
    budget = RetryBudget(attempts=10)
    repeated = sum(budget.take(f"item-{n}") for n in range(1000) for _ in range(9))
    assert repeated == ALLOWANCE
    for _ in range(20):
        budget.answered("other")
    assert [budget.take("x"), budget.take("x"), budget.take("x")] == [True, True, False]


@pytest.mark.fault("F7")
def test_waits_are_long_enough_and_no_longer_than_they_may_be() -> None:
    options = HttpOptions(wait_s=1, max_wait_s=5)
    assert 0.5 <= delay_s(options, 1, None) <= 1
    assert 2 <= delay_s(options, 3, None) <= 4
    assert delay_s(options, 1, 3.5) == 3.5
    assert delay_s(options, 1, 1e9) == 5
    assert delay_s(options, 1000, None) <= 5


def test_retry_after_is_read_in_both_forms() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert retry_after_s({"retry-after": "120"}) == 120
    assert retry_after_s({"retry-after": "1e9"}) == 1e9
    assert 50 < (retry_after_s({"retry-after": soon}) or 0) <= 60
    assert retry_after_s({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    for text in ("", "soon", "nan", "-5", "9" * 400):
        assert retry_after_s({"retry-after": text}) in {None, float("inf")}


def test_the_link_header_is_read() -> None:
    several = (
        '<https://a.example/?page=1>; rel="prev", <https://a.example/?page=3&x=a,b>; title="n; e"; rel="next last"'
    )
    assert header_link({"link": several}) == "https://a.example/?page=3&x=a,b"
    assert header_link({"link": "</x>; rel=next"}) == "/x"
    assert header_link({"link": "</x>; rel=prev"}) is None
    assert header_link({}) is None
    assert header_link({"link": "<" * 5000 + ";" * 5000 + " " * 50_000}) is None


def test_nothing_of_a_request_shows_that_may_be_secret() -> None:
    one = request(headers={"Authorization": "Bearer hidden"}, body=b"hidden")
    assert "secret" not in repr(one) + one.place
    assert "hidden" not in repr(one)


ROW: dict[str, Any] = {"id": 7, "name": "a/b?c=d&e#f", "up": "..", "f": 2.0, "when": datetime(2026, 1, 2, tzinfo=UTC)}


@pytest.mark.fault("F11")
def test_a_value_takes_its_place_and_no_more() -> None:
    assert filled_url("https://h.example/x/{id}?n={name}", ROW, "b") == "https://h.example/x/7?n=a%2Fb%3Fc%3Dd%26e%23f"
    assert filled_url("https://h.example/{f}/{{raw}}", ROW, "b") == "https://h.example/2/{raw}"
    assert filled_json({"a": "{id}", "b": ["n={id}"], "{id}": 1}, ROW, "b") == {"a": 7, "b": ["n=7"], "{id}": 1}
    assert filled_json("{when}", ROW, "b") == ROW["when"]
    literal = {"x": "{{7*7}} %s ${secret:X} {id}"}
    assert filled_json("{x}", literal, "b") == literal["x"]
    assert filled_header("t={name}", ROW, "b") == "t=a/b?c=d&e#f"


@pytest.mark.parametrize(
    "url", ["https://h.example/a/{up}/b", "https://h.example/.{dot}/b", "https://h.example/{none}"]
)
def test_a_value_does_not_lead_out_of_its_path(url: str) -> None:
    with pytest.raises(RowError):
        filled_url(url, {**ROW, "dot": ".", "none": None}, "b")


def test_a_value_does_not_end_a_header() -> None:
    with pytest.raises(RowError, match="end of a line"):
        filled_header("x={v}", {"v": "1\r\nEvil: 1"}, "b")


def test_a_place_without_a_value_is_named() -> None:
    with pytest.raises(MissingDataError, match=r"b wants 'nothing', and its input has: 'id'"):
        filled_url("https://h.example/{nothing}", {"id": 1}, "b")


@pytest.mark.parametrize("text", ["{", "}", "{a", "a}", "{a{b}}", "{}", "{a..b}"])
def test_a_template_that_is_none_is_said(text: str) -> None:
    assert template_fault(text) is not None


def test_a_template_never_chooses_the_host() -> None:
    assert url_template_fault("https://h.example/{a}") is None
    for url in ("{url}", "https://{host}/", "https://h.example{tail}/", "{scheme}://h/", "/path"):
        assert url_template_fault(url) is not None


def test_json_says_what_rows_hold() -> None:
    assert json_body({"t": datetime(2026, 1, 2, tzinfo=UTC), "b": b"\0"}) == (
        b'{"t":"2026-01-02T00:00:00+00:00","b":"AA=="}'
    )
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_body(float("nan"))
    with pytest.raises(TypeError, match="object is nothing"):
        json_body(object())

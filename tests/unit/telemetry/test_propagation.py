from __future__ import annotations

import pytest

from cableway.telemetry.propagation import IdPool, Remote, SpanIds, clean_tracestate, parse_remote

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


def test_a_valid_traceparent_is_continued_whatever_its_flags() -> None:
    for flags in ("00", "01", "ff"):
        assert parse_remote(f"00-{TRACE}-{SPAN}-{flags}") == Remote(TRACE, SPAN)


def test_a_later_version_may_say_more() -> None:
    assert parse_remote(f"cc-{TRACE}-{SPAN}-01-what-comes") == Remote(TRACE, SPAN)


@pytest.mark.parametrize(
    "garbage",
    [
        None,
        "",
        "garbage",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE[:-1]}٣-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-" + "x" * 10_000,
    ],
)
def test_garbage_is_no_context(garbage: str | None) -> None:
    assert parse_remote(garbage, "a=b") is None


def test_a_tracestate_is_carried_on_within_its_bounds() -> None:
    assert clean_tracestate("rojo=00f067aa, congo=t61 , t@v=1") == "rojo=00f067aa,congo=t61,t@v=1"
    for refused in ("a=" + "b" * 10_000, "a", "a=1,a=2", "A=1", "a=b\n", ",".join(f"k{n}=1" for n in range(33)), "a=é"):
        assert clean_tracestate(refused) == ""
    assert parse_remote(f"00-{TRACE}-{SPAN}-01", "not valid") == Remote(TRACE, SPAN)


def test_ids_are_of_the_right_form_and_all_different() -> None:
    pool = IdPool()
    ids = {pool.span_id() for _ in range(2_000)}
    assert len(ids) == 2_000
    assert all(len(each) == 16 and int(each, 16) for each in ids)


def test_ids_below_an_item_are_the_same_each_time_and_never_zero() -> None:
    first, again = SpanIds("ffffffffffffffff"), SpanIds("ffffffffffffffff")
    assert [first.next(), first.next()] == [again.next(), again.next()] == ["0000000000000001", "0000000000000002"]

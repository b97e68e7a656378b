from __future__ import annotations

import json

from cableway.telemetry.record import TEXT_LIMIT, SpanEvent, SpanRecord, bounded, text


def test_a_long_text_is_cut_and_says_so() -> None:
    cut = bounded("x" * 10_000_000)
    assert isinstance(cut, str)
    assert len(cut) == TEXT_LIMIT
    assert cut.endswith("…")


def test_a_text_is_valid_everywhere() -> None:
    assert text("a\0b\ud800c") == "a\ufffdb?c"
    assert bounded(b"ok \xff\xfe") == "ok \\xff\\xfe"


def test_what_is_neither_text_nor_number_is_named_and_not_shown() -> None:
    recursive: dict[str, object] = {"password": "canary-secret"}
    recursive["self"] = recursive
    assert bounded(recursive) == "<dict>"
    assert bounded(None) is None
    assert bounded(object()) == "<object>"


def test_a_list_is_flat_and_short() -> None:
    recursive: list[object] = ["a", 1, None]
    recursive.append(recursive)
    assert bounded(recursive) == ("a", "1", "None", "<list>")
    assert bounded(list(range(1_000_000))) == tuple(str(n) for n in range(32))


def test_numbers_that_a_wire_or_a_store_refuses_become_text() -> None:
    assert bounded(1 << 63) == "2**64"
    assert bounded(-(1 << 63)) == -(1 << 63)
    assert bounded(10**5000) == f"2**{(10**5000).bit_length()}"
    assert bounded(float("nan")) == "nan"
    assert bounded(float("-inf")) == "-inf"
    assert bounded(True) is True


def test_a_row_is_strict_json() -> None:
    record = SpanRecord(
        trace_id="a" * 32,
        span_id="b" * 16,
        parent_id=None,
        name="run",
        start_ns=1,
        end_ns=2,
        attributes={"list": ("a", "b"), "n": 1},
        status="error",
        message="it failed",
        events=[SpanEvent("retry", 1, {"n": 2})],
    )
    row = record.row()
    assert json.loads(json.dumps(row.attributes, allow_nan=False)) == {
        "list": ["a", "b"],
        "n": 1,
        "cableway.status.message": "it failed",
    }
    assert list(row.events) == [{"name": "retry", "at_ns": 1, "n": 2}]

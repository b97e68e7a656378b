from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cableway.store.storable import MAX_DEPTH, storable_json, storable_text


class Bad:
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ({"a": [1, 2.5, None, True]}, {"a": [1, 2.5, None, True]}),
        ("ä \U0001f600", "ä \U0001f600"),
        ("a\x00b", "a\ufffdb"),
        ("half \ud800", "half ?"),
        ({"k\x00": 1}, {"k\ufffd": 1}),
        (float("nan"), "nan"),
        ([float("-inf")], ["-inf"]),
        ({1: (2, 3)}, {"1": [2, 3]}),
        (b"raw", "b'raw'"),
        (Bad(), "<Bad>"),
        ([1 << 20_000], ["an integer of 20001 bits"]),
        ("a literal \\u0000", "a literal \\u0000"),
    ],
)
def test_it_becomes_json_that_postgres_takes(value: Any, kept: Any) -> None:
    assert json.loads(storable_json(value)) == kept


def test_what_holds_itself_comes_to_an_end() -> None:
    value: list[Any] = [1]
    value.extend([value, value])
    assert json.loads(storable_json(value)) == [1, "...", "..."]


def test_what_is_too_deep_comes_to_an_end() -> None:
    value: Any = float("nan")
    for _ in range(10_000):
        value = [value]
    text = storable_json(value)
    assert text.count("[") == MAX_DEPTH


@given(st.text())
def test_text_can_be_encoded_and_has_no_nul(text: str) -> None:
    kept = storable_text(text)
    assert "\x00" not in kept.encode().decode()
    assert len(kept) == len(text)

"""The arena, the leases on it, and what is packed how."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cableway.flow.lanes.frames import CALL, Frame, Inlet, decode
from cableway.flow.lanes.parcel import TooLargeError, place, receive
from cableway.flow.packing import LARGE_BYTES, pack
from cableway.flow.transfer import Arena, Leases
from tests import need


@pytest.fixture
def arena() -> Iterator[Arena]:
    made = Arena()
    yield made
    made.close()


@pytest.fixture
def leases(arena: Arena) -> Iterator[Leases]:
    made = Leases(os.dup(arena.fileno()))
    yield made
    made.close()


def sent(value: Any, arena: Arena, leases: Leases) -> Any:
    found = decode(place(value, arena).frame(CALL, 1).encode())
    assert found is not None
    return receive(found[0], leases)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"a" * LARGE_BYTES,
        bytearray(LARGE_BYTES + 1),
        ("tuple", b"b" * LARGE_BYTES, [b"c" * LARGE_BYTES]),
        {"deep": {"deeper": b"d" * LARGE_BYTES}},
        "text" * 100_000,
        list(range(100_000)),
        [b"e" * LARGE_BYTES] * 2_000,
    ],
    ids=["none", "bytes", "bytearray", "tuple", "dict", "text", "list", "many"],
)
def test_a_value_arrives_as_it_was(arena: Arena, leases: Leases, value: Any) -> None:
    assert sent(value, arena, leases) == value


def test_a_message_stays_small_whatever_it_carries(arena: Arena) -> None:
    assert len(place([bytes(LARGE_BYTES)] * 3_000, arena).frame(CALL, 1).encode()) < 48 * 1024


def test_an_array_crosses_without_a_copy_on_arrival(arena: Arena, leases: Leases) -> None:
    numpy: Any = need.module("numpy")
    array = sent(numpy.arange(100_000.0), arena, leases)
    assert not array.flags.owndata
    assert array.sum() == numpy.arange(100_000.0).sum()


def test_arrow_columns_cross_out_of_band(arena: Arena, leases: Leases) -> None:
    pyarrow: Any = need.module("pyarrow")
    table = pyarrow.table({"n": range(100_000), "s": ["text"] * 100_000})
    body, buffers = pack(table)
    assert len(body) < 2_000
    assert len(buffers) == 3
    assert sent(table, arena, leases).equals(table)


def test_a_block_is_told_free_when_the_last_view_of_it_goes(arena: Arena, leases: Leases) -> None:
    view = leases.take(*arena.put(memoryview(b"x" * LARGE_BYTES)))
    part = view[10:20]
    del view
    assert leases.freed() == []
    assert bytes(part) == b"x" * 10
    del part
    assert leases.freed() == [0]
    assert leases.freed() == []


def test_blocks_are_used_again(arena: Arena) -> None:
    first = arena.put(memoryview(b"a" * LARGE_BYTES))[0]
    second = arena.put(memoryview(b"b" * LARGE_BYTES))[0]
    arena.free(first)
    assert arena.put(memoryview(b"c" * LARGE_BYTES))[0] == first
    assert second != first


def test_a_value_over_the_limit_leaves_nothing_behind(arena: Arena) -> None:
    with pytest.raises(TooLargeError, match="1,000 that an item may have"):
        place(bytes(LARGE_BYTES), arena, limit_bytes=1_000)
    assert arena.held_bytes == 0


def test_views_outlive_both_ends(arena: Arena) -> None:
    own, ours = Arena(), None
    ours = Leases(os.dup(own.fileno()))
    view = ours.take(*own.put(memoryview(b"y" * LARGE_BYTES)))
    own.close()
    ours.close()
    assert view[0] == ord("y")


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40_000)), max_size=60), st.integers())
def test_blocks_in_use_never_overlap(steps: list[tuple[bool, int]], seed: int) -> None:
    arena, chosen = Arena(), random.Random(seed)
    held: dict[int, tuple[int, bytes]] = {}
    leases = Leases(os.dup(arena.fileno()))
    try:
        for number, (frees, size) in enumerate(steps):
            if frees and held:
                offset = chosen.choice(sorted(held))
                del held[offset]
                arena.free(offset)
            else:
                content = bytes([number % 256]) * size
                offset, length = arena.put(memoryview(content))
                held[offset] = (length, content)
        for offset, (length, content) in held.items():
            assert bytes(leases.take(offset, length)) == content
    finally:
        arena.close()
        leases.close()


@given(st.binary(max_size=200), st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 2**40)), max_size=5))
def test_a_stream_of_messages_is_read_in_any_pieces(body: bytes, refs: list[tuple[int, int]]) -> None:
    data = b"".join(Frame(CALL, n, a=n, b=2 * n, body=body, refs=refs, freed=(n,)).encode() for n in range(3))
    inlet = Inlet()
    read = [frame for at in range(0, len(data), 7) for frame in inlet.feed(data[at : at + 7])]
    assert [(f.seq, f.a, f.b, f.body, list(f.refs), list(f.freed)) for f in read] == [
        (n, n, 2 * n, body, refs, [n]) for n in range(3)
    ]

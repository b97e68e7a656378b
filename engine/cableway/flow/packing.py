"""
A value as pickle protocol 5 splits it: a pickle, and the large buffers beside it.

Bytes, byte arrays and memoryviews take this way too and arrive as what they were; of a slice of
Arrow data only the slice goes. Imported in workers, so it imports little.
"""

from __future__ import annotations

from importlib import import_module
from operator import is_
from pickle import PickleBuffer, dumps
from typing import Any, cast

LARGE_BYTES = 64 * 1024
"""Buffers from this size on travel out of band."""

_SCANNED = 64  # longer lists and dicts are not searched for large bytes


class _Aside:
    """Makes a large bytes-like value travel out of band and arrive as the type that it was."""

    __slots__ = ("_held",)

    def __init__(self, held: bytes | bytearray | memoryview) -> None:
        self._held = held

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return type(self._held), (PickleBuffer(self._held),)


def pack(value: Any) -> tuple[bytes, list[memoryview]]:
    """Return *value* as a pickle and the large buffers that belong to it.

    Raise whatever pickling it raises.
    """
    buffers: list[memoryview] = []

    def stays(buffer: PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < LARGE_BYTES:
            return True
        buffers.append(view)
        return False

    return dumps(_aside(value), 5, buffer_callback=stays), buffers


def _aside(value: Any) -> Any:
    """Return *value* with the large bytes in it, down to its members' members, made ready to travel."""
    if type(value) is tuple:
        members = cast("tuple[Any, ...]", value)
        if len(members) <= _SCANNED:
            return tuple([_aside_member(member) for member in members])
    return _aside_member(value)


def _aside_member(value: Any) -> Any:
    kind = cast("Any", type(value))
    if (kind is list or kind is tuple) and len(value) <= _SCANNED:
        leaves: list[Any] = [_aside_leaf(member) for member in value]
        return value if all(map(is_, leaves, value)) else cast("Any", kind(leaves))
    if kind is dict and len(value) <= _SCANNED:
        leaves = [_aside_leaf(member) for member in value.values()]
        return value if all(map(is_, leaves, value.values())) else dict(zip(value, leaves, strict=True))
    return _aside_leaf(value)


def _aside_leaf(value: Any) -> Any:
    kind = cast("Any", type(value))
    if kind is bytes or kind is bytearray:
        return _Aside(value) if len(value) >= LARGE_BYTES else value
    if kind is memoryview:
        return _Aside(value)
    return _compact(value) if kind.__module__ == "pyarrow.lib" else value


class _Compact:
    """An Arrow table or batch that is a small slice: only the slice travels, as IPC."""

    __slots__ = ("_batch", "_buffer")

    def __init__(self, value: Any, *, batch: bool) -> None:
        pa: Any = import_module("pyarrow")
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, value.schema) as writer:
            writer.write(value)
        self._buffer = memoryview(sink.getvalue())
        self._batch = batch

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _batch_from_ipc if self._batch else _table_from_ipc, (PickleBuffer(self._buffer),)


def _table_from_ipc(buffer: Any) -> Any:
    pa: Any = import_module("pyarrow")
    with pa.ipc.open_stream(pa.py_buffer(buffer)) as reader:
        return reader.read_all()


def _batch_from_ipc(buffer: Any) -> Any:
    pa: Any = import_module("pyarrow")
    with pa.ipc.open_stream(pa.py_buffer(buffer)) as reader:
        return reader.read_next_batch()


def _compact(value: Any) -> Any:
    """Pickling a slice of Arrow data takes the whole of its buffers along; return something that does not."""
    name = type(value).__name__
    if name not in {"Table", "RecordBatch"}:
        return value
    held = value.get_total_buffer_size()
    return _Compact(value, batch=name == "RecordBatch") if held >= LARGE_BYTES and held > 2 * value.nbytes else value

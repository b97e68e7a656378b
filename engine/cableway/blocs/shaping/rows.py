"""Rows taken out of a table, each to become a failed item of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cableway.blocs.tables import library
from cableway.items import Rejected

_AT_ONCE = 1_000


def without_rows(table: Any, original: Any, bad: Mapping[int, Exception]) -> Iterator[Any]:
    """*table* without the rows *bad* and, after it, each of those with the values that it had in *original*."""
    pa, pc = library("pyarrow"), library("pyarrow.compute")
    rows = sorted(bad)
    keep = pc.invert(pc.is_in(pa.array(range(table.num_rows), pa.int64()), pa.array(rows, pa.int64())))
    yield table.filter(keep)
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        values: list[dict[str, Any]] = original.take(pa.array(some, pa.int64())).to_pylist()
        for row, value in zip(some, values, strict=True):
            yield Rejected(bad[row], value)

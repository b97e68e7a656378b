"""Rows taken out of a table, each to become a dead letter of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cableway.blocs.tables import library
from cableway.refused import RefusedRow, Sifted

LISTED = 1_000
"""Rows of one item that are kept as letters; beyond them they are counted."""


def without_rows(table: Any, original: Any, bad: Mapping[int, Exception]) -> Sifted:
    """*table* without the rows *bad*, which are refused with the values that they had in *original*."""
    pa, pc = library("pyarrow"), library("pyarrow.compute")
    listed = sorted(bad)[:LISTED]
    payloads: list[dict[str, Any]] = original.take(pa.array(listed, pa.int64())).to_pylist()
    refused = [RefusedRow(str(row), bad[row], payload) for row, payload in zip(listed, payloads, strict=True)]
    keep = pc.invert(pc.is_in(pa.array(range(table.num_rows), pa.int64()), pa.array(sorted(bad), pa.int64())))
    return Sifted(table.filter(keep), refused, left_out=len(bad) - len(listed))

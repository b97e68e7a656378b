"""A CSV file with eight columns of different types, the same on every machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cableway.blocs.tables import library

BLOCK_ROWS = 100_000
TYPES = {
    "id": "bigint",
    "customer": "bigint",
    "amount": "double precision",
    "rate": "double precision",
    "paid": "boolean",
    "day": "date",
    "at": "timestamp",
    "note": "text",
}


def write(path: Path, rows: int) -> None:
    """Write *rows* rows to *path*: about 103 bytes each, with quoted text."""
    arrow_csv = library("pyarrow.csv")
    with path.open("wb") as file:
        for start in range(0, rows, BLOCK_ROWS):
            options = arrow_csv.WriteOptions(include_header=start == 0)
            arrow_csv.write_csv(_block(start, min(BLOCK_ROWS, rows - start)), file, options)


def _block(start: int, rows: int) -> Any:
    np, pa = library("numpy"), library("pyarrow")
    chance = np.random.default_rng(start)
    numbers = chance.integers(0, 10**9, rows)
    return pa.table(
        {
            "id": np.arange(start, start + rows),
            "customer": chance.integers(0, 100_000, rows),
            "amount": np.round(chance.random(rows) * 1000, 2),
            "rate": chance.random(rows),
            "paid": chance.random(rows) < 0.5,
            "day": pa.array(chance.integers(10_000, 15_000, rows).astype("int32")).cast(pa.date32()),
            "at": pa.array(chance.integers(1_600_000_000, 1_700_000_000, rows)).cast(pa.timestamp("s")),
            "note": pa.array(np.char.add("note about item ", numbers.astype(str))),
        }
    )

"""The types of columns as configs name them, and the Arrow types that they stand for."""

from __future__ import annotations

import re
from typing import Any

from cableway.blocs.tables import library

_DECIMAL = re.compile(r"decimal\((\d{1,2}), ?(\d{1,2})\)")
NAMES = ("boolean", "date", "integer", "number", "string", "timestamp", "timestamptz", "decimal(P,S)")
ALIASES = {"bool": "boolean", "float64": "number", "int64": "integer"}


def type_fault(name: str) -> str | None:
    """What is wrong with *name* as a type; None where nothing is."""
    if name in NAMES[:-1] or name in ALIASES:
        return None
    decimal = _DECIMAL.fullmatch(name)
    if decimal is None:
        return f"is no type; there are: {', '.join(NAMES)}"
    digits, places = int(decimal[1]), int(decimal[2])
    return (
        None if 1 <= digits <= 38 and places <= digits else "a decimal has 1 to 38 digits, and no more behind its point"
    )


def arrow_type(name: str) -> Any:
    """The Arrow type for *name*, in which `type_fault` found nothing wrong."""
    pa = library("pyarrow")
    decimal = _DECIMAL.fullmatch(name)
    if decimal is not None:
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    known = {
        "boolean": pa.bool_(),
        "date": pa.date32(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "string": pa.string(),
        "timestamp": pa.timestamp("us"),
        "timestamptz": pa.timestamp("us", "UTC"),
    }
    return known[ALIASES.get(name, name)]

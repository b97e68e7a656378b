"""Columns as Postgres is to write them in CSV, so that the rows are those of ``csv_exporter`` byte for byte.

But for numbers with an exponent, which look as Postgres writes them: ``1e-05`` for ``0.00001``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, get_args

from psycopg.sql import SQL, Composable, Composed, Identifier

if TYPE_CHECKING:
    from cableway.blocs.postgres.arrow import Field

CsvForm = Literal["number", "text", "boolean", "date", "timestamp", "timestamptz"]
"""How values of a column stand in CSV; other columns are parsed and written by Arrow."""

_BOOLEAN = SQL("CASE WHEN {0} THEN 'true' WHEN NOT {0} THEN 'false' END AS {0}")
# What Arrow cannot hold becomes a word that is looked for.
_DATE = SQL("CASE WHEN {0} BETWEEN '0001-01-01' AND '9999-12-31' THEN {0}::text WHEN {0} IS NOT NULL THEN 'Inf' END")
_INSTANT = SQL(
    "CASE WHEN {0} BETWEEN '0001-01-01' AND '9999-12-31 23:59:59.999999' "
    "THEN CASE WHEN {0}::timestamp(0) = {0} THEN {0}::text || {1} ELSE rpad({0}::text, 26, '0') || {2} END "
    "WHEN {0} IS NOT NULL THEN 'Inf' END"
)
_ODD = (b"Inf", b"NaN")
_FORCED = SQL(", FORCE_QUOTE ({})")


def known_form(fields: Sequence[Field]) -> bool:
    """Whether all of *fields* have a form in CSV."""
    return all(field.csv in get_args(CsvForm) for field in fields)


def csv_column(field: Field) -> Composable:
    """What to select for a column that has a form."""
    name = Identifier(field.name)
    match field.csv:
        case "boolean":
            return _BOOLEAN.format(name)
        case "date":
            return _DATE.format(name) + SQL(" AS {}").format(name)
        case "timestamp":
            return _INSTANT.format(name, SQL("'.000000'"), SQL("''")) + SQL(" AS {}").format(name)
        case "timestamptz":
            utc = SQL("({}::timestamp)").format(name)  # the session's zone is UTC
            return _INSTANT.format(utc, SQL("'.000000Z'"), SQL("'Z'")) + SQL(" AS {}").format(name)
        case _:
            return name


def csv_options(fields: Iterable[Field]) -> Composed:
    """Further options of the COPY: texts stand in quotes."""
    texts = [Identifier(field.name) for field in fields if field.csv == "text"]
    return _FORCED.format(SQL(", ").join(texts)) if texts else Composed([])


def holds_oddities(data: bytearray) -> bool:
    """Whether *data* may hold a value that Arrow writes otherwise, or cannot hold; a text can make it look so."""
    return any(word[:1] in data and word in data for word in _ODD)  # a single byte is found ten times as fast

"""The table that rows go to: found, made, emptied, copied into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString, cast

import psycopg
from psycopg import Connection
from psycopg.sql import SQL, Identifier

from cableway.blocs.copy_format import csv_chunks, fitted, place_of_nul, postgres_type, row_of_line
from cableway.blocs.postgres_faults import CHARACTER_NOT_IN_REPERTOIRE, row_error
from cableway.errors import RowError, SinkError

MAX_IDENTIFIER_BYTES = 63

_FIND_COLUMNS = SQL(
    "SELECT a.attname AS name, format_type(a.atttypid, NULL) AS type, c.relkind AS kind "
    "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' "
    "WHERE n.nspname = %s AND c.relname = %s ORDER BY a.attnum"
)
_MAKE = SQL("CREATE TABLE {} ({})")
_EMPTY = SQL("DELETE FROM {}")
_COPY = SQL("COPY {} ({}) FROM STDIN (FORMAT csv)")
_LOCK = SQL("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))")


@dataclass(frozen=True, slots=True)
class Target:
    """A table by its name; it need not be there."""

    schema: str
    table: str

    @property
    def where(self) -> str:
        """The table's name for messages."""
        return f"table {self.schema}.{self.table}"

    def columns(self, connection: Connection[Any]) -> dict[str, str]:
        """The types of the columns that can be written, by name; empty where there is no table."""
        rows = connection.execute(_FIND_COLUMNS, (self.schema, self.table)).fetchall()
        if rows and rows[0]["kind"] not in {"r", "p", "f"}:
            raise SinkError(f"{self.where}: is a view or the like, and rows go into tables")
        return {row["name"]: row["type"] for row in rows if row["name"] is not None}

    def lock(self, connection: Connection[Any]) -> None:
        """Wait until no other run writes the whole table; until the transaction ends none does."""
        connection.execute(_LOCK, (f"cableway table {self.schema}.{self.table}",))

    def make(self, connection: Connection[Any], table: Any) -> dict[str, str]:
        """Create it for the columns of the Arrow *table*, and return their types."""
        self._check_names(table)
        columns = {column.name: postgres_type(column.type) for column in table.schema}
        parts = [
            SQL("{} {}").format(Identifier(name), SQL(cast("LiteralString", kind))) for name, kind in columns.items()
        ]
        connection.execute(_MAKE.format(self._identifier, SQL(", ").join(parts)))
        return columns

    def empty(self, connection: Connection[Any]) -> None:
        """Delete all rows. Not TRUNCATE: a reader with an older snapshot would see no row at all."""
        connection.execute(_EMPTY.format(self._identifier))

    def copy(self, connection: Connection[Any], table: Any, columns: Mapping[str, str]) -> int:
        """Append the rows of the Arrow *table* and return how many. Each of its columns must be one of *columns*.

        Raise `RowError` for a row that the table does not take, and `SinkError` naming a column that it does not have.
        """
        self._check_names(table)
        absent = [name for name in table.column_names if name not in columns]
        if absent:
            raise SinkError(f"{self.where} has no column {_listed(absent)}; it has: {_listed(columns)}")
        rows = fitted(table, columns, self.where)
        names = SQL(", ").join(Identifier(name) for name in rows.column_names)
        try:
            with connection.cursor().copy(_COPY.format(self._identifier, names)) as copy:
                for chunk in csv_chunks(rows):
                    copy.write(chunk)
        except psycopg.Error as error:
            refused = row_error(error, self.where, self.table, columns, lambda line: row_of_line(rows, line))
            if refused is None:
                raise
            nul = place_of_nul(rows) if error.sqlstate == CHARACTER_NOT_IN_REPERTOIRE else None
            if nul is not None:
                raise RowError(refused.reason, where=self.where, row=nul[0], column=nul[1]) from None
            raise refused from None
        return int(rows.num_rows)

    def _check_names(self, table: Any) -> None:
        names: list[str] = table.column_names
        if not names:
            raise SinkError(f"{self.where}: the rows have no columns")
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise SinkError(f"{self.where}: the rows have the column {_listed(sorted(twice))} twice")
        bad = [name for name in names if not name or "\x00" in name or len(name.encode()) > MAX_IDENTIFIER_BYTES]
        if bad:
            raise SinkError(
                f"{self.where}: Postgres keeps names of 1 to {MAX_IDENTIFIER_BYTES} bytes without NUL, "
                f"and {len(bad)} of the columns are named otherwise; the first begins {bad[0][:20]!r}"
            )

    @property
    def _identifier(self) -> Identifier:
        return Identifier(self.schema, self.table)


def _listed(names: Any) -> str:
    return ", ".join(repr(name) for name in names)

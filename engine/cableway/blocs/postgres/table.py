"""The table that rows go to: found, made, emptied, copied into."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString, cast

import psycopg
from psycopg import Connection
from psycopg.sql import SQL, Composed, Identifier

from cableway.blocs.postgres.copy_binary import binary_chunks
from cableway.blocs.postgres.copy_format import csv_chunks, fitted, place_of_nul, postgres_type, row_of_line
from cableway.blocs.postgres.faults import CHARACTER_NOT_IN_REPERTOIRE, row_error
from cableway.errors import RowError, SinkError

MAX_IDENTIFIER_BYTES = 63

_FIND_COLUMNS = SQL(
    "SELECT a.attname AS name, format_type(a.atttypid, NULL) AS type, c.relkind AS kind "
    "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' "
    "WHERE n.nspname = %s AND c.relname = %s ORDER BY a.attnum"
)
_FIND_KEYS = SQL(
    "SELECT array_agg(a.attname::text) AS names FROM pg_index i "
    "JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey[:i.indnkeyatts - 1]) "
    "WHERE i.indrelid = to_regclass(%s) AND i.indisunique AND i.indisvalid AND i.indimmediate "
    "AND i.indpred IS NULL AND i.indexprs IS NULL GROUP BY i.indexrelid"
)
_MAKE_KEY = SQL("CREATE UNIQUE INDEX ON {} ({})")
_MAKE = SQL("CREATE TABLE {} ({})")
_COLUMN = SQL("{} {}")
_PRIMARY_KEY = SQL("PRIMARY KEY ({})")
_ADD_COLUMNS = SQL("ALTER TABLE {} {}")
_ADD_COLUMN = SQL("ADD COLUMN IF NOT EXISTS {} {}")
_EMPTY = SQL("DELETE FROM {}")
_COPY = SQL("COPY {} ({}) FROM STDIN (FORMAT csv)")
_COPY_BINARY = SQL("COPY {} ({}) FROM STDIN (FORMAT binary)")
_LOCK = SQL("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))")


@dataclass(frozen=True, slots=True)
class Target:
    """A table by its name; it need not be there."""

    schema: str
    table: str
    shown_as: str | None = None

    @property
    def where(self) -> str:
        """The table's name for messages."""
        return self.shown_as or f"table {self.schema}.{self.table}"

    def columns(self, connection: Connection[Any]) -> dict[str, str]:
        """The types of the columns that can be written, by name; empty where there is no table."""
        rows = connection.execute(_FIND_COLUMNS, (self.schema, self.table)).fetchall()
        if rows and rows[0]["kind"] not in {"r", "p", "f"}:
            raise SinkError(f"{self.where}: is a view or the like, and rows go into tables")
        return {row["name"]: row["type"] for row in rows if row["name"] is not None}

    def lock(self, connection: Connection[Any]) -> None:
        """Wait until no other run writes the whole table; until the transaction ends none does."""
        connection.execute(_LOCK, (f"cableway table {self.schema}.{self.table}",))

    def make(self, connection: Connection[Any], table: Any, key: Sequence[str] = ()) -> dict[str, str]:
        """Create it for the columns of the Arrow *table*, *key* its primary key, and return their types."""
        self._check_names(table)
        columns = {column.name: postgres_type(column.type) for column in table.schema}
        self.check_there(key, columns, "and 'key' names it")
        parts = [_COLUMN.format(Identifier(name), _type(kind)) for name, kind in columns.items()]
        if key:
            parts.append(_PRIMARY_KEY.format(listed(key)))
        connection.execute(_MAKE.format(self.identifier, SQL(", ").join(parts)))
        return columns

    def widen(self, connection: Connection[Any], table: Any, columns: Mapping[str, str]) -> dict[str, str]:
        """Add the columns of the Arrow *table* that are not among *columns*, and return the types of all."""
        self._check_names(table)
        more = {field.name: postgres_type(field.type) for field in table.schema if field.name not in columns}
        parts = [_ADD_COLUMN.format(Identifier(name), _type(kind)) for name, kind in more.items()]
        connection.execute(_ADD_COLUMNS.format(self.identifier, SQL(", ").join(parts)))
        return self.columns(connection)

    def require_key(self, connection: Connection[Any], key: Sequence[str], columns: Mapping[str, str]) -> None:
        """Raise `SinkError` unless a unique index of the table's is on exactly the columns *key*."""
        self.check_there(key, columns, "and 'key' names it")
        found = connection.execute(_FIND_KEYS, (self.identifier.as_string(connection),)).fetchall()
        if not any(set(row["names"]) == set(key) for row in found):
            advice = _MAKE_KEY.format(self.identifier, listed(key)).as_string()
            raise SinkError(
                f"{self.where}: no unique index is on the key {_quoted(key)} alone, and rows are told apart by it; "
                f"make one: {advice}"
            )

    def empty(self, connection: Connection[Any]) -> None:
        """Delete all rows. Not TRUNCATE: a reader with an older snapshot would see no row at all."""
        connection.execute(_EMPTY.format(self.identifier))

    def copy(
        self, connection: Connection[Any], table: Any, columns: Mapping[str, str], into: Target | None = None
    ) -> int:
        """Append the rows of the Arrow *table*, to the table *into* in place of this one where that is given.

        Return how many. Each of the rows' columns must be one of *columns*.

        Raise `RowError` for a row that the table does not take, and `SinkError` naming a column that it does not have.
        """
        self._check_names(table)
        self.check_there(table.column_names, columns)
        place = into or self
        binary = binary_chunks(table, columns)
        rows = table if binary is not None else fitted(table, columns, self.where)
        statement, chunks = (_COPY, csv_chunks(rows)) if binary is None else (_COPY_BINARY, binary)
        row_of: Callable[[int], int] = (lambda line: row_of_line(rows, line)) if binary is None else int
        try:
            with connection.cursor().copy(statement.format(place.identifier, listed(rows.column_names))) as copy:
                for chunk in chunks:
                    copy.write(chunk)
        except psycopg.Error as error:
            refused = row_error(error, self.where, place.table, columns, row_of)
            if refused is None:
                raise
            nul = place_of_nul(rows) if error.sqlstate == CHARACTER_NOT_IN_REPERTOIRE else None
            if nul is not None:
                raise RowError(refused.reason, where=self.where, row=nul[0], column=nul[1]) from None
            raise refused from None
        return int(rows.num_rows)

    def check_there(self, names: Iterable[str], columns: Iterable[str], why: str = "") -> None:
        """Raise `SinkError` saying *why* where one of *names* is not among the table's *columns*."""
        absent = [name for name in names if name not in columns]
        if absent:
            reason = f", {why}" if why else ""
            raise SinkError(f"{self.where} has no column {_quoted(absent)}{reason}; it has: {_quoted(columns)}")

    def _check_names(self, table: Any) -> None:
        names: list[str] = table.column_names
        if not names:
            raise SinkError(f"{self.where}: the rows have no columns")
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise SinkError(f"{self.where}: the rows have the column {_quoted(sorted(twice))} twice")
        bad = [name for name in names if not name or "\x00" in name or len(name.encode()) > MAX_IDENTIFIER_BYTES]
        if bad:
            raise SinkError(
                f"{self.where}: Postgres keeps names of 1 to {MAX_IDENTIFIER_BYTES} bytes without NUL, "
                f"and {len(bad)} of the columns are named otherwise; the first begins {bad[0][:20]!r}"
            )

    @property
    def identifier(self) -> Identifier:
        """The table's name for statements."""
        return Identifier(self.schema, self.table)


def listed(names: Iterable[str]) -> Composed:
    """Columns as a statement lists them."""
    return SQL(", ").join(map(Identifier, names))


def _type(kind: str) -> SQL:
    return SQL(cast("LiteralString", kind))


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))

"""What a ``postgres_loader`` reads: a table or a query, described, bounded, and streamed by COPY."""

from __future__ import annotations

import csv
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, LiteralString, NamedTuple, cast

import psycopg
from psycopg import ClientCursor, Connection
from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from cableway.blocs.csv_files.rows import CsvRows
from cableway.blocs.postgres.arrow import Field, Numerics, Parser, field_of
from cableway.blocs.postgres.copying import CopyOut, Row
from cableway.blocs.postgres.csv_text import csv_column, csv_options, holds_oddities, known_form
from cableway.blocs.postgres.ranges import Key, Range
from cableway.errors import CredentialsError, SourceError

_BEGIN = SQL("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
_SESSION = SQL(
    "SELECT set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO, YMD', true), "
    "set_config('IntervalStyle', 'postgres', true), set_config('bytea_output', 'hex', true), "
    "set_config('extra_float_digits', '1', true), set_config('client_encoding', 'UTF8', true), "
    "set_config('statement_timeout', '0', true), set_config('idle_in_transaction_session_timeout', '0', true)"
)
_DESCRIBE = SQL("SELECT * FROM ({}) AS rows LIMIT 0")
_TYPES = SQL(
    "SELECT oid, typcategory = 'A' AS is_array, format_type(oid, NULL) AS name, typcollation <> 0 AS collates "
    "FROM pg_type WHERE oid = ANY(%s)"
)
_LAST = SQL("SELECT {} FROM ({}) AS rows ORDER BY {} LIMIT 1")
_ENDS = SQL(
    "SELECT DISTINCT ON (share) {} FROM (SELECT {}, ntile({}) OVER (ORDER BY {}) AS share FROM ({}) AS rows) AS shared "
    "ORDER BY share, {}"
)
_KEYLESS = SQL("SELECT EXISTS (SELECT FROM ({}) AS rows WHERE {}) AS found")
_COLLATION = SQL("SELECT pg_collation_for({}) AS name FROM ({}) AS rows LIMIT 1")
_SORTED = SQL("SELECT place FROM unnest({}) WITH ORDINALITY AS known ({}, place) ORDER BY {}")
_COPY = SQL("COPY (SELECT {} FROM ({}) AS rows{}{}) TO STDOUT (FORMAT csv{})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What to read. ``where`` names it in messages."""

    rows: Composable
    where: str
    columns: Sequence[str] | None = None
    key: tuple[str, ...] = ()
    numerics: Numerics = "decimal"
    conditions: Sequence[Composable] = field(default_factory=list[Composable])
    as_csv: bool = False
    """Give `CsvRows` where that makes no difference to who writes them to a CSV file, else tables."""


@contextmanager
def snapshot(connection: Connection[Any], where: str) -> Generator[None]:
    """One transaction that only reads, and sees what was there when it began. psycopg's errors are said anew."""
    try:
        connection.execute(_BEGIN)
        connection.execute(_SESSION)
        yield
    except psycopg.Error as error:
        raise _said_anew(error, where) from None
    finally:
        connection.close()


class _Block(NamedTuple):
    """Rows as one piece, the last of them, and the one that comes after it."""

    data: bytearray
    rows: int
    last: Row
    following: Row | None


class Reader:
    """Reads a *selection* over a connection inside of `snapshot`."""

    def __init__(self, connection: Connection[Any], selection: Selection) -> None:
        self._connection = connection
        self._selection = selection
        self._where = selection.where
        self._kinds: dict[int, Any] = {}
        self._key_oids: list[int] = []
        every = self._described()
        chosen = selection.columns or list(every)
        self._require(chosen, every, "columns")
        self._require(selection.key, every, "key")
        more = [name for name in selection.key if name not in chosen]
        self._fields = [every[name] for name in (*chosen, *more)]
        self._shown = len(chosen)
        self._key_places = [[*chosen, *more].index(name) for name in selection.key]
        self._parser = Parser(self._fields)
        # Of a key's column positions are made, which have to look as they do everywhere else.
        keyed = any(self._fields[place].csv not in {"number", "text"} for place in self._key_places)
        self._as_csv = selection.as_csv and not more and not keyed and known_form(self._fields)

    def last_key(self) -> Key | None:
        """The highest key; None where there are no rows. Raise `SourceError` where a row has none."""
        missing = SQL(" OR ").join(SQL("{} IS NULL").format(name) for name in self._key)
        found = self._one(_KEYLESS.format(self._bounded, missing))
        if found["found"]:
            raise SourceError(f"{self._where}: there are rows without a value in the key; choose columns without nulls")
        texts = SQL(", ").join(
            SQL("{}::text AS {}").format(name, Identifier(f"k{number}")) for number, name in enumerate(self._key)
        )
        order = SQL(", ").join(SQL("{} DESC").format(name) for name in self._key)
        row = self._connection.execute(_LAST.format(texts, self._bounded, order)).fetchone()
        return None if row is None else tuple(row.values())

    def ends(self, parts: int) -> list[Key]:
        """The last keys of so many ranges with as many rows in each; where there are fewer rows, of as many ranges."""
        if self.last_key() is None:
            return []
        names = [Identifier(f"k{number}") for number in range(len(self._key))]
        statement = _ENDS.format(
            # By other names, for else they would be what is sorted by.
            SQL(", ").join(SQL("{}::text AS {}").format(name, Identifier(f"t{n}")) for n, name in enumerate(names)),
            SQL(", ").join(SQL("{} AS {}").format(*pair) for pair in zip(self._key, names, strict=True)),
            Literal(parts),
            SQL(", ").join(self._key),
            self._bounded,
            SQL(", ").join(SQL("{} DESC").format(name) for name in names),
        )
        return [tuple(row.values()) for row in self._connection.execute(statement).fetchall()]

    def in_order(self, ranges: Iterable[Range]) -> list[Range]:
        """*ranges* with the lowest first, by the order of the database."""
        every = list(dict.fromkeys(ranges))
        first = [piece for piece in every if piece.low is None]
        others = [piece for piece in every if piece.low is not None]
        if len(others) < 2:
            return first + others
        keys = [Identifier(f"k{number}") for number in range(len(self._key))]
        columns = [[piece.low[number] for piece in others if piece.low] for number in range(len(keys))]
        statement = _SORTED.format(
            SQL(", ").join([SQL("%s::text[]")] * len(keys)),
            SQL(", ").join(keys),
            SQL(", ").join(SQL("{}::").format(name) + kind for name, kind in zip(keys, self._key_types(), strict=True)),
        )
        rows = self._connection.execute(statement, columns).fetchall()
        return first + [others[row["place"] - 1] for row in rows]

    def _key_types(self) -> Iterator[Composed]:
        """The types of the key's columns, with the collations that put texts in order."""
        for name, oid in zip(self._key, self._key_oids, strict=True):
            kind = self._kinds[oid]
            words = SQL(cast("LiteralString", kind["name"])).format()
            if kind["collates"]:
                found = self._one(_COLLATION.format(name, self._rows))
                words += SQL(cast("LiteralString", f" COLLATE {found['name']}" if found else "")).format()
            yield words

    def whole(self, bounds: Range | None = None) -> Any:
        """One table with all rows, or with those of *bounds*."""
        data = bytearray()
        with self._copy(bounds) as copy:
            rows, _ = copy.take(data)
        return self._made(data, rows)

    def batches(self, size: int) -> Iterator[Any]:
        """Tables of *size* rows, the last one of fewer."""
        for block in self._blocks(None, size):
            yield self._made(block.data, block.rows)

    def ranges(self, bounds: Range, size: int) -> Iterator[tuple[Range, Any]]:
        """Tables of about *size* rows with the ranges that they are; the last one reaches to the end of *bounds*."""
        low = bounds.low
        for block in self._blocks(bounds, size):
            high = bounds.high if block.following is None else self._key_of(block.last)
            if block.following is not None and high == self._key_of(block.following):
                raise SourceError(f"{self._where}: the key is not unique: two rows have the same values in it")
            yield Range(low, high), self._made(block.data, block.rows)
            low = high

    def _blocks(self, bounds: Range | None, size: int) -> Iterator[_Block]:
        with self._copy(bounds) as copy:
            following = bytearray()
            _, last = copy.take(following, 1)
            while following:
                # One growing piece of memory: as objects of their own the rows would cost twice as much time.
                data, first = following, last
                more, last = copy.take(data, size - 1)
                following = bytearray()
                reached = last if more else first
                _, last = copy.take(following, 1)
                yield _Block(data, 1 + more, reached, last if following else None)

    @contextmanager
    def _copy(self, bounds: Range | None) -> Generator[CopyOut]:
        """The rows as the server sends them."""
        columns = SQL(", ").join(map(csv_column if self._as_csv else _column, self._fields))
        options = csv_options(self._fields) if self._as_csv else SQL("")
        order = SQL(" ORDER BY {}").format(SQL(", ").join(self._key)) if bounds is not None else SQL("")
        statement = _COPY.format(columns, self._rows, self._conditions(bounds), order, options)
        copy = CopyOut(self._connection, statement)
        try:
            yield copy
        finally:
            if not copy.ended:
                self._connection.close()  # else the rest of the rows would have to be waited for

    def _made(self, data: bytearray, rows: int) -> Any:
        if self._as_csv and not holds_oddities(data):
            return CsvRows(data, rows, self._parser.schema, partial(self._table, data))
        return self._table(data)

    def _table(self, data: bytearray) -> Any:
        table = self._parser.table(data, self._where)
        return table.select(range(self._shown)) if self._shown < len(self._fields) else table

    def _key_of(self, line: Row) -> Key:
        fields = next(csv.reader([bytes(line).decode()], strict=True))
        return tuple(fields[place] for place in self._key_places)

    def _described(self) -> dict[str, Field]:
        # In binary form, for then the server takes one statement and no more.
        cursor = self._connection.execute(_DESCRIBE.format(self._rows), binary=True)
        columns = cursor.description or []
        names = [column.name for column in columns]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise SourceError(f"{self._where}: gives the column {min(twice)!r} twice; name one of them anew")
        oids = [column.type_code for column in columns]
        found = self._connection.execute(_TYPES, (oids,)).fetchall()
        self._kinds = {row["oid"]: row for row in found}
        self._key_oids = [column.type_code for key in self._selection.key for column in columns if column.name == key]
        return {
            column.name: field_of(
                column, is_array=self._kinds[column.type_code]["is_array"], numerics=self._selection.numerics
            )
            for column in columns
        }

    def _require(self, names: Iterable[str], there: Mapping[str, Field], option: str) -> None:
        for name in names:
            if name not in there:
                listed = ", ".join(map(repr, there))
                raise SourceError(f"{self._where} has no column {name!r}, which {option!r} names; it has: {listed}")

    @property
    def _key(self) -> list[Identifier]:
        return [Identifier(name) for name in self._selection.key]

    @property
    def _rows(self) -> Composable:
        return self._selection.rows

    @property
    def _bounded(self) -> Composable:
        return SQL("SELECT * FROM ({}) AS rows{}").format(self._rows, self._conditions(None))

    def _conditions(self, bounds: Range | None) -> Composable:
        conditions = list(self._selection.conditions)
        key = SQL(", ").join(self._key)
        ends: list[tuple[SQL, Key | None]] = []
        if bounds is not None:
            ends = [(SQL(">"), bounds.low), (SQL("<="), bounds.high)]
        for sign, end in ends:
            if end is not None:
                conditions.append(SQL("({}) {} ({})").format(key, sign, _literals(end)))
        return SQL(" WHERE {}").format(SQL(" AND ").join(conditions)) if conditions else SQL("")

    def _one(self, statement: Any) -> Any:
        return self._connection.execute(statement).fetchone()


def _column(field: Field) -> Composable:
    name = Identifier(field.name)
    return SQL("to_json({})").format(name) if field.is_array else name


def _literals(key: Key) -> Composed:
    return SQL(", ").join(Literal(value) for value in key)


def query_rows(connection: Connection[Any], query: str, parameters: Mapping[str, Any] | None) -> Composable:
    """The *query* as rows to select from, its *parameters* written in as literals."""
    text = query.strip().rstrip(";")
    if parameters is not None:
        text = ClientCursor(connection).mogrify(cast("LiteralString", text), parameters)
    return SQL(cast("LiteralString", f"{text}\n".replace("{", "{{").replace("}", "}}"))).format()


def _said_anew(error: psycopg.Error, where: str) -> SourceError | CredentialsError:
    state, said = error.sqlstate, error.diag.message_primary
    if state is None and isinstance(error, psycopg.ProgrammingError):
        return SourceError(f"{where}: its placeholders and 'parameters' do not fit")
    if state is None or state[:2] in {"08", "57"}:
        return SourceError(f"{where}: the connection to Postgres was lost")
    match state:
        case "42501":
            return CredentialsError(f"{where}: the role has no right to read this: {said}")
        case "42P01" | "3F000":
            return SourceError(f"{where}: there is no such table: {said}")
        case "25001" | "25006":
            return SourceError(f"{where}: wants to write, and a loader only reads")
        case _ if state.startswith("42"):
            return SourceError(f"{where}: Postgres does not understand it: {said}")
        case _:
            return SourceError(f"{where}: Postgres refused ({type(error).__name__}, {state})")

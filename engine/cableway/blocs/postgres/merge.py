"""
An item's rows merged into a table by key: those that are there are updated, the others inserted.

The rows are copied to a temporary table first. Inside an item the last row of a key wins, so a row
number travels along.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.sql import SQL, Composed, Identifier

from cableway.blocs.postgres.faults import row_error
from cableway.blocs.postgres.table import Target, listed
from cableway.blocs.tables import library
from cableway.errors import RowError, SinkError

_NUMBER = "cableway row"
"""The staged rows' own column; a space, so that hardly any column is called so."""

_STAGE = SQL("CREATE TEMP TABLE IF NOT EXISTS {} ON COMMIT DROP AS SELECT {}, 0::bigint AS {} FROM {} WITH NO DATA")
_EMPTY = SQL("TRUNCATE {}")
_FIND_MISSING = SQL("SELECT {number} AS number, {names} FROM {stage} WHERE {missing} ORDER BY 1 LIMIT 1")
_MERGE = SQL(
    "INSERT INTO {target} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM ("
    "SELECT DISTINCT ON ({key}) {columns} FROM {stage} WHERE {number} <= %s ORDER BY {key}, {number} DESC"
    ") AS latest ON CONFLICT ({key}) {action}"
)
_UPDATE = SQL("DO UPDATE SET {}")
_NOTHING = SQL("DO NOTHING")
_ASSIGNMENT = SQL("{0} = excluded.{0}")


def merge(
    connection: Connection[Any], target: Target, table: Any, columns: Mapping[str, str], key: Sequence[str]
) -> int:
    """Insert or update the rows of the Arrow *table* in *target*, and return how many rows of it are new or written.

    Inside a transaction, which has to be rolled back where this raises. Raise `RowError` for a row that the
    table does not take or that has no *key*.
    """
    names: list[str] = table.column_names
    absent = [name for name in key if name not in names]
    if absent:
        raise SinkError(f"{target.where}: the rows have no column {absent[0]!r}, and 'key' names it")
    target.check_there(names, columns)
    stage = Target("pg_temp", f"cableway_{blake2b(repr((target, names)).encode(), digest_size=8).hexdigest()}")
    connection.execute(_STAGE.format(stage.identifier, listed(names), Identifier(_NUMBER), target.identifier))
    connection.execute(_EMPTY.format(stage.identifier))
    numbered = table.append_column(_NUMBER, library("pyarrow").array(range(1, table.num_rows + 1)))
    target.copy(connection, numbered, {**columns, _NUMBER: "bigint"}, into=stage)
    _refuse_missing_keys(connection, target, stage, key)
    statement = _statement(target, stage, names, key)

    def upto(last: int) -> int:
        with connection.transaction():
            return int(connection.execute(statement, (last,)).rowcount)

    try:
        return upto(table.num_rows)
    except psycopg.Error as error:
        refused = row_error(error, target.where, target.table, columns, lambda line: line)
        if refused is None:
            raise
        row = _first_refused(upto, table.num_rows)
        raise RowError(refused.reason, where=target.where, row=row, column=refused.column) from None


def _statement(target: Target, stage: Target, names: Sequence[str], key: Sequence[str]) -> Composed:
    others = [_ASSIGNMENT.format(Identifier(name)) for name in names if name not in key]
    return _MERGE.format(
        target=target.identifier,
        columns=listed(names),
        key=listed(key),
        stage=stage.identifier,
        number=Identifier(_NUMBER),
        action=_UPDATE.format(SQL(", ").join(others)) if others else _NOTHING,
    )


def _refuse_missing_keys(connection: Connection[Any], target: Target, stage: Target, key: Sequence[str]) -> None:
    """A unique index lets any number of rows without a value in, and none of them would be found again."""
    missing = [SQL("{} IS NULL").format(Identifier(name)) for name in key]
    flags = [SQL("{} AS {}").format(test, Identifier(name)) for test, name in zip(missing, key, strict=True)]
    found = connection.execute(
        _FIND_MISSING.format(
            number=Identifier(_NUMBER),
            names=SQL(", ").join(flags),
            stage=stage.identifier,
            missing=SQL(" OR ").join(missing),
        )
    ).fetchone()
    if found is not None:
        column = next(name for name in key if found[name])
        raise RowError(
            "must not be missing, as it is of the key", where=target.where, row=found["number"], column=column
        )


def _first_refused(upto: Callable[[int], int], rows: int) -> int:
    """The first row with which the merge is refused; the server does not say which one it is."""
    good, bad = 0, rows
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            upto(middle)
        except psycopg.Error:
            bad = middle
        else:
            good = middle
    return bad

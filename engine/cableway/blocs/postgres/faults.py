"""What a destination's refusal means, in words that name table, row and column and never a value."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager

import psycopg

from cableway.errors import CredentialsError, RowError, SinkError

CHARACTER_NOT_IN_REPERTOIRE = "22021"
_WORDS = {
    "22P02": "is no {type}",
    "22007": "is no {type}",
    "22008": "is out of the range of {type}",
    "22003": "is out of the range of {type}",
    "22001": "is too long for {type}",
    CHARACTER_NOT_IN_REPERTOIRE: "holds a NUL byte, which Postgres keeps in no text",
    "22P05": "holds a character that the database's encoding lacks",
    "22P04": "the row does not have the table's columns",
    "23502": "must not be missing",
    "23503": "breaks the foreign key {constraint!r}",
    "23505": "is there already: breaks the unique constraint {constraint!r}",
    "23514": "breaks the check constraint {constraint!r}",
    "23P01": "breaks the exclusion constraint {constraint!r}",
}
_OF_A_ROW = ("22", "23")
_LOST = ("08", "57")


@contextmanager
def said_anew(where: str) -> Generator[None]:
    """Turn psycopg's errors about table *where* into ours: `SinkError`, or `CredentialsError` for a missing right."""
    try:
        yield
    except psycopg.Error as error:
        raise sink_error(error, where) from None


def sink_error(error: psycopg.Error, where: str) -> SinkError | CredentialsError:
    """What *error* means for the whole of the writing to *where*."""
    state = error.sqlstate
    if state is None or state[:2] in _LOST:
        return SinkError(f"{where}: the connection to Postgres was lost")
    match state:
        case "42501":
            return CredentialsError(f"{where}: the role has no right to do this: {error.diag.message_primary}")
        case "3F000":
            return SinkError(f"{where}: there is no such schema; create it, or correct 'schema'")
        case "55P03":
            return SinkError(f"{where}: another transaction has locked it for longer than lock_timeout_s allows")
        case "40P01" | "40001":
            return SinkError(f"{where}: another transaction was in the way ({type(error).__name__})")
        case "53100":
            return SinkError(f"{where}: the server's disk is full")
        case "25006":
            return SinkError(f"{where}: the server only reads; is it a standby?")
        case _:
            return SinkError(f"{where}: Postgres refused ({type(error).__name__}, {state})")


def row_error(
    error: psycopg.Error, where: str, table: str, columns: Mapping[str, str], row_of: Callable[[int], int]
) -> RowError | None:
    """The row that *error* is about, or None where it is about something else.

    *columns* are the Postgres types by column, and *row_of* gives the row of a line of the COPY.
    """
    state = error.sqlstate or ""
    if state[:2] not in _OF_A_ROW:
        return None
    line, column = _place(error, table, columns)
    words = _WORDS.get(state, f"is refused ({type(error).__name__}, {state})").format(
        type=columns.get(column or "", "a value of its column"), constraint=error.diag.constraint_name
    )
    return RowError(words, where=where, row=row_of(line) if line is not None else None, column=column)


def _place(error: psycopg.Error, table: str, columns: Mapping[str, str]) -> tuple[int | None, str | None]:
    """Line and column from the context that COPY gives, which goes on with the value itself."""
    column = error.diag.column_name
    found = re.search(rf"\bCOPY {re.escape(table)}, line (\d+)", error.diag.context or "")
    if found is None:
        return None, column
    rest = (error.diag.context or "")[found.end() :]
    # Behind the column stands its value; with the binary format nothing does.
    ends = (": ", ", null", "\n")
    named = [name for name in columns if f"{rest}\n".startswith(tuple(f", column {name}{end}" for end in ends))]
    return int(found[1]), column or max(named, key=len, default=None)

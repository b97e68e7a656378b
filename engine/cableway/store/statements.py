"""
The statements of ``queries/`` by name, with the schema's name written in.

In a file, a line that begins with ``-- name:`` begins a statement, and the comment lines that follow it say
what it is for. ``{s}`` stands for the schema, ``{schema}`` for its name as a literal, ``{tokens}`` for its
sequence of lease tokens as one. Of the files only those are read that hold what is asked for: a job needs one.
"""

from __future__ import annotations

import os
from functools import cache

from psycopg.sql import Identifier, Literal

_FOLDER = os.path.join(os.path.dirname(__file__), "queries")  # noqa: PTH118, PTH120 - the job does without pathlib
_FIRST = ("job.sql", "recording.sql")
_MARK = "\n-- name: "


class Queries:
    """One schema's statements, each written out when it is first asked for."""

    def __init__(self, schema: str) -> None:
        self.schema = schema
        # psycopg reads a percent sign as the beginning of a parameter, in a name too.
        quoted = Identifier(schema).as_string().replace("%", "%%")
        self._prefix = quoted
        self._schema = Literal(schema).as_string().replace("%", "%%")
        self._tokens = Literal(f"{quoted}.lease_tokens").as_string()
        self._ready: dict[str, bytes] = {}

    def __getitem__(self, name: str) -> bytes:
        """The statement of this name, ready for the driver."""
        found = self._ready.get(name)
        if found is None:
            text = text_of(name).replace("{s}", self._prefix).replace("{tokens}", self._tokens)
            text = text.replace("{schema}", self._schema)
            found = self._ready[name] = text.encode()
        return found


@cache
def queries_of(schema: str) -> Queries:
    """Those of this schema, for all who ask."""
    return Queries(schema)


def text_of(name: str) -> str:
    """The statement *name* as it stands in its file. Raise `KeyError` where there is none."""
    for file in _files():
        found = _texts(file).get(name)
        if found is not None:
            return found
    raise KeyError(name)


def names() -> list[str]:
    """The name of every statement; twice where two files have it."""
    return [name for file in _files() for name in _texts(file)]


@cache
def _files() -> tuple[str, ...]:
    return (*_FIRST, *sorted({file for file in os.listdir(_FOLDER) if file.endswith(".sql")} - {*_FIRST}))  # noqa: PTH208 - as above


@cache
def _texts(file: str) -> dict[str, str]:
    with open(os.path.join(_FOLDER, file), encoding="utf-8") as opened:  # noqa: PTH118, PTH123 - as above
        parts = opened.read().split(_MARK)[1:]
    return dict(part.split("\n", 1) for part in parts)

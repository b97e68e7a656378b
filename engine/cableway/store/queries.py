"""The statements of ``queries.sql`` by name, with the schema's name written in."""

from __future__ import annotations

import os.path
from functools import cache

from psycopg.sql import Identifier, Literal

_FILE = os.path.join(os.path.dirname(__file__), "queries.sql")  # noqa: PTH118, PTH120 - the job does without pathlib
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
            text = texts()[name].replace("{s}", self._prefix).replace("{tokens}", self._tokens)
            text = text.replace("{schema}", self._schema)
            found = self._ready[name] = text.encode()
        return found


@cache
def texts() -> dict[str, str]:
    """Every statement as it stands in the file, by name."""
    with open(_FILE, encoding="utf-8") as file:  # noqa: PTH123 - as above
        parts = file.read().split(_MARK)[1:]
    return dict(part.split("\n", 1) for part in parts)

"""Rows that came as CSV and may go on as that, without being parsed in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class CsvRows:
    """*rows* rows of *schema* as *data*: CSV without a header, as ``csv_exporter`` writes it with commas.

    Whoever wants a table has one through ``__arrow_c_stream__``: *parse* makes it, then and only then. It comes only
    to exporters that say they take it (`ExporterBloc.takes_csv`); to a child it travels as a table.
    """

    def __init__(self, data: bytearray, rows: int, schema: Any, parse: Callable[[], Any]) -> None:
        self.data = data
        self.num_rows = rows
        self.schema = schema
        self._parse = parse

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        return len(self.data)

    def table(self) -> Any:
        """The rows as an Arrow table. Raise `SourceError` for a value that its column cannot hold."""
        return self._parse()

    def slice(self, offset: int = 0, length: int | None = None) -> Any:
        """Some of the rows, as an Arrow table."""
        return self.table().slice(offset, length)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.table().__arrow_c_stream__(requested_schema)

    def __reduce__(self) -> tuple[Any, ...]:
        return _same, (self.table(),)


def _same(table: Any) -> Any:
    return table

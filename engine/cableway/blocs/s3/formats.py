"""Tables as bytes, in pieces that make one object when they are put end to end."""

from __future__ import annotations

import gzip
import io
from typing import Any, Literal, Protocol

from cableway.blocs.http.message import json_body
from cableway.blocs.tables import aligned, library
from cableway.errors import RowError

Format = Literal["csv", "jsonl", "parquet"]
Compression = Literal["none", "gzip", "snappy", "zstd"]


class Writing(Protocol):
    """One object in the making."""

    def add(self, table: Any) -> bytes:
        """The bytes that *table* adds to it. Raise `RowError` where its columns are not those of the first one."""
        ...

    def end(self) -> bytes:
        """The bytes that end it."""
        ...


def writing(form: Format, compression: Compression, where: str) -> Writing:
    """An object of this form; *where* is said in errors."""
    match form:
        case "parquet":
            return _Parquet(compression, where)
        case "csv" | "jsonl":
            return _Text(form, where, packed=compression == "gzip")


class _Text:
    """Lines; packed, each piece is a gzip member of its own, which is one stream to whoever reads it."""

    def __init__(self, form: Literal["csv", "jsonl"], where: str, *, packed: bool) -> None:
        self._form = form
        self._where = where
        self._packed = packed
        self._schema: Any = None

    def add(self, table: Any) -> bytes:
        table, first = _fitted(table, self._schema, self._where), self._schema is None
        self._schema = table.schema
        data = self._lines(table, header=first)
        # Without the time of packing the same rows are the same bytes.
        return gzip.compress(data, 6, mtime=0) if self._packed and data else data

    def end(self) -> bytes:
        return b""

    def _lines(self, table: Any, *, header: bool) -> bytes:
        if self._form == "csv":
            csv, sink = library("pyarrow.csv"), io.BytesIO()
            try:
                csv.write_csv(table, sink, csv.WriteOptions(include_header=header))
            except library("pyarrow").ArrowInvalid:
                raise RowError(
                    "a column's type has no form in CSV; write jsonl or parquet", where=self._where
                ) from None
            return sink.getvalue()
        try:
            return b"".join(json_body(row) + b"\n" for row in table.to_pylist())
        except (TypeError, ValueError) as error:
            raise RowError(f"cannot be said in JSON: {error}", where=self._where) from None


class _Parquet:
    """A row group for each table."""

    def __init__(self, compression: Compression, where: str) -> None:
        self._compression = compression
        self._where = where
        self._sink = _Sink()
        self._writer: Any = None

    def add(self, table: Any) -> bytes:
        schema = None if self._writer is None else self._writer.schema
        table = _fitted(table, schema, self._where)
        if self._writer is None:
            parquet = library("pyarrow.parquet")
            self._writer = parquet.ParquetWriter(self._sink, table.schema, compression=self._compression)
        self._writer.write_table(table)
        return self._sink.taken()

    def end(self) -> bytes:
        if self._writer is not None:
            self._writer.close()
        return self._sink.taken()


class _Sink(io.RawIOBase):
    """What was written since it was last taken."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        piece = bytes(data)
        self._parts.append(piece)
        self._size += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._size

    def taken(self) -> bytes:
        data, self._parts = b"".join(self._parts), []
        return data


def _fitted(table: Any, schema: Any, where: str) -> Any:
    """*table* as *schema* has it; the first one has none to go by."""
    try:
        return table if schema is None else aligned(table, schema)
    except ValueError as misfit:
        raise RowError(str(misfit), where=where) from None

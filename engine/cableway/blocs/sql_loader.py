"""``sql_loader``: a query over files, by DuckDB."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Le, MinLen

from cableway.blocs.duck import MEMORY_LIMIT, query_fault, session
from cableway.blocs.files import found_files, open_regular, path_fault
from cableway.blocs.kinds import Ending, LoaderBloc, Resources
from cableway.blocs.tables import library
from cableway.context import RunContext
from cableway.errors import SourceError
from cableway.references import is_reference

Value = str | int | float | bool | None
_READERS = {
    ".csv": "read_csv",
    ".tsv": "read_csv",
    ".json": "read_json",
    ".jsonl": "read_json",
    ".ndjson": "read_json",
    ".parquet": "read_parquet",
}
_PACKED = frozenset({".gz", ".zst"})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlLoaderConfig:
    """What to ask, and of which files."""

    query: Annotated[str, MinLen(1)]
    """One SELECT over the tables of ``files``; ``$name`` stands for an argument."""
    files: dict[str, str]
    """Tables by name: a file or a pattern each, CSV, JSON, JSON lines or Parquet as its ending says."""
    arguments: dict[str, Value] = field(default_factory=dict[str, Value])
    """Values for the query, such as ``{"day": "${param:day}"}``: bound, and never part of its text."""
    batch_size: Annotated[int, Ge(1)] | None = None
    """Rows in an item; unset: one item holds the whole result."""
    memory_limit: str = MEMORY_LIMIT
    """Memory that the query may take, in DuckDB's words; over it, the run fails."""
    threads: Annotated[int, Ge(1), Le(64)] = 1
    """Threads that the query may use."""


class SqlLoaderBloc(LoaderBloc):
    """The query sees the named files and nothing else: no other file, no network, no extension.

    It cannot begin at a position, for nothing says in which order its rows come.
    """

    bloc_type = "sql_loader"
    summary = "Loads what a SELECT over files gives, by DuckDB."
    Config = SqlLoaderConfig
    example: ClassVar[Mapping[str, Any]] = {
        "query": "SELECT a.name, count(*) AS flights FROM flights f JOIN airlines a USING (carrier) GROUP BY a.name",
        "files": {"flights": "data/flights/*.parquet", "airlines": "data/airlines.csv"},
    }
    lanes = ("thread",)

    config: SqlLoaderConfig

    def __init__(self, name: str, config: SqlLoaderConfig) -> None:
        super().__init__(name, config)
        self._root: str | None = None
        self._connection: Any = None

    @classmethod
    def faults(cls, config: SqlLoaderConfig) -> Iterable[tuple[str, str]]:
        """A query that is no single SELECT, a name that is none, a path that leads nowhere good or ends otherwise."""
        if reason := query_fault(config.query):
            yield "query", reason
        for name, path in config.files.items():
            if not _NAME.fullmatch(name):
                yield "files", f"{name!r}: a table's name is letters, digits and underscores"
            if is_reference(path):
                continue
            if reason := path_fault(path) or _ending_fault(path):
                yield "files", f"{name}: {reason}"

    def bind(self, resources: Resources) -> None:
        """Stay below the job's root."""
        self._root = resources.root

    def open(self, context: RunContext) -> None:
        """Raise `DefinitionError` where DuckDB is not installed, and `SourceError` where a file is not there."""
        library("pyarrow")
        tables = {name: self._files_of(path) for name, path in self.config.files.items()}
        every = [path for paths in tables.values() for path in paths]
        self._connection = session(memory_limit=self.config.memory_limit, threads=self.config.threads, files=every)
        for name, paths in tables.items():
            with self._asking():
                self._connection.table_function(_READERS[_ending(paths[0])], [paths]).create_view(name)

    def load(self, context: RunContext) -> Any:
        """An Arrow table, or with ``batch_size`` an iterator of positions with tables.

        Raise `SourceError` with DuckDB's reason where it is about names, else with its kind alone.
        """
        if reason := query_fault(self.config.query):
            raise SourceError(f"bloc {self.name!r}: the query {reason}")
        if self.config.batch_size is not None:
            return self._batches(self.config.batch_size)
        with self._asking():
            return self._asked().to_arrow_table()

    def close(self, ending: Ending) -> None:
        """End the query and let its memory go."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.interrupt()
            connection.close()

    def _batches(self, rows: int) -> Iterator[tuple[str, Any]]:
        pa = library("pyarrow")
        number = 0
        with self._asking():
            # A relation is streamed; what a cursor executes is held as a whole.
            for batch in self._asked().to_arrow_reader(rows):
                yield f"0:{number}:0", pa.Table.from_batches([batch])
                number += batch.num_rows

    def _asked(self) -> Any:
        if self._connection is None:
            raise SourceError(f"bloc {self.name!r} was not opened")
        return self._connection.sql(self.config.query, params=dict(self.config.arguments) or None)

    def _files_of(self, path: str) -> list[str]:
        """Where they really are: regular files below the root, all of one kind."""
        named = found_files(path, root=self._root)
        if reason := next(filter(None, map(_ending_fault, named)), None):
            raise SourceError(f"{path}: {reason}")
        if any(_ending(one) != _ending(other) for one, other in pairwise(named)):
            raise SourceError(f"{path}: matches files of several kinds; one table has one")
        places: list[str] = []
        for name in named:
            with open_regular(name, root=self._root) as file:
                places.append(os.readlink(f"/proc/self/fd/{file.fileno()}"))  # noqa: PTH115 - no pathlib for this
        return places

    @contextmanager
    def _asking(self) -> Generator[None]:
        duckdb, pa = library("duckdb"), library("pyarrow")
        try:
            yield
        except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException) as error:
            raise SourceError(f"bloc {self.name!r}: {str(error).partition(chr(10))[0]}") from None
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            # What it says of values may quote them.
            raise SourceError(f"bloc {self.name!r}: the query failed ({type(error).__name__})") from None


def _ending(path: str) -> str:
    place = PurePosixPath(path)
    return PurePosixPath(place.stem).suffix.lower() if place.suffix.lower() in _PACKED else place.suffix.lower()


def _ending_fault(path: str) -> str | None:
    if _ending(path) in _READERS:
        return None
    return f"ends like no kind of file that is known here: {', '.join(_READERS)}, and .gz or .zst behind them"

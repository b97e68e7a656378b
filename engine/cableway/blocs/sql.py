"""``sql``: a query over the tables of an item, by DuckDB."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Le, MinLen

from cableway.blocs.duck import MEMORY_LIMIT, query_fault, session
from cableway.blocs.kinds import TransformerBloc
from cableway.blocs.tables import library
from cableway.context import RunContext
from cableway.errors import RunFailedError


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlConfig:
    """What to ask."""

    query: Annotated[str, MinLen(1)]
    """One SELECT. Each input is a table under its bloc's name; a sole input is also ``input``."""
    memory_limit: str = MEMORY_LIMIT
    """Memory that a query may take, in DuckDB's words; over it, the item fails."""
    threads: Annotated[int, Ge(1), Le(64)] = 1
    """Threads that a query may use."""
    source_bloc: str | None = None
    """The bloc whose data it is; unset: the one of the previous stage. For several, name ``inputs`` in the entry."""


class SqlBloc(TransformerBloc):
    """Works on one item at a time. The query sees those tables alone: no file, no network, no extension."""

    bloc_type = "sql"
    summary = "Runs a SELECT over the item's tables, by DuckDB."
    Config = SqlConfig
    example: ClassVar[Mapping[str, Any]] = {
        "query": "SELECT carrier, avg(dep_delay) AS delay FROM input GROUP BY carrier"
    }
    lanes = ("thread", "process", "dask")
    frames = "arrow"

    config: SqlConfig

    @classmethod
    def faults(cls, config: SqlConfig) -> Iterable[tuple[str, str]]:
        """A query that is no single SELECT."""
        if reason := query_fault(config.query):
            yield "query", reason

    def transform(self, context: RunContext) -> Any:
        """The result as an Arrow table. Raise `RunFailedError` with DuckDB's reason, which may name columns."""
        duckdb = library("duckdb")
        with session(memory_limit=self.config.memory_limit, threads=self.config.threads) as connection:
            for name in context.inputs:
                connection.register(name, context.get_data(name))
            if len(context.inputs) == 1:
                connection.register("input", context.input())
            try:
                return connection.sql(self.config.query).to_arrow_table()
            except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException) as error:
                raise RunFailedError(f"bloc {self.name!r}: {str(error).partition(chr(10))[0]}") from None
            except duckdb.Error as error:
                # What it says of values may quote them.
                raise RunFailedError(f"bloc {self.name!r}: the query failed ({type(error).__name__})") from None

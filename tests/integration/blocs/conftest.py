"""An exporter ready to write to a fresh database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from psycopg.rows import tuple_row

from cableway.blocs.kinds import Ending, LinePlace, Resources
from cableway.blocs.postgres.exporter import PostgresExporterBloc, PostgresExporterConfig
from cableway.context import RunContext, RunFacts
from cableway.settings import DatabaseSettings


class Exporter:
    """A bloc that is open, and what a job would do with it."""

    def __init__(
        self,
        conninfo: str,
        *,
        line: str = "line-1",
        token: int = 1,
        name: str = "store",
        place: LinePlace | None = None,
        **config: Any,
    ) -> None:
        config.setdefault("table_name", "numbers")
        self.bloc = PostgresExporterBloc(name, PostgresExporterConfig(**config))
        database = DatabaseSettings(url=conninfo, connect_budget_s=0)
        self.bloc.bind(Resources(database=database, place=place or LinePlace()))
        self._facts = RunFacts(run_id="run", pipeline="p", line=line, lease_token=token)
        self.bloc.open(self._context("", None))

    def write(self, rows: Any, item: str = "0:0:0") -> int:
        return self.bloc.export(self._context(item, rows))

    def close(self, ending: Ending = Ending.SUCCEEDED) -> None:
        self.bloc.close(ending)

    def _context(self, item: str, rows: Any) -> RunContext:
        return RunContext(self._facts, bloc=self.bloc.name, item_id=item, data={"source": rows}, inputs=("source",))


Open = Callable[..., Exporter]
Query = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def open_exporter(database: str) -> Iterator[Open]:
    """Opens exporters; what a test leaves open is rolled back."""
    opened: list[Exporter] = []

    def opener(**options: Any) -> Exporter:
        exporter = Exporter(database, **options)
        opened.append(exporter)
        return exporter

    yield opener
    for exporter in opened:
        exporter.close(Ending.FAILED)


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """Somebody else's connection."""
    with closing(psycopg.connect(database, autocommit=True, row_factory=tuple_row)) as other:
        yield other


@pytest.fixture
def query(connection: psycopg.Connection[tuple[Any, ...]]) -> Query:
    """Runs a statement and gives its rows."""

    def run(statement: Any, parameters: Any = None) -> list[tuple[Any, ...]]:
        cursor = connection.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []

    return run

"""``postgres_loader``: a table or a query as Arrow tables by COPY, whole or in batches."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge, MinLen

from cableway.blocs.incremental import Incremental, Watermark, first_plan, incremental_of, reached_together
from cableway.blocs.kinds import LoaderBloc, Resources
from cableway.blocs.postgres.dsn import database_of
from cableway.blocs.tables import library
from cableway.context import RunContext
from cableway.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Generator

    from psycopg.sql import Composable

    from cableway.blocs.postgres.ranges import Key, Range
    from cableway.blocs.postgres.reading import Reader
    from cableway.definition import JsonObject
    from cableway.settings import DatabaseSettings

_NAME_BYTES = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresLoaderConfig:
    """Which rows to read: those of a table, or of a query."""

    table_name: Annotated[str, MinLen(1)] | None = None
    """The table or view to read."""
    schema: str = "public"
    """The table's schema."""
    query: Annotated[str, MinLen(1)] | None = None
    """A SELECT in place of a table. It runs in a transaction that only reads."""
    parameters: dict[str, str | int | float | bool | None] | None = None
    """Values for ``%(name)s`` in the query, written in as literals; with it a percent sign has to be doubled."""
    columns: list[str] | None = None
    """Which columns to read, in this order; unset: all."""
    where: Annotated[str, MinLen(1)] | None = None
    """A condition in SQL that the table's rows must meet."""
    batch_size: Annotated[int, Ge(1)] | None = None
    """Rows in an item; unset: one item holds all."""
    key: list[str] | None = None
    """Columns that tell rows apart and put them in order, best with an index: with it a batch is a range of the key
    that can be read again, so that a run which is taken up again goes on from where it was."""
    numerics: Literal["decimal", "float64", "string"] = "decimal"
    """What becomes of a numeric that declares no precision: an exact decimal with 20 digits before the point and 18
    behind it, a floating-point number, or text."""
    incremental: Incremental | None = None
    """Load only what is new since the last run."""
    dsn: str | None = field(default=None, repr=False)
    """A connection string, as a secret's reference; unset: the database that holds Cableway's state."""


class PostgresLoaderBloc(LoaderBloc):
    """Reads in one snapshot. With ``key`` a position is a range of it, ``<last key before>:<last key>``."""

    bloc_type = "postgres_loader"
    summary = "Loads a Postgres table or query by COPY, whole or in batches."
    Config = PostgresLoaderConfig
    example: ClassVar[Mapping[str, Any]] = {"table_name": "flights", "batch_size": 50000, "key": ["flight_id"]}
    lanes = ("thread",)

    config: PostgresLoaderConfig

    def __init__(self, name: str, config: PostgresLoaderConfig) -> None:
        super().__init__(name, config)
        self._incremental = incremental_of(config)
        self._database: DatabaseSettings | None = None
        self._as_csv = False
        self._upper: Key | None = None
        self._planned = False
        self._lower: Key | None = None
        self._start: Key | None = None
        self._known: list[Range] = []
        self._watermark: Watermark | None = None
        self._lock = threading.Lock()

    @classmethod
    def faults(cls, config: PostgresLoaderConfig) -> Iterable[tuple[str, str]]:
        """A table and a query at once or neither, keys that mean nothing there, names that Postgres would cut."""
        if (config.table_name is None) == (config.query is None):
            yield "table_name", "give either a table_name or a query"
        for key, value in (("table_name", config.table_name), ("schema", config.schema)):
            if value is not None and (not 1 <= len(value.encode("utf-8", "replace")) <= _NAME_BYTES or "\x00" in value):
                yield key, f"must be 1 to {_NAME_BYTES} bytes without NUL"
        if config.query is None and config.parameters is not None:
            yield "parameters", "are for a query"
        if config.query is not None and config.where is not None:
            yield "where", "is for a table; write the condition into the query"
        for option, names in (("columns", config.columns), ("key", config.key)):
            if names is not None and (not names or len(set(names)) < len(names)):
                yield option, "must name at least one column, and none of them twice"
        if config.key and config.batch_size is None:
            yield "key", "cuts batches: give a batch_size with it"
        if config.incremental is not None:
            yield from config.incremental.faults()

    @classmethod
    def repeats(cls, config: PostgresLoaderConfig) -> bool:
        """With a ``key``: a batch is a range of it, and is read again as that."""
        return bool(config.key) and config.batch_size is not None

    @classmethod
    def keeps_cursor(cls, config: PostgresLoaderConfig) -> bool:
        """With ``incremental``, but for a stretch of its own with an end."""
        incremental = incremental_of(config)
        return incremental is not None and incremental.end_value is None

    def bind(self, resources: Resources) -> None:
        """Take the state database where the config names no other, and learn who reads."""
        self._as_csv = resources.as_csv and self._incremental is None
        self._database = database_of(self.name, self.config.dsn, resources.database)

    def open(self, context: RunContext) -> None:
        """Raise `DefinitionError` where pyarrow is not installed, `SourceError` where there is nothing to read."""
        library("pyarrow")
        with self._reader():
            pass

    def plan(self, context: RunContext, state: Mapping[str, Any]) -> JsonObject:
        """The highest key, and with ``incremental`` what was there before: rows that come later are the next lap's."""
        plan: JsonObject = {}
        if self._incremental is not None:
            plan = dict(first_plan(self._incremental, state))
            self._watermark = Watermark(self._incremental, plan, {})
        if self.repeats(self.config):
            with self._reader() as reader:
                upper = reader.last_key()
            plan["upper"] = None if upper is None else list(upper)
        return plan

    @classmethod
    def divides(cls, config: PostgresLoaderConfig) -> bool:
        """By ranges of the ``key``."""
        return cls.repeats(config)

    def shares(self, context: RunContext, parts: int, state: Mapping[str, Any]) -> list[JsonObject]:
        """Ranges of the key with as many rows in each."""
        plan: JsonObject = {}
        if self._incremental is not None:
            plan = dict(first_plan(self._incremental, state))
            self._watermark = Watermark(self._incremental, plan, {})
        with self._reader() as reader:
            ends = [*map(list, reader.ends(parts)), *[None] * parts][:parts]
        return [{"lower": lower, "upper": upper, **plan} for lower, upper in zip([None, *ends], ends, strict=False)]

    def reached_together(self, reached: Sequence[Mapping[str, Any]]) -> JsonObject:
        """The newest of all ranges."""
        return reached_together(self._incremental, reached)

    def follow(self, plan: Mapping[str, Any], reached: Mapping[str, Any]) -> None:
        """Read up to the key that was the highest when the lap began."""
        if self._incremental is not None:
            self._watermark = Watermark(self._incremental, plan, reached)
        if "upper" in plan:
            upper, lower = plan["upper"], plan.get("lower")
            self._lower = None if lower is None else tuple(lower)
            self._upper, self._planned = (None if upper is None else tuple(upper)), True

    def recut(self, positions: Iterable[str]) -> None:
        """Read the ranges at *positions* again as they are, though there may be more rows or fewer in them by now."""
        from cableway.blocs.postgres.ranges import is_range

        self._known += map(self._range_at, filter(is_range, positions))

    def reached(self) -> JsonObject:
        """How far the rows were new."""
        with self._lock:
            return {} if self._watermark is None else self._watermark.state()

    def fingerprint(self, position: str) -> JsonObject:
        """Nothing: a table may change behind the position."""
        return {}

    def resume(self, position: str, fingerprint: Mapping[str, Any]) -> None:
        """Begin with the range at *position*."""
        first = self._range_at(position)
        self._start = first.low
        self._known.append(first)

    def load(self, context: RunContext) -> Any:
        """An Arrow table, or with ``batch_size`` an iterator of positions with tables."""
        size = self.config.batch_size
        if size is None:
            return self._whole()
        return self._ranges(context, size) if self.repeats(self.config) else self._batches(size)

    def _whole(self) -> Any:
        with self._reader() as reader:
            return self._new(reader.whole())

    def _batches(self, size: int) -> Iterator[tuple[str, Any]]:
        with self._reader() as reader:
            for number, table in enumerate(reader.batches(size)):
                yield str(number), self._new(table)

    def _ranges(self, context: RunContext, size: int) -> Iterator[tuple[str, Any]]:
        from cableway.blocs.postgres.ranges import from_start, stretches

        if not self._planned:
            self.follow(self.plan(context, {}), {})
        if self._upper is None:
            return
        with self._reader() as reader:
            known = list(from_start(reader.in_order(self._known), self._start))
            for stretch in stretches(known, self._start or self._lower, self._upper):
                if stretch.whole:
                    yield stretch.range.position, self._new(reader.whole(stretch.range))
                    continue
                for piece, table in reader.ranges(stretch.range, size):
                    yield piece.position, self._new(table)

    def _new(self, table: Any) -> Any:
        """The rows that no earlier lap has loaded."""
        if self._watermark is None:
            return table
        with self._lock:
            return self._watermark.new_table(table)

    def _range_at(self, position: str) -> Range:
        from cableway.blocs.postgres.ranges import range_at

        return range_at(position, len(self.config.key or ()))

    @contextmanager
    def _reader(self) -> Generator[Reader]:
        """A reader of one snapshot."""
        from psycopg.sql import SQL, Identifier

        from cableway.blocs.postgres.reading import Reader, Selection, query_rows, snapshot
        from cableway.store.connect import connect

        config, database = self.config, self._database or database_of(self.name, self.config.dsn, None)
        if database is None:
            raise SettingsError(f"bloc {self.name!r} has no database to read: give it a 'dsn', or set DATABASE_URL")
        connection = connect(database)
        where = f"bloc {self.name!r}, " + (
            "its query" if config.query else f"table {config.schema}.{config.table_name}"
        )
        with snapshot(connection, where):
            if config.query is not None:
                rows: Composable = query_rows(connection, config.query, config.parameters)
            else:
                rows = SQL("SELECT * FROM {}").format(Identifier(config.schema, config.table_name or ""))
                if config.where is not None:
                    rows += SQL(" WHERE (") + query_rows(connection, config.where, None) + SQL(")")
            conditions = [] if self._watermark is None else list(_new_rows(self._watermark, self._incremental))
            yield Reader(
                connection,
                Selection(
                    rows=rows,
                    where=where,
                    columns=config.columns,
                    key=tuple(config.key or ()),
                    numerics=config.numerics,
                    conditions=conditions,
                    as_csv=self._as_csv,
                ),
            )


def _new_rows(watermark: Watermark, incremental: Incremental | None) -> Iterator[Composable]:
    """What spares the server the rows that are old by their field; the watermark looks at the others."""
    from psycopg.sql import SQL, Identifier, Literal

    if incremental is None:
        return
    name = Identifier(incremental.cursor_field)
    for sign, value in ((SQL(">="), watermark.start), (SQL("<"), watermark.end)):
        if value is not None:
            yield SQL("({} {} {} OR {} IS NULL)").format(name, sign, Literal(str(value)), name)

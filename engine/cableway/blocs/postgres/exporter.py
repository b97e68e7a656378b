"""``postgres_exporter``: tabular data into a Postgres table by COPY, exactly once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, MinLen

from cableway.blocs.kinds import Commits, Ending, ExporterBloc, LinePlace, Resources, Written
from cableway.blocs.postgres.dsn import database_of
from cableway.blocs.tables import library, to_arrow
from cableway.context import RunContext
from cableway.errors import CablewayError, DefinitionError, SettingsError, SinkError

if TYPE_CHECKING:
    from psycopg import Connection

    from cableway.blocs.postgres.intake import Intake
    from cableway.blocs.postgres.ledger import Ledger
    from cableway.blocs.postgres.table import Target
    from cableway.blocs.postgres.writers import Beginning, Writer
    from cableway.definition import JsonObject
    from cableway.settings import DatabaseSettings

NewColumns = Literal["evolve", "freeze", "discard"]
_BEGINNINGS: Mapping[str, Beginning] = {"replace": "replace", "fail": "fail", "swap": "swap"}
_NAME_BYTES = 63
_OWN_TABLES = frozenset({"cableway_fences", "cableway_commits"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresExporterConfig:
    """Where rows go, and what becomes of those that are there."""

    table_name: Annotated[str, MinLen(1)]
    """The table; made from the first item's columns where it is missing."""
    source_bloc: str | None = None
    """The bloc whose data is exported; unset: the one of the previous stage."""
    schema: str = "public"
    """The table's schema, which must be there."""
    if_exists: Literal["fail", "replace", "append", "upsert", "swap"] = "replace"
    """What to do when the table exists. ``replace``, ``swap`` and ``fail`` commit all rows of the run at its end,
    ``append`` and ``upsert`` those of each item by themselves."""
    key: list[str] | None = None
    """The columns, by their names in the table, that tell rows apart: what ``upsert`` goes by, and what a replay
    into ``replace`` does. A table that is made gets them as its primary key; one that is there needs a unique
    index on exactly them."""
    columns: dict[str, str] | None = None
    """Which columns to write, each with its name in the table; unset: all, under their own names."""
    new_columns: NewColumns = "freeze"
    """What becomes of columns that the table does not have: it gets them (``evolve``), they are an error
    (``freeze``), or they are left out and counted (``discard``)."""
    dsn: str | None = field(default=None, repr=False)
    """A connection string, as a secret's reference; unset: the database that holds Cableway's state."""
    lock_timeout_s: Annotated[float, Gt(0)] = 10.0
    """Seconds to wait for another transaction's lock before the item fails."""
    commit_retention_days: Annotated[float, Ge(0)] = 30.0
    """Days for which the keys of an ended line of runs are kept; until then it can be retried and replayed."""


class PostgresExporterBloc(ExporterBloc):
    """Writes to one table; `postgres_writers` says how."""

    bloc_type = "postgres_exporter"
    summary = "Writes tabular data to a Postgres table by COPY, exactly once."
    Config = PostgresExporterConfig
    example: ClassVar[Mapping[str, Any]] = {"table_name": "flights", "source_bloc": "clean", "if_exists": "replace"}
    lanes = ("thread",)
    frames = None
    takes_replays = True

    config: PostgresExporterConfig

    def __init__(self, name: str, config: PostgresExporterConfig) -> None:
        super().__init__(name, config)
        self._database: DatabaseSettings | None = None
        self._state: DatabaseSettings | None = None
        self._place = LinePlace()
        self._ledger: Ledger | None = None
        self._writer: Writer | None = None
        self._intake: Intake | None = None

    @classmethod
    def faults(cls, config: PostgresExporterConfig) -> Iterable[tuple[str, str]]:
        """Names that Postgres would cut off or that are not a user's to write to."""
        for key, value in (("table_name", config.table_name), ("schema", config.schema)):
            if not 1 <= len(value.encode("utf-8", "replace")) <= _NAME_BYTES or "\x00" in value:
                yield key, f"must be 1 to {_NAME_BYTES} bytes without NUL"
        if config.table_name in _OWN_TABLES:
            yield "table_name", "is a table of Cableway's own"
        if config.if_exists == "upsert" and not config.key:
            yield "key", "must name the columns that tell rows apart, for if_exists is 'upsert'"
        if config.key is not None and (not config.key or len(set(config.key)) < len(config.key)):
            yield "key", "must name at least one column, and none of them twice"
        if config.key and config.columns and not set(config.key) <= set(config.columns.values()):
            yield "key", "names a column that is none of those in 'columns', by their names in the table"
        if config.columns and len(set(config.columns.values())) < len(config.columns):
            yield "columns", "gives two columns one name"
        if config.schema.startswith("pg_") or config.schema == "information_schema":
            yield "schema", "belongs to Postgres itself"

    @classmethod
    def sole_target(cls, config: PostgresExporterConfig) -> str | None:
        """The table, unless rows are added to those that are there."""
        if config.if_exists in {"append", "upsert"}:
            return None
        return cls.target(config)

    @classmethod
    def target(cls, config: PostgresExporterConfig) -> str:
        """The table."""
        return f"{config.dsn or ''} {config.schema}.{config.table_name}"

    @classmethod
    def commits(cls, config: PostgresExporterConfig) -> Commits:
        """Each item by itself where rows are added to those that are there, else the run."""
        return "item" if config.if_exists in {"append", "upsert"} else "run"

    @classmethod
    def builds_aside(cls, config: PostgresExporterConfig) -> bool:
        """For ``swap``."""
        return config.if_exists == "swap"

    @classmethod
    def in_order(cls, config: PostgresExporterConfig) -> bool:
        """Of two rows with one key the later one wins, so an upsert needs them in order."""
        return config.if_exists == "upsert"

    def bind(self, resources: Resources) -> None:
        """Take the state database where the config names no other. Raise `DefinitionError` for its own schema."""
        if resources.database is not None and self.config.schema == resources.database.schema:
            raise DefinitionError(
                f"bloc {self.name!r}: the schema {self.config.schema!r} holds Cableway's own tables; choose another"
            )
        self._state = resources.database
        self._database = database_of(self.name, self.config.dsn, resources.database)
        self._place = resources.place
        if self._place.replay and self.commits(self.config) == "run" and not self.config.key:
            raise DefinitionError(
                f"bloc {self.name!r} writes its table as a whole; to replay single items into it, its config needs a "
                "'key' that tells their rows from those that are there"
            )

    def open(self, context: RunContext) -> None:
        """Connect and shut older attempts out; for ``replace`` and ``fail`` wait for the table and begin.

        Raise `UnavailableError` or `CredentialsError` when there is no way in, `SinkError` when the table
        cannot be written.
        """
        library("pyarrow")
        facts, place = context.facts, self._place
        line = facts.line or facts.run_id
        self._ledger = ledger = _ledger(self.config.schema, line, self.name, facts.lease_token, place)
        writer = self._writer = self._make_writer(ledger)
        writer.open()

    def written(self) -> Written:
        """The keys of the lap, read as they are asked for, and what the end row says."""
        ledger = self._ledger
        if ledger is None:
            return Written()
        with closing(self._connected(ledger)) as connection:
            ended = ledger.end(connection)
        return Written(keys=self._keys(ledger), ended=ended)

    def _keys(self, ledger: Ledger) -> Iterator[str]:
        from cableway.blocs.postgres.faults import said_anew

        where = f"{self.config.schema}.cableway_commits"
        with said_anew(where), closing(self._connected(ledger)) as connection:
            yield from ledger.keys(connection)

    def export(self, context: RunContext) -> int:
        """Write this item's rows and return how many; 0 where an earlier attempt has written them.

        Raise `RowError` for a row that the table does not take: none of the item's rows are then written.
        """
        if self._writer is None:
            raise SinkError(f"bloc {self.name!r} was not opened")
        source = self.config.source_bloc
        value = context.get_data(source) if source is not None else context.input()
        if value is None:
            return 0
        return self._writer.write(context.item_id, self._chosen(to_arrow(value, f"bloc {self.name!r}")))

    def outputs(self) -> JsonObject:
        """Where the rows are, and how many of them went there without which column."""
        where: JsonObject = {"table": f"{self.config.schema}.{self.config.table_name}"}
        discarded = self._intake.discarded if self._intake is not None else None
        return {**where, "discarded_columns": dict(discarded)} if discarded else where

    def close(self, ending: Ending) -> None:
        """Commit or roll back. Raise `LeaseLostError` when a later attempt has taken over."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        writer.close(ending)
        if ending.commits:
            self._prune()

    def _prune(self) -> None:
        from cableway.blocs.postgres.pruning import prune

        ledger, state = self._ledger, self._state
        if ledger is None or state is None:
            return
        try:
            connection = self._connected(ledger)
        except CablewayError:
            return  # the next run can
        with closing(connection):
            prune(connection, ledger, state, retention_days=self.config.commit_retention_days)

    def _chosen(self, table: Any) -> Any:
        """The columns that the config names, under the names that it gives them."""
        mapping = self.config.columns
        if mapping is None:
            return table
        absent = [name for name in mapping if name not in table.column_names]
        if absent:
            raise SinkError(
                f"bloc {self.name!r}: 'columns' names {', '.join(map(repr, absent))}, "
                f"and the rows have: {', '.join(map(repr, table.column_names))}"
            )
        return table.select(list(mapping)).rename_columns(list(mapping.values()))

    def _make_writer(self, ledger: Ledger) -> Writer:
        from cableway.blocs.postgres.intake import Intake, Manner
        from cableway.blocs.postgres.table import Target
        from cableway.blocs.postgres.writers import ItemByItem, WholeRun

        config, place = self.config, self._place
        adds = self.commits(config) == "item"
        # A replay puts its rows among those of the run that it belongs to.
        merges = place.replay if not adds else config.if_exists == "upsert"
        manner = Manner(key=tuple(config.key or ()), merges=merges, new_columns=config.new_columns)
        intake = self._intake = Intake(Target(config.schema, config.table_name), manner)
        connect, lock_timeout_s = partial(self._connected, ledger), config.lock_timeout_s
        if self.builds_aside(config) and place.part is not None:
            from cableway.blocs.postgres.aside import BuiltAside

            return BuiltAside(connect, intake, ledger, place.part, lock_timeout_s=lock_timeout_s)
        if self.builds_aside(config) and place.replay:
            intake.target = self._place_of_replay(ledger, intake.target)
        if (adds or place.replay) and not place.whole_run:
            return ItemByItem(connect, intake, ledger, lock_timeout_s=lock_timeout_s)
        beginning: Beginning = "keep" if adds or place.replay else _BEGINNINGS[config.if_exists]
        cursor = place.cursor
        return WholeRun(connect, intake, ledger, lock_timeout_s=lock_timeout_s, beginning=beginning, cursor=cursor)

    def _place_of_replay(self, ledger: Ledger, target: Target) -> Target:
        from cableway.blocs.postgres.aside import place_of_replay

        with closing(self._connected(ledger)) as connection:
            return place_of_replay(connection, ledger, target)

    def _connected(self, ledger: Ledger) -> Connection[Any]:
        from psycopg.sql import SQL

        from cableway.store.connect import connect

        database = self._database or database_of(self.name, self.config.dsn, None)
        if database is None:
            raise SettingsError(f"bloc {self.name!r} has no database to write to: give it a 'dsn', or set DATABASE_URL")
        connection = connect(database)
        connection.execute(SQL("SELECT set_config('application_name', %s, false)"), (ledger.application_name,))
        return connection


def _ledger(schema: str, line: str, bloc: str, token: int, place: LinePlace) -> Ledger:
    from cableway.blocs.postgres.ledger import Ledger

    return Ledger(schema, line, bloc, token, lap=place.lap, end_key=place.end_key)

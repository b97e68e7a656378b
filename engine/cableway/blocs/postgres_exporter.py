"""``postgres_exporter``: tabular data into a Postgres table by COPY, exactly once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Gt, MinLen

from cableway.blocs.kinds import Ending, ExporterBloc, Resources
from cableway.blocs.tables import library, to_arrow
from cableway.context import RunContext
from cableway.errors import DefinitionError, SettingsError, SinkError

if TYPE_CHECKING:
    from psycopg import Connection

    from cableway.blocs.postgres_ledger import Ledger
    from cableway.blocs.postgres_writers import Writer
    from cableway.definition import JsonObject
    from cableway.settings import DatabaseSettings

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
    if_exists: Literal["fail", "replace", "append"] = "replace"
    """What to do when the table exists. ``replace`` and ``fail`` commit all rows of the run at its end,
    ``append`` those of each item by themselves."""
    columns: dict[str, str] | None = None
    """Which columns to write, each with its name in the table; unset: all, under their own names."""
    dsn: str | None = field(default=None, repr=False)
    """A connection string, as a secret's reference; unset: the database that holds Cableway's state."""
    lock_timeout_s: Annotated[float, Gt(0)] = 10.0
    """Seconds to wait for another transaction's lock before the item fails."""


class PostgresExporterBloc(ExporterBloc):
    """Writes to one table; `postgres_writers` says how."""

    bloc_type = "postgres_exporter"
    summary = "Writes tabular data to a Postgres table by COPY, exactly once."
    Config = PostgresExporterConfig
    example: ClassVar[Mapping[str, Any]] = {"table_name": "flights", "source_bloc": "clean", "if_exists": "replace"}
    lanes = ("thread",)
    frames = None

    config: PostgresExporterConfig

    def __init__(self, name: str, config: PostgresExporterConfig) -> None:
        super().__init__(name, config)
        self._database: DatabaseSettings | None = None
        self._writer: Writer | None = None

    @classmethod
    def faults(cls, config: PostgresExporterConfig) -> Iterable[tuple[str, str]]:
        """Names that Postgres would cut off or that are not a user's to write to."""
        for key, value in (("table_name", config.table_name), ("schema", config.schema)):
            if not 1 <= len(value.encode("utf-8", "replace")) <= _NAME_BYTES or "\x00" in value:
                yield key, f"must be 1 to {_NAME_BYTES} bytes without NUL"
        if config.table_name in _OWN_TABLES:
            yield "table_name", "is a table of Cableway's own"
        if config.schema.startswith("pg_") or config.schema == "information_schema":
            yield "schema", "belongs to Postgres itself"

    @classmethod
    def sole_target(cls, config: PostgresExporterConfig) -> str | None:
        """The table, unless rows are appended."""
        if config.if_exists == "append":
            return None
        return f"{config.dsn or ''} {config.schema}.{config.table_name}"

    def bind(self, resources: Resources) -> None:
        """Take the state database where the config names no other. Raise `DefinitionError` for its own schema."""
        if resources.database is not None and self.config.schema == resources.database.schema:
            raise DefinitionError(
                f"bloc {self.name!r}: the schema {self.config.schema!r} holds Cableway's own tables; choose another"
            )
        self._database = self._own_database() or resources.database

    def open(self, context: RunContext) -> None:
        """Connect and shut older attempts out; for ``replace`` and ``fail`` wait for the table and begin.

        Raise `UnavailableError` or `CredentialsError` when there is no way in, `SinkError` when the table
        cannot be written.
        """
        library("pyarrow")
        writer = self._make_writer(context)
        self._writer = writer
        writer.open()

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
        """Where the rows are."""
        return {"table": f"{self.config.schema}.{self.config.table_name}"}

    def close(self, ending: Ending) -> None:
        """Commit or roll back. Raise `LeaseLostError` when a later attempt has taken over."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close(ending)

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

    def _make_writer(self, context: RunContext) -> Writer:
        from cableway.blocs.postgres_ledger import Ledger
        from cableway.blocs.postgres_table import Target
        from cableway.blocs.postgres_writers import ItemByItem, WholeRun

        config, facts = self.config, context.facts
        target = Target(config.schema, config.table_name)
        ledger = Ledger(config.schema, facts.line or facts.run_id, self.name, facts.lease_token)

        def connect() -> Connection[Any]:
            return self._connected(ledger)

        if config.if_exists == "append":
            return ItemByItem(connect, target, ledger, lock_timeout_s=config.lock_timeout_s)
        return WholeRun(
            connect, target, ledger, lock_timeout_s=config.lock_timeout_s, only_new=config.if_exists == "fail"
        )

    def _connected(self, ledger: Ledger) -> Connection[Any]:
        from psycopg.sql import SQL

        from cableway.store.connect import connect

        database = self._database or self._own_database()
        if database is None:
            raise SettingsError(f"bloc {self.name!r} has no database to write to: give it a 'dsn', or set DATABASE_URL")
        connection = connect(database)
        connection.execute(SQL("SELECT set_config('application_name', %s, false)"), (ledger.application_name,))
        return connection

    def _own_database(self) -> DatabaseSettings | None:
        if self.config.dsn is None:
            return None
        from cableway.settings import DatabaseSettings

        settings = DatabaseSettings(url=self.config.dsn)
        try:
            settings.parameters()
        except SettingsError:
            raise SettingsError(f"bloc {self.name!r}: its 'dsn' is no connection string of Postgres") from None
        return settings

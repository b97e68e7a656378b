"""
The schema: numbered SQL files, applied in order, each recorded with its hash.

All that is missing is applied in one transaction under an advisory lock, so that of two instances
which start on an empty database one waits and then finds it done. A file that was changed after it
was applied is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cableway.errors import SchemaVersionError
from cableway.settings import DatabaseSettings
from cableway.store.connect import Connection
from cableway.store.executor import Executor, Row
from cableway.store.versions import SCHEMA_NUMBER, check_number

FOLDER = Path(__file__).parent / "schema"
OTHERS_S = 60.0
"""Seconds to wait for somebody else who migrates."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of ``schema/``."""

    number: int
    name: str
    sql: str

    @property
    def hash(self) -> str:
        """SHA-256 of its text, in hex."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> tuple[Migration, ...]:
    """Every migration, in order."""
    files = sorted(FOLDER.glob("[0-9]*.sql"))
    return tuple(Migration(int(file.name[:4]), file.stem, file.read_text(encoding="utf-8")) for file in files)


def ensure_schema(connection: Connection, settings: DatabaseSettings) -> None:
    """Create the schema where there is none.

    Raise `SchemaVersionError` where there is one of another version: an older one is brought up by
    `migrate` alone, when a person says so.
    """
    executor = Executor(connection, settings)
    if not _is_there(executor):
        migrate(connection, settings, only_if_empty=True)
    applied = executor.rows("schema_numbers")
    check_number(max((row["number"] for row in applied), default=None), settings)


def migrate(connection: Connection, settings: DatabaseSettings, *, only_if_empty: bool = False) -> list[str]:
    """Apply what is missing and return the names of the migrations applied.

    Raise `SchemaVersionError` where the schema is newer than this version, or was made from other
    files; nothing has changed then.
    """
    # A migration takes as long as the tables are large.
    executor = Executor(connection, replace(settings, statement_timeout_s=0, lock_timeout_s=OTHERS_S))
    with executor.transaction():
        executor.rows("lock_schema")
        # But whoever waits for a table makes all others wait behind him.
        executor.rows("limit_locks", milliseconds=f"{settings.lock_timeout_s * 1000:.0f}")
        if not _is_there(executor):
            _create(executor)
        applied = executor.rows("schema_numbers")
        if applied and only_if_empty:
            return []
        _check_history(applied, settings)
        missing = [migration for migration in migrations() if migration.number > len(applied)]
        executor.rows("use_schema")
        for migration in missing:
            connection.execute(migration.sql.encode())
            executor.rows("add_migration", number=migration.number, name=migration.name, hash=migration.hash)
    return [migration.name for migration in missing]


def _is_there(executor: Executor) -> bool:
    return bool(_found(executor)["has_table"])


def _create(executor: Executor) -> None:
    if not _found(executor)["has_schema"]:
        executor.rows("create_schema")
    executor.rows("create_migrations")


def _found(executor: Executor) -> Row:
    from psycopg.sql import Identifier

    schema = Identifier(executor.settings.schema).as_string()
    row = executor.row("has_migrations", schema=schema, table=f"{schema}.migrations")
    if row is None:
        raise AssertionError("the statement has one row")
    return row


def _check_history(applied: Sequence[Row], settings: DatabaseSettings) -> None:
    if len(applied) > SCHEMA_NUMBER:
        check_number(applied[-1]["number"], settings)
    for migration, row in zip(migrations(), applied, strict=False):
        if (row["number"], row["hash"]) != (migration.number, migration.hash):
            raise SchemaVersionError(
                f"the schema {settings.schema!r} in Postgres at {settings.where} was made from another "
                f"{migration.name}: it cannot be brought up to date"
            )

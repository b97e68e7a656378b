"""
A lasting session with the state database: connected with the first statement, and again when the connection broke.

A statement whose answer was lost is sent again, so whatever is sent outside a transaction must bear
being done twice. Where the schema is not there yet it is created first. A session serves one thread at a time.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import psycopg

from cableway.errors import UnavailableError
from cableway.settings import DatabaseSettings
from cableway.store.connect import Connection, connect
from cableway.store.executor import Executor, Result, Row, Step, Steps, drive
from cableway.store.faults import lacks_tables, translate

RETRY_S = 0.2
"""Seconds before a lost connection is made again."""


class Session:
    """Sends statements for as long as the server is away no more than *patience_s* at a time.

    That is the settings' connect budget by default; with 0 a statement fails at once.
    """

    def __init__(self, settings: DatabaseSettings, *, patience_s: float | None = None) -> None:
        self.settings = settings
        self._patience_s = settings.connect_budget_s if patience_s is None else patience_s
        self._executor: Executor | None = None
        self._in_transaction = False
        self._may_create = True

    def rows(self, name: str, before: Sequence[Step] = (), /, **parameters: Any) -> list[Row]:
        """Send the statement *name*, after those that go *before* it, and return its rows."""
        until = time.monotonic() + self._patience_s
        while True:
            # Goes on trying by itself until the time is up.
            executor = self._connected(until)
            try:
                return executor.rows(name, before, **parameters)
            except UnavailableError:
                if self._in_transaction or time.monotonic() + RETRY_S >= until:
                    raise
                self.close()
                time.sleep(RETRY_S)
            except psycopg.Error as error:
                if self._in_transaction or not (self._may_create and lacks_tables(error)):
                    raise
                self.ensure_schema()

    def row(self, name: str, /, **parameters: Any) -> Row | None:
        """The only row, or None."""
        rows = self.rows(name, **parameters)
        return rows[0] if rows else None

    def drive(self, steps: Steps[Result]) -> Result:
        """Do *steps* and return their result."""
        return drive(self, steps)

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Several statements that hold together; none of them is sent again. Not to be nested.

        It begins with a connection that answers, in a schema that is there. Raise `UnavailableError` where that
        cannot be had, or where it is not known whether the transaction was committed.
        """
        if self._may_create:
            self.ensure_schema()
        try:
            with ExitStack() as stack:
                self._begin(stack)
                self._in_transaction = True
                yield
        except psycopg.Error as error:
            known = translate(error, self.settings)
            if known is None:
                raise
            raise known from error
        finally:
            self._in_transaction = False

    def ensure_schema(self) -> None:
        """Create the schema where there is none; raise `SchemaVersionError` where it is another version's."""
        # Heavy for a job, which seldom needs it.
        from cableway.store.migrations import ensure_schema

        ensure_schema(self.connection(), self.settings)
        self._may_create = False

    def connection(self) -> Connection:
        """The connection as it stands, made if there is none."""
        return self._connected(time.monotonic() + self._patience_s).connection

    def close(self) -> None:
        """Let go of the connection; a later statement makes another one."""
        executor, self._executor = self._executor, None
        if executor is not None:
            with suppress(psycopg.Error):
                executor.connection.close()

    def _begin(self, stack: ExitStack) -> None:
        """Open a transaction on *stack*; a connection that was cut off while it lay idle is made again."""
        until = time.monotonic() + self._patience_s
        while True:
            executor = self._connected(until)
            try:
                stack.enter_context(executor.transaction())
            except psycopg.OperationalError as error:
                if translate(error, self.settings) is None or time.monotonic() + RETRY_S >= until:
                    raise
                self.close()
                time.sleep(RETRY_S)
            else:
                return

    def _connected(self, until: float) -> Executor:
        if self._executor is None or self._executor.connection.closed:
            self.close()
            connection = connect(self.settings, max(0.0, until - time.monotonic()))
            self._executor = Executor(connection, self.settings)
        return self._executor

"""
The two ways into a table: one transaction for the run, or one for each item.

Both keep the promise that a run taken up again leaves the rows of one clean run: the first
commits everything at the end together with an ``end`` key, the second each item together with
its own key; and neither commits once a later attempt has raised the fence.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import psycopg
from psycopg import Connection
from psycopg.sql import SQL

from cableway.blocs.kinds import Ending
from cableway.blocs.postgres_faults import said_anew
from cableway.blocs.postgres_ledger import END, Ledger
from cableway.blocs.postgres_table import Target
from cableway.errors import SinkError

Connect = Callable[[], Connection[Any]]

_SESSION = SQL(
    "SELECT set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO, YMD', true), "
    "set_config('IntervalStyle', 'postgres', true), set_config('statement_timeout', '0', true), "
    "set_config('idle_in_transaction_session_timeout', '0', true), set_config('lock_timeout', %s, true)"
)
_LOCK_TIMEOUT = SQL("SELECT set_config('lock_timeout', %s, true)")


class Writer(Protocol):
    """How rows get into a table, over the life of a run."""

    def open(self) -> None:
        """Connect, shut older attempts out, and take what has to be held for the whole run."""
        ...

    def write(self, key: str, table: Any) -> int:
        """Write the rows of the item *key* and return how many; 0 where they are there already. Any thread."""
        ...

    def close(self, ending: Ending) -> None:
        """Commit or give up what is held for the whole run, and let the connections go."""
        ...


class WholeRun:
    """One transaction for the run: ``replace`` and, with *only_new*, ``fail``. Items are written in turn."""

    def __init__(
        self, connect: Connect, target: Target, ledger: Ledger, *, lock_timeout_s: float, only_new: bool
    ) -> None:
        self._connect = connect
        self._target = target
        self._ledger = ledger
        self._lock_timeout = f"{round(lock_timeout_s * 1000)}ms"
        self._only_new = only_new
        self._turn = threading.Lock()
        self._connection: Connection[Any] | None = None
        self._columns: dict[str, str] | None = None
        self._done = False

    def open(self) -> None:
        """Begin the transaction and take the table's lock, waiting for another run that has it.

        Raise `SinkError` where the table exists and must not.
        """
        with said_anew(self._target.where), ExitStack() as on_failure:
            connection = self._connect()
            on_failure.callback(connection.close)
            self._begin(connection)
            on_failure.pop_all()
            self._connection = connection

    def _begin(self, connection: Connection[Any]) -> None:
        self._ledger.prepare(connection)
        connection.autocommit = False
        connection.execute(_SESSION, ("0",))
        self._done = self._ledger.has(connection, END)
        if self._done:
            return
        self._target.lock(connection)
        connection.execute(_LOCK_TIMEOUT, (self._lock_timeout,))
        if self._only_new and self._target.columns(connection):
            raise SinkError(f"{self._target.where} exists, and if_exists is 'fail'")

    def write(self, key: str, table: Any) -> int:
        """Copy under a savepoint, so that a bad item takes no other's rows with it."""
        with self._turn, said_anew(self._target.where):
            if self._done:
                return 0
            connection = self._alive()
            if self._columns is None:
                self._columns = self._emptied(connection) or self._target.make(connection, table)
            with connection.transaction():
                return self._target.copy(connection, table, self._columns)

    def close(self, ending: Ending) -> None:
        """Commit with the ``end`` key when the run's work is kept. Raise `LeaseLostError` when fenced out."""
        connection = self._connection
        if connection is None:
            return
        with said_anew(self._target.where):
            try:
                if ending.commits and not self._done:
                    self._commit(self._alive())
            finally:
                connection.close()  # rolls back what was not committed
                self._connection = None

    def _commit(self, connection: Connection[Any]) -> None:
        if self._columns is None:
            self._emptied(connection)
        self._ledger.add(connection, END)
        self._ledger.hold_fence(connection)
        connection.commit()

    def _emptied(self, connection: Connection[Any]) -> dict[str, str]:
        """The columns of the table, which has no rows for us any more; none where there is no table."""
        with connection.transaction():
            columns = self._target.columns(connection)
            if columns:
                self._target.empty(connection)
            return columns

    def _alive(self) -> Connection[Any]:
        if self._connection is None or self._connection.closed:
            raise SinkError(f"{self._target.where}: the connection to Postgres was lost, and the transaction with it")
        return self._connection


class ItemByItem:
    """One transaction for each item: ``append``. As many connections as there are workers."""

    def __init__(self, connect: Connect, target: Target, ledger: Ledger, *, lock_timeout_s: float) -> None:
        self._connect = connect
        self._target = target
        self._ledger = ledger
        self._lock_timeout = f"{round(lock_timeout_s * 1000)}ms"
        self._turn = threading.Lock()
        self._idle: list[Connection[Any]] = []
        self._columns: dict[str, str] = {}

    def open(self) -> None:
        """Shut older attempts out."""
        with said_anew(self._target.where), ExitStack() as on_failure:
            on_failure.callback(self.close, Ending.FAILED)
            with self._lent() as connection:
                self._ledger.prepare(connection)
            on_failure.pop_all()

    def write(self, key: str, table: Any) -> int:
        """The key first, then the rows, then the fence; raise `LeaseLostError` when a later attempt has raised it."""
        with said_anew(self._target.where), self._lent() as connection:
            columns = self._columns_for(connection, table)
            with connection.transaction():
                connection.execute(_SESSION, (self._lock_timeout,))
                if not self._ledger.add(connection, key):
                    return 0
                rows = self._target.copy(connection, table, columns)
                self._ledger.hold_fence(connection)
            return rows

    def close(self, ending: Ending) -> None:
        """Nothing is held but connections."""
        while self._idle:
            self._idle.pop().close()

    def _columns_for(self, connection: Connection[Any], table: Any) -> dict[str, str]:
        """The table's columns; the first item makes the table where it is missing."""
        with self._turn:
            if not self._columns:
                with connection.transaction():
                    self._target.lock(connection)
                    self._columns = self._target.columns(connection) or self._target.make(connection, table)
            return self._columns

    @contextmanager
    def _lent(self) -> Generator[Connection[Any]]:
        """A connection that nobody else uses meanwhile; one that broke is not used again."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        try:
            yield connection
        finally:
            if connection.closed or connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                connection.close()
            else:
                self._idle.append(connection)

"""
The two ways into a table: one transaction for the run, or one for each item.

Both keep the promise that a run taken up again leaves the rows of one clean run: the first
commits everything at the end together with an ``end`` key, the second each item together with
its own key; and neither commits once a later attempt has raised the fence.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, Literal, Protocol

import psycopg
from psycopg import Connection
from psycopg.sql import SQL

from cableway import failpoints
from cableway.blocs.kinds import Ending
from cableway.blocs.postgres.faults import said_anew
from cableway.blocs.postgres.intake import Intake, despite_conflicts
from cableway.blocs.postgres.ledger import END, Ledger
from cableway.blocs.postgres.swap import Swap
from cableway.errors import SinkError, SinkLostError

Connect = Callable[[], Connection[Any]]
Beginning = Literal["replace", "fail", "keep", "swap"]

SESSION = SQL(
    "SELECT set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO, YMD', true), "
    "set_config('IntervalStyle', 'postgres', true), set_config('statement_timeout', '0', true), "
    "set_config('idle_in_transaction_session_timeout', '0', true), set_config('lock_timeout', %s, true)"
)
LOCK_TIMEOUT = SQL("SELECT set_config('lock_timeout', %s, true)")


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
    """One transaction for the run, whose items are written in turn.

    *beginning* says what becomes of the rows that are there: they are deleted (``replace``), must not be
    (``fail``), stay (``keep``), or go with their table when another one takes its place (``swap``). What *cursor*
    gives at the end stands in the end row.
    """

    def __init__(
        self,
        connect: Connect,
        intake: Intake,
        ledger: Ledger,
        *,
        lock_timeout_s: float,
        beginning: Beginning,
        cursor: Callable[[], str] | None = None,
    ) -> None:
        self._connect = connect
        self._target = intake.target
        self._intake = intake
        self._ledger = ledger
        self._lock_timeout = f"{round(lock_timeout_s * 1000)}ms"
        self._beginning = beginning
        self._cursor = cursor
        self._turn = threading.Lock()
        self._connection: Connection[Any] | None = None
        self._swap: Swap | None = None
        self._begun = False
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
        connection.execute(SESSION, ("0",))
        self._done = self._ledger.end(connection) is not None
        if self._done:
            return
        if self._beginning != "keep":
            self._target.lock(connection)
        connection.execute(LOCK_TIMEOUT, (self._lock_timeout,))
        if self._beginning == "fail" and self._target.columns(connection):
            raise SinkError(f"{self._target.where} exists, and if_exists is 'fail'")

    def write(self, key: str, table: Any) -> int:
        """Write under a savepoint, so that a bad item takes no other's rows with it."""
        with self._turn, self._unless_lost(), said_anew(self._target.where):
            if self._done:
                return 0
            connection = self._alive()
            self._begin_table(connection)
            return despite_conflicts(lambda: self._put(connection, table))

    def _put(self, connection: Connection[Any], table: Any) -> int:
        with self._intake.unless_undone(), connection.transaction():
            if not self._intake.fits(table):
                if self._beginning == "keep":
                    self._target.lock(connection)
                self._intake.prepare(connection, table)
            return self._intake.put(connection, table)

    def _begin_table(self, connection: Connection[Any]) -> None:
        """Once: let the rows that are there go, or make the table that takes the place of theirs."""
        if self._begun:
            return
        with connection.transaction():
            there = bool(self._target.columns(connection))
            if there and self._beginning == "replace":
                self._target.empty(connection)
            if there and self._beginning == "swap":
                self._swap = Swap.begun(connection, self._target)
                self._intake.target = self._swap.aside
        self._begun = True

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
        self._begin_table(connection)
        if self._swap is not None:
            self._swap.finish(connection)
        self._ledger.add_end(connection, END if self._cursor is None else self._cursor())
        self._ledger.hold_fence(connection)
        failpoints.reach("before_commit")
        connection.commit()
        failpoints.reach("after_commit")

    @contextmanager
    def _unless_lost(self) -> Generator[None]:
        """With the connection the transaction goes, and with that all that the run has written so far."""
        try:
            yield
        except SinkError as error:
            if self._connection is None or self._connection.closed:
                raise SinkLostError(str(error)) from error
            raise

    def _alive(self) -> Connection[Any]:
        if self._connection is None or self._connection.closed:
            raise SinkError(f"{self._target.where}: the connection to Postgres was lost, and the transaction with it")
        return self._connection


class ItemByItem:
    """One transaction for each item: ``append`` and ``upsert``.

    Who appends has as many connections as there are workers; merging is done by one at a time.
    """

    def __init__(self, connect: Connect, intake: Intake, ledger: Ledger, *, lock_timeout_s: float) -> None:
        self._connect = connect
        self._target = intake.target
        self._intake = intake
        self._ledger = ledger
        self._lock_timeout = f"{round(lock_timeout_s * 1000)}ms"
        self._turn = threading.Lock()
        self._merging: AbstractContextManager[object] = threading.Lock() if intake.manner.merges else nullcontext()
        self._idle: list[Connection[Any]] = []

    def open(self) -> None:
        """Shut older attempts out."""
        with said_anew(self._target.where), ExitStack() as on_failure:
            on_failure.callback(self.close, Ending.FAILED)
            with self._lent() as connection:
                self._ledger.prepare(connection)
            on_failure.pop_all()

    def write(self, key: str, table: Any) -> int:
        """The key first, then the rows, then the fence; raise `LeaseLostError` when a later attempt has raised it."""
        with said_anew(self._target.where), self._merging, self._lent() as connection:
            self._prepare(connection, table)
            return despite_conflicts(lambda: self._put(connection, key, table))

    def close(self, ending: Ending) -> None:
        """Nothing is held but connections."""
        while self._idle:
            self._idle.pop().close()

    def _put(self, connection: Connection[Any], key: str, table: Any) -> int:
        with connection.transaction():
            connection.execute(SESSION, (self._lock_timeout,))
            if not self._ledger.add(connection, key):
                return 0
            failpoints.reach("key_written")
            rows = self._intake.put(connection, table)
            failpoints.reach("rows_written")
            self._ledger.hold_fence(connection)
            failpoints.reach("before_commit")
        failpoints.reach("after_commit")
        return rows

    def _prepare(self, connection: Connection[Any], table: Any) -> None:
        """The first item makes the table where it is missing, and each may widen it."""
        with self._turn:
            if self._intake.fits(table):
                return
            with self._intake.unless_undone(), connection.transaction():
                connection.execute(SESSION, ("0",))
                self._target.lock(connection)
                connection.execute(LOCK_TIMEOUT, (self._lock_timeout,))
                self._intake.prepare(connection, table)

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

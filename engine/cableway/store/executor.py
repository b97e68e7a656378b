"""
The two executors: they send a named statement over a connection and give its rows as dicts.

A statement that met a deadlock or a serialization failure outside a transaction is sent again; other
errors of the server come back in our words (`cableway.store.faults`). Steps that need several
statements are written once, as a generator of `Step`s, and driven by either executor.

How long a statement may take and wait is set for its transaction alone, in the same round trip: a pooler
such as PgBouncer hands a connection on after each transaction, and drops what was set when it was made. Who
prepares statements has no such pooler, and sets it with the first one.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from cableway.store.connect import AsyncConnection, Connection
from cableway.store.faults import CONFLICTS, translate
from cableway.store.statements import queries_of

if TYPE_CHECKING:
    from cableway.settings import DatabaseSettings

Row = dict[str, Any]
Result = TypeVar("Result")

CONFLICT_RETRIES = 5
_LIMITS = b"SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true)"
# Whoever prepares a statement sends it often: it is planned once, since planning takes longer than most of them. That
# plan is kept while tables grow, so it may not be one that is good for small tables alone.
_PREPARED = (
    _LIMITS + b", set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_seqscan', 'off', true)"
)
_PREPARED_FOR_ALL = _PREPARED.replace(b"true", b"false")


class Step(NamedTuple):
    """One statement of several: its name, its parameters, and what goes before it in the same transaction."""

    name: str
    parameters: Mapping[str, Any]
    before: Sequence[Step] = ()


Steps = Generator[Step, list[Row], Result]
"""What to do, statement by statement: yields a `Step`, is sent its rows, returns the result."""


class Sender(Protocol):
    """Whoever sends statements and waits for their rows."""

    @property
    def settings(self) -> DatabaseSettings:
        """The database that it speaks to."""
        ...

    def rows(self, name: str, before: Sequence[Step] = (), /, **parameters: Any) -> list[Row]:
        """Send the statement *name* and return its rows.

        What is to go *before* it is sent in the same round trip and transaction; each sees what was committed
        while the one before it waited for a lock.
        """
        ...


def drive(sender: Sender, steps: Steps[Result]) -> Result:
    """Do *steps* over *sender* and return their result."""
    try:
        step = next(steps)
        while True:
            step = steps.send(sender.rows(step.name, step.before, **step.parameters))
    except StopIteration as end:
        result: Result = end.value
        return result


class _Manner:
    """How statements are sent, over whichever connection."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self.settings = settings
        self._queries = queries_of(settings.schema)
        self._limits = _limits(settings)
        self._prepares = settings.prepare_threshold is not None
        self._set = _PREPARED if self._prepares else _LIMITS
        self._set_first = _PREPARED_FOR_ALL if self._prepares else _LIMITS
        self._is_told = False


class Executor(_Manner):
    """Sends statements over a blocking connection."""

    def __init__(self, connection: Connection, settings: DatabaseSettings) -> None:
        super().__init__(settings)
        self.connection = connection
        self._cursors: dict[str, psycopg.Cursor[Row]] = {}

    def rows(self, name: str, before: Sequence[Step] = (), /, **parameters: Any) -> list[Row]:
        """Send the statement *name*, after those that go *before* it, and return its rows."""
        tries = 0
        while True:
            try:
                if self.connection.pgconn.transaction_status != TransactionStatus.IDLE:
                    for step in before:
                        self.connection.execute(self._queries[step.name], step.parameters)
                    cursor = self.connection.execute(self._queries[name], parameters)
                elif self._is_told and not before:
                    cursor = self._kept_cursor(name).execute(self._queries[name], parameters)
                else:
                    with self.connection.pipeline():  # as one transaction
                        if not self._is_told:
                            self.connection.execute(self._set_first, self._limits)
                        for step in before:
                            self.connection.execute(self._queries[step.name], step.parameters)
                        cursor = self.connection.execute(self._queries[name], parameters)
                    self._is_told = self._prepares
                return cursor.fetchall() if _has_rows(cursor) else []
            except psycopg.Error as error:
                tries += 1
                time.sleep(_pause_or_raise(error, self.connection.pgconn.transaction_status, tries, self.settings))

    def row(self, name: str, /, **parameters: Any) -> Row | None:
        """The only row, or None."""
        rows = self.rows(name, **parameters)
        return rows[0] if rows else None

    def drive(self, steps: Steps[Result]) -> Result:
        """Do *steps* and return their result."""
        return drive(self, steps)

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Several statements that hold together."""
        with self.connection.transaction():
            self.connection.execute(self._set, self._limits)
            yield

    def _kept_cursor(self, name: str) -> psycopg.Cursor[Row]:
        """A cursor of the statement's own: it remembers how parameters and columns are converted."""
        found = self._cursors.get(name)
        if found is None:
            found = self._cursors[name] = self.connection.cursor(row_factory=_ByNames())
        return found


class _ByNames:
    """Makes dicts of the rows of one statement, whose columns are always the same."""

    def __init__(self) -> None:
        self._names: list[str] = []

    def __call__(self, cursor: psycopg.Cursor[Any] | psycopg.AsyncCursor[Any]) -> Callable[[Sequence[Any]], Row]:
        if not self._names:
            self._names = [column.name for column in cursor.description or ()]
        names = self._names
        return lambda values: dict(zip(names, values, strict=True))


class AsyncExecutor(_Manner):
    """Sends statements over a connection of an event loop."""

    def __init__(self, connection: AsyncConnection, settings: DatabaseSettings) -> None:
        super().__init__(settings)
        self.connection = connection
        self._cursors: dict[str, psycopg.AsyncCursor[Row]] = {}

    async def rows(self, name: str, before: Sequence[Step] = (), /, **parameters: Any) -> list[Row]:
        """Send the statement *name*, after those that go *before* it, and return its rows."""
        import asyncio

        tries = 0
        while True:
            try:
                if self.connection.pgconn.transaction_status != TransactionStatus.IDLE:
                    for step in before:
                        await self.connection.execute(self._queries[step.name], step.parameters)
                    cursor = await self.connection.execute(self._queries[name], parameters)
                elif self._is_told and not before:
                    cursor = await self._kept_cursor(name).execute(self._queries[name], parameters)
                else:
                    async with self.connection.pipeline():  # as one transaction
                        if not self._is_told:
                            await self.connection.execute(self._set_first, self._limits)
                        for step in before:
                            await self.connection.execute(self._queries[step.name], step.parameters)
                        cursor = await self.connection.execute(self._queries[name], parameters)
                    self._is_told = self._prepares
                return await cursor.fetchall() if _has_rows(cursor) else []
            except psycopg.Error as error:
                tries += 1
                status = self.connection.pgconn.transaction_status
                await asyncio.sleep(_pause_or_raise(error, status, tries, self.settings))

    async def row(self, name: str, /, **parameters: Any) -> Row | None:
        """The only row, or None."""
        rows = await self.rows(name, **parameters)
        return rows[0] if rows else None

    async def drive(self, steps: Steps[Result]) -> Result:
        """Do *steps* and return their result."""
        try:
            step = next(steps)
            while True:
                step = steps.send(await self.rows(step.name, step.before, **step.parameters))
        except StopIteration as end:
            result: Result = end.value
            return result

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[None]:
        """Several statements that hold together."""
        async with self.connection.transaction():
            await self.connection.execute(self._set, self._limits)
            yield

    def _kept_cursor(self, name: str) -> psycopg.AsyncCursor[Row]:
        """As `Executor` has it."""
        found = self._cursors.get(name)
        if found is None:
            found = self._cursors[name] = self.connection.cursor(row_factory=_ByNames())
        return found


def _has_rows(cursor: psycopg.Cursor[Any] | psycopg.AsyncCursor[Any]) -> bool:
    # As its description says, which takes longer to make than the rows.
    return cursor.pgresult is not None and cursor.pgresult.nfields > 0


def _limits(settings: DatabaseSettings) -> tuple[str, str]:
    """Milliseconds, as Postgres reads them."""
    return f"{settings.statement_timeout_s * 1000:.0f}", f"{settings.lock_timeout_s * 1000:.0f}"


def _pause_or_raise(error: psycopg.Error, status: int, tries: int, settings: DatabaseSettings) -> float:
    # Inside a transaction the whole of it would have to be done again, which only its owner can.
    if error.sqlstate in CONFLICTS and status == TransactionStatus.IDLE and tries <= CONFLICT_RETRIES:
        return random.uniform(0, 0.01 * 2**tries)
    known = translate(error, settings)
    if known is None:
        raise error
    raise known from error

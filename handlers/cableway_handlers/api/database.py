"""What the API asks of Postgres, over a pool, within a deadline of seconds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from cableway.errors import (
    CredentialsError,
    SchemaVersionError,
    SettingsError,
    UnavailableError,
)
from cableway.runs import RecordedRun, RunRequest, cancel_run_async, record_run_async
from cableway.settings import DatabaseSettings
from cableway.store.connect import AsyncConnection, connection_parameters
from cableway.store.executor import AsyncExecutor, Row, Step, Steps
from cableway.store.faults import lacks_tables, translate
from cableway.store.port import RunState
from cableway.store.versions import check_number
from cableway.stored.changes import noting
from cableway_handlers.api.hooks import HookDesk
from cableway_handlers.api.keys import Found, KeyCount, count_keys, find_key, key_used

MAX_CONNECTIONS = 8

DEADLINE_S = 2.0
"""Seconds within which the database must have answered, or the caller is told to come again."""

CHANGE_DEADLINE_S = 10.0
"""Seconds for a change of a definition, which is checked between its statements."""

RECONNECT_S = 0.2
"""Seconds for which the pool goes on by itself when it cannot connect."""

_log = logging.getLogger("cableway.api")

Result = TypeVar("Result")


class DatabaseDesk:
    """Runs, definitions and health, read from and written to the state database.

    The pool needs an event loop: make the desk anywhere, `open` it in the loop that serves.
    """

    def __init__(self, settings: DatabaseSettings, *, deadline_s: float = DEADLINE_S) -> None:
        self._settings = settings
        self._deadline_s = deadline_s
        self.hooks = HookDesk(settings)
        self._pool: AsyncConnectionPool[AsyncConnection] = AsyncConnectionPool(
            kwargs={**connection_parameters(settings), "row_factory": dict_row},
            min_size=1,
            max_size=MAX_CONNECTIONS,
            open=False,
            timeout=deadline_s,
            # The next request tries anew: with the pool's own back-off an hour's outage would last minutes longer.
            reconnect_timeout=RECONNECT_S,
            name="cableway api",
        )

    async def open(self) -> None:
        """Connect in the background; the database need not be there yet."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Let go of connections."""
        await self.hooks.close()
        await self._pool.close()

    async def check(self) -> None:
        """Raise `UnavailableError` unless the database answers and has this version's schema."""
        await self._ask(self._check)

    async def read(self, steps: Callable[[], Steps[Result]]) -> Result:
        """Do *steps* that change nothing; they may be done twice. Raise `UnavailableError`."""
        return await self._ask(lambda executor: executor.drive(steps()))

    async def change(self, steps: Callable[[], Steps[Result]]) -> Result:
        """Do *steps* in one transaction, whole or not at all, and tell those who watch triggers.

        What they reckon between statements is reckoned in a thread. Raise `UnavailableError`.
        """
        return await self._ask(lambda executor: _change(executor, noting(steps(), [])), CHANGE_DEADLINE_S)

    async def record_run(self, request: RunRequest) -> RecordedRun:
        """As `cableway.runs.record_run`. Raise `UnavailableError` besides."""
        return await self._ask(lambda executor: record_run_async(executor, request))

    async def cancel_run(self, run_id: str, *, by: str | None = None) -> RunState:
        """As `cableway.runs.cancel_run`. Raise `UnavailableError` besides."""
        return await self._ask(lambda executor: cancel_run_async(executor, run_id, by=by))

    async def count_keys(self) -> KeyCount:
        """How many API keys there are. Raise `UnavailableError`."""
        return await self.read(count_keys)

    async def find_key(self, text: bytes) -> Found | None:
        """Whose key *text* is, its use noted. Raise `UnavailableError`."""
        found = await self.read(lambda: find_key(text))
        if found is not None and found.stale:
            await self.read(lambda: key_used(found.prefix))
        return found

    async def _check(self, executor: AsyncExecutor) -> None:
        rows = await executor.rows("schema_numbers")
        check_number(max((row["number"] for row in rows), default=None), self._settings)

    async def _ask(
        self, question: Callable[[AsyncExecutor], Awaitable[Result]], deadline_s: float | None = None
    ) -> Result:
        """What *question* brings back. All that is the database's fault becomes one `UnavailableError`."""
        try:
            async with asyncio.timeout(deadline_s or self._deadline_s):
                return await self._ask_until_answered(question)
        except _DATABASE_FAULTS as error:
            _log.warning("the database did not answer: %s", str(error) or type(error).__name__)
            raise UnavailableError(_UNAVAILABLE) from error
        except psycopg.Error as error:
            # What begins and ends a transaction comes as it is.
            if translate(error, self._settings) is not None:
                _log.warning("the database did not answer: %s", error)
                raise UnavailableError(_UNAVAILABLE) from error
            if not lacks_tables(error):
                raise
            _log.warning("the database has no schema %r of this version", self._settings.schema)
            raise UnavailableError(_UNAVAILABLE) from error

    async def _ask_until_answered(self, question: Callable[[AsyncExecutor], Awaitable[Result]]) -> Result:
        while True:
            async with self._pool.connection() as connection:
                try:
                    return await question(AsyncExecutor(connection, self._settings))
                except UnavailableError:
                    # A connection that broke while it lay in the pool; every question may be asked twice.
                    if not connection.closed:
                        raise


async def _change(executor: AsyncExecutor, steps: Steps[Result]) -> Result:
    # A connection that was cut off in the pool is found out before there is anything that must not be done twice.
    await executor.rows("backend")
    async with executor.transaction():
        rows: list[Row] | None = None
        while True:
            # Checking a document may take longer than others should wait for the loop.
            step = await asyncio.to_thread(_next, steps, rows)
            if isinstance(step, _Done):
                return step.result
            rows = await executor.rows(step.name, step.before, **step.parameters)


class _Done(Generic[Result]):
    def __init__(self, result: Result) -> None:
        self.result = result


def _next(steps: Steps[Result], rows: list[Row] | None) -> Step | _Done[Result]:
    """The next statement, or the result; a `StopIteration` cannot leave a thread."""
    try:
        return next(steps) if rows is None else steps.send(rows)
    except StopIteration as end:
        return _Done(end.value)


_DATABASE_FAULTS = (TimeoutError, PoolTimeout, UnavailableError, CredentialsError, SettingsError, SchemaVersionError)

_UNAVAILABLE = "The database is not available. Ask again; the same webhook makes one run however often it is sent."

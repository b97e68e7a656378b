"""Connections to the state database: made within a budget of seconds, and gone soon when the server is."""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import DictRow, dict_row

from cableway.errors import UnavailableError
from cableway.settings import DatabaseSettings
from cableway.store.faults import translate_refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

Connection = psycopg.Connection[DictRow]
AsyncConnection = psycopg.AsyncConnection[DictRow]

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 2.0
ATTEMPT_S = 5
"""Seconds for one attempt, against a host that takes the call and says nothing."""
TOLD_AFTER_S = 2.0
"""Seconds after which it is said, once, that somebody waits for the database."""

_log = logging.getLogger("cableway.store")

DEFAULTS = {
    # A peer that has silently gone is noticed within half a minute (these mean nothing on a unix socket).
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
    "connect_timeout": str(ATTEMPT_S),
    "application_name": "cableway",
}


def connect(settings: DatabaseSettings, budget_s: float | None = None) -> Connection:
    """Connect, trying again with jitter for *budget_s* seconds (by default the settings' own; 0 tries once).

    The connection commits each statement by itself and gives rows as dicts. Raise `UnavailableError` naming
    host, port and database when the time is up, `CredentialsError` or `SettingsError` at once.
    """
    parameters = connection_parameters(settings)
    budget = _Budget(settings.connect_budget_s if budget_s is None else budget_s)
    while True:
        try:
            return Connection.connect(**parameters, row_factory=dict_row)
        except psycopg.OperationalError as error:
            time.sleep(budget.wait_after(error, settings))


async def connect_async(settings: DatabaseSettings, budget_s: float | None = None) -> AsyncConnection:
    """The same for a program with an event loop."""
    import asyncio

    parameters = connection_parameters(settings)
    budget = _Budget(settings.connect_budget_s if budget_s is None else budget_s)
    while True:
        try:
            return await AsyncConnection.connect(**parameters, row_factory=dict_row)
        except psycopg.OperationalError as error:
            await asyncio.sleep(budget.wait_after(error, settings))


def connection_parameters(settings: DatabaseSettings) -> dict[str, Any]:
    """What to call psycopg with, beside ``row_factory=dict_row``, for those (a pool) who connect themselves."""
    return {
        **DEFAULTS,
        **settings.parameters(),
        "autocommit": True,
        "prepare_threshold": settings.prepare_threshold,
    }


class _Budget:
    """Seconds to spend on connecting, and how to wait in between."""

    def __init__(self, budget_s: float) -> None:
        self._budget_s = budget_s
        self._until = time.monotonic() + budget_s
        self._waits = _waits()
        self._tell_at = time.monotonic() + TOLD_AFTER_S

    def wait_after(self, error: psycopg.Error, settings: DatabaseSettings) -> float:
        """Seconds to wait before the next attempt; raise what *error* means where there is none."""
        refusal = translate_refusal(error, settings)
        if not isinstance(refusal, UnavailableError):
            raise refusal from None
        wait_s = next(self._waits)
        if time.monotonic() + wait_s >= self._until:
            tried = f" (tried for {round(self._budget_s, 1):g} s)" if self._budget_s else ""
            raise UnavailableError(f"{refusal}{tried}") from None
        if time.monotonic() >= self._tell_at:
            self._tell_at = self._until
            _log.warning("%s; trying for %g s", refusal, round(self._budget_s, 1))
        return wait_s


def _waits() -> Iterator[float]:
    longest = FIRST_WAIT_S
    while True:
        # At least half of it, so that a server that is starting is not asked in a tight loop.
        yield random.uniform(longest / 2, longest)
        longest = min(LONGEST_WAIT_S, longest * 2)

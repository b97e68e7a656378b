"""Keys in a destination's ledger that nobody will ask for any more, given up as a run ends."""

from __future__ import annotations

import logging
from contextlib import closing
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import Connection
from psycopg.sql import SQL, Identifier

from cableway.blocs.postgres.ledger import FENCES, Ledger
from cableway.blocs.postgres.swap import ASIDE_PREFIX
from cableway.errors import CablewayError

if TYPE_CHECKING:
    from cableway.settings import DatabaseSettings

log = logging.getLogger("cableway.blocs.postgres.exporter")

_LINES = 1000
"""So many lines are looked at as one run ends; the next run goes on."""

_LIMITS = SQL(
    "SELECT set_config('statement_timeout', '10s', true), set_config('lock_timeout', '1s', true), "
    "set_config('idle_in_transaction_session_timeout', '0', true)"
)
_OLD_LINES = SQL(
    "SELECT DISTINCT line FROM {} WHERE item_key <> 'pruned' AND line <> %s "
    "AND committed_at < now() - make_interval(secs => %s * 86400) LIMIT %s"
)
# What is left says of a line that it is not to be taken up again: one row for each bloc.
_LEAVE_MARKS = SQL(
    "INSERT INTO {} AS kept (line, bloc, item_key, position, lap, token) "
    "SELECT line, bloc, 'pruned', max(lap)::text, max(lap), max(token) FROM given_up GROUP BY line, bloc "
    "ON CONFLICT (line, bloc, item_key) DO UPDATE SET position = excluded.position, lap = excluded.lap, "
    "token = excluded.token, committed_at = now() WHERE kept.lap < excluded.lap"
)
_GIVE_UP_LINES = SQL(
    "WITH given_up AS (DELETE FROM {} WHERE line = ANY(%s) AND item_key <> 'pruned' RETURNING line, bloc, lap, token) "
)
_GIVE_UP_LAPS = SQL(
    "WITH given_up AS (DELETE FROM {} WHERE line = %s AND bloc = %s AND lap < %s AND item_key <> 'pruned' "
    "AND committed_at < now() - make_interval(secs => %s * 86400) RETURNING line, bloc, lap, token) "
)
_BUILT_ASIDE = SQL("SELECT position AS name FROM {} WHERE line = ANY(%s) AND item_key = 'aside' AND lap < 0")
_DROP_TABLE = SQL("DROP TABLE IF EXISTS {}")
_DROP_FENCES = SQL("DELETE FROM {} WHERE line = ANY(%s)")


def prune(connection: Connection[Any], ledger: Ledger, state: DatabaseSettings, *, retention_days: float) -> None:
    """Give up the keys of lines that ended *retention_days* ago, and of this one's laps that are over for so long.

    Only the state database *state* says which lines have ended; lines that it does not know are another
    service's. Never raises: what cannot be given up now can later.
    """
    try:
        _prune(connection, ledger, state, retention_days)
    except (psycopg.Error, CablewayError) as error:
        log.debug("keys of ended lines in schema %s stay for now: %s", ledger.schema, type(error).__name__)


def _prune(connection: Connection[Any], ledger: Ledger, state: DatabaseSettings, days: float) -> None:
    from cableway.store.connect import connect
    from cableway.store.executor import Executor

    connection.autocommit = True
    with connection.transaction():
        connection.execute(_LIMITS)
        old = connection.execute(ledger.of(_OLD_LINES), (ledger.line, days, _LINES)).fetchall()
    if not old and not ledger.lap:
        return
    with closing(connect(state, 0)) as own:
        ask = Executor(own, state).rows
        lines = [row["line"] for row in old]
        ended = [row["line"] for row in ask("ended_lines", lines=lines, days=days)] if lines else []
        laps = bool(ledger.lap) and not ask("has_open_letters", line=ledger.line)[0]["open"]
    with connection.transaction():
        connection.execute(_LIMITS)
        if ended:
            for row in connection.execute(ledger.of(_BUILT_ASIDE), (ended,)).fetchall():
                if row["name"].startswith(ASIDE_PREFIX):  # and not the line of the whole that it belongs to
                    connection.execute(_DROP_TABLE.format(Identifier(ledger.schema, row["name"])))
            connection.execute(ledger.of(_GIVE_UP_LINES) + ledger.of(_LEAVE_MARKS), (ended,))
            connection.execute(ledger.of(_DROP_FENCES, FENCES), (ended,))
        if laps:
            values = (ledger.line, ledger.bloc, ledger.lap, days)
            connection.execute(ledger.of(_GIVE_UP_LAPS) + ledger.of(_LEAVE_MARKS), values)

"""
What makes writing to a Postgres table exactly-once: a fence and a ledger beside the table.

``cableway_fences`` holds for each line the highest token of an attempt; a transaction that reads
a higher one than its own before it commits is refused. ``cableway_commits`` holds the key of each
item whose rows are there, written in the same transaction as the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from psycopg import Connection
from psycopg.errors import LockNotAvailable
from psycopg.sql import SQL, Composed, Identifier

from cableway.errors import LeaseLostError, SinkError

FENCES = "cableway_fences"
COMMITS = "cableway_commits"
END = "end"
"""The key that a transaction for a whole run writes, unless its line has laps."""
PRUNED = "pruned"
"""The one key that is left of those that were given up; its position is the last lap that they were of."""
_FENCE_WAIT_MS = 2000
_FENCE_TRIES = 5
_NAME_BYTES = 63
_TOKEN_DIGITS = 17
"""What a UUID leaves of a connection's name; a sequence needs longer than anybody lives to get there."""

_FIND_TABLES = SQL(
    "SELECT count(*) AS tables FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace "
    "WHERE n.nspname = %s AND relname = ANY(%s)"
)
_LOCK_CREATION = SQL("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))")
_MAKE_FENCES = SQL("CREATE TABLE IF NOT EXISTS {} (line text PRIMARY KEY, token bigint NOT NULL)")
_MAKE_COMMITS = SQL(
    "CREATE TABLE IF NOT EXISTS {} (line text NOT NULL, bloc text NOT NULL, item_key text NOT NULL, "
    "position text NOT NULL, lap bigint NOT NULL, token bigint NOT NULL, "
    "committed_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (line, bloc, item_key))"
)
_MAKE_INDEX = SQL("CREATE INDEX IF NOT EXISTS cableway_commits_by_time ON {} (committed_at) WHERE item_key <> 'pruned'")
_END_OLDER = SQL(
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
    "WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid() "
    "AND starts_with(application_name, %(family)s) "
    "AND substr(application_name, length(%(family)s) + 1) ~ '^[0-9]+$' "
    "AND substr(application_name, length(%(family)s) + 1)::numeric < %(token)s"
)
_WAIT_BRIEFLY = SQL("SELECT set_config('lock_timeout', %s, true)")
_RAISE_FENCE = SQL(
    "INSERT INTO {} AS fence (line, token) VALUES (%s, %s) "
    "ON CONFLICT (line) DO UPDATE SET token = excluded.token WHERE fence.token < excluded.token"
)
_READ_FENCE = SQL("SELECT token FROM {} WHERE line = %s")
_HOLD_FENCE = SQL("SELECT token FROM {} WHERE line = %s FOR SHARE")
_FIND_KEYS = SQL(
    "SELECT item_key FROM {} WHERE line = %s AND bloc = %s AND lap = %s AND item_key NOT IN (%s, 'pruned')"
)
_FIND_POSITION = SQL("SELECT position FROM {} WHERE line = %s AND bloc = %s AND item_key = %s")
_COUNT_KEYS = SQL("SELECT count(*) AS keys FROM {} WHERE line = %s AND bloc = %s AND lap = %s")
_ADD_KEY = SQL(
    "INSERT INTO {} (line, bloc, item_key, position, lap, token) VALUES (%s, %s, %s, %s, %s, %s) "
    "ON CONFLICT DO NOTHING RETURNING 1"
)


@dataclass(frozen=True, slots=True)
class Ledger:
    """One bloc's part of the fence and the ledger in *schema*. *token* is that of this attempt.

    *lap* is the line's, and *end_key* what a transaction for the whole of it writes.
    """

    schema: str
    line: str
    bloc: str
    token: int
    lap: int = 0
    end_key: str = END

    @property
    def application_name(self) -> str:
        """What the connections of this attempt are called, for a later one to end them."""
        return f"{self._family}{self.token}"

    @property
    def _family(self) -> str:
        line = self.line
        if len(f"cableway/{line}/".encode()) + _TOKEN_DIGITS > _NAME_BYTES or "/" in line:
            line = blake2b(line.encode(), digest_size=16).hexdigest()
        return f"cableway/{line}/"

    def prepare(self, connection: Connection[Any]) -> None:
        """Shut older attempts out: end their connections and raise the fence. The two tables are made where missing.

        Raise `LeaseLostError` when a later attempt has been here, `SinkError` when an older one cannot be shut out,
        or when the line's keys are not kept any more.
        """
        self._make_tables(connection)
        self.refuse_pruned(connection)
        for _ in range(_FENCE_TRIES):
            self._end_older(connection)
            try:
                with connection.transaction():
                    self._raise_fence(connection)
                break
            except LockNotAvailable:
                continue  # one of the ended connections still rolls back, or came back
        else:
            raise SinkError(f"an older attempt of line {self.line} holds its fence in schema {self.schema!r}")
        # One may have connected again before the fence was up, and wait inside a transaction.
        self._end_older(connection)

    def end(self, connection: Connection[Any]) -> str | None:
        """The position that stands in the end row; None where the transaction for the whole run is to come."""
        return self.position(connection, self.end_key)

    def keys(self, connection: Connection[Any]) -> Iterator[str]:
        """The keys of the lap's items whose rows are there, in no order and never all in memory."""
        with connection.transaction(), connection.cursor("cableway_keys") as cursor:
            cursor.execute(self.of(_FIND_KEYS), (self.line, self.bloc, self.lap, self.end_key))
            for row in cursor:
                yield row["item_key"]

    def add(self, connection: Connection[Any], key: str, position: str | None = None) -> bool:
        """Write the item's key. False: it is there already, so its rows are as well."""
        place = position_of(key) if position is None else position
        added = connection.execute(self.of(_ADD_KEY), (self.line, self.bloc, key, place, self.lap, self.token))
        return added.fetchone() is not None

    def add_end(self, connection: Connection[Any], position: str) -> None:
        """Write the end row with *position*."""
        self.add(connection, self.end_key, position)

    def position(self, connection: Connection[Any], key: str) -> str | None:
        """What stands in the row of *key*; None where there is none."""
        found = connection.execute(self.of(_FIND_POSITION), (self.line, self.bloc, key)).fetchone()
        return None if found is None else str(found["position"])

    def count(self, connection: Connection[Any]) -> int:
        """How many rows the line has."""
        found = connection.execute(self.of(_COUNT_KEYS), (self.line, self.bloc, self.lap)).fetchone()
        return 0 if found is None else int(found["keys"])

    def hold_fence(self, connection: Connection[Any]) -> None:
        """Keep the fence where it is until the transaction ends. Raise `LeaseLostError` when it is above our token."""
        self._compare(connection.execute(self.of(_HOLD_FENCE, FENCES), (self.line,)).fetchone())

    def refuse_pruned(self, connection: Connection[Any]) -> None:
        """Raise `SinkError` when the line's keys are not kept any more."""
        found = connection.execute(self.of(_FIND_POSITION), (self.line, self.bloc, PRUNED)).fetchone()
        if found is not None and int(found["position"]) >= self.lap:
            raise SinkError(
                f"line {self.line} ended so long ago that schema {self.schema!r} no longer knows what it wrote; "
                "start a new run"
            )

    def _raise_fence(self, connection: Connection[Any]) -> None:
        connection.execute(_WAIT_BRIEFLY, (f"{_FENCE_WAIT_MS}ms",))
        connection.execute(self.of(_RAISE_FENCE, FENCES), (self.line, self.token))
        self._compare(connection.execute(self.of(_READ_FENCE, FENCES), (self.line,)).fetchone())

    def _compare(self, row: Any) -> None:
        token = row["token"] if row is not None else None
        if token != self.token:
            raise LeaseLostError(
                f"a later attempt writes line {self.line} in schema {self.schema!r}; this one was refused"
            )

    def _end_older(self, connection: Connection[Any]) -> None:
        connection.execute(_END_OLDER, {"family": self._family, "token": self.token})

    def _make_tables(self, connection: Connection[Any]) -> None:
        """Only where they are missing: a role that may write there need not have the right to make tables."""
        present = connection.execute(_FIND_TABLES, (self.schema, [FENCES, COMMITS])).fetchone()
        if present is not None and present["tables"] == 2:
            return
        with connection.transaction():
            connection.execute(_LOCK_CREATION, (f"{FENCES} {self.schema}",))
            connection.execute(self.of(_MAKE_FENCES, FENCES))
            connection.execute(self.of(_MAKE_COMMITS))
            connection.execute(self.of(_MAKE_INDEX))

    def of(self, statement: SQL, table: str = COMMITS) -> Composed:
        """*statement* about the schema's *table* of the ledger."""
        return statement.format(Identifier(self.schema, table))


def position_of(key: str) -> str:
    """The source position that an item key ends at: of a batch its last member's, of a child its parent's."""
    return key.rpartition("..")[2].partition(".")[0]

"""
Hearing what Postgres tells: a wait that ends sooner when something is said on a channel.

Behind a pooler that shares connections nobody can listen; there, and while the database is away, it is a plain wait.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import psycopg

from cableway.errors import CablewayError

if TYPE_CHECKING:
    from cableway.store.connect import Connection
    from cableway.store.session import Session


class Ear:
    """Listens over *session* by the statement *listen*, and again after the connection was lost."""

    def __init__(self, session: Session, listen: str) -> None:
        self._session = session
        self._listen = listen
        self._connection: Connection | None = None
        self._hears = False

    def listen(self) -> None:
        """Have the server keep from now on what is said. Raise `UnavailableError`."""
        connection = self._session.connection()
        if connection is self._connection:
            return
        # A pooler hands each statement to another server process than the one it named when we connected.
        self._hears = self._session.rows("backend")[0]["pid"] == connection.info.backend_pid
        if self._hears:
            self._session.rows(self._listen)
        self._connection = connection

    def wait(self, timeout_s: float, stopped: int, concerns: Callable[[str], bool] = lambda _: True) -> None:
        """Return after *timeout_s* seconds, when *stopped* can be read, or once a word is said that *concerns* us."""
        try:
            self.listen()
        except CablewayError:
            self._hears, self._connection = False, None
        until = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(stopped, selectors.EVENT_READ)
            if self._hears and self._connection is not None:
                selector.register(self._connection.pgconn.socket, selectors.EVENT_READ)
            # What was said while a statement was on its way lies here already.
            while not self._heard(concerns):
                ready = selector.select(max(0.0, until - time.monotonic()))
                if not ready or any(key.fd == stopped for key, _ in ready):
                    return

    def _heard(self, concerns: Callable[[str], bool]) -> bool:
        """Whether something of ours was said, or the connection is lost: then there is something to look at."""
        if not self._hears or self._connection is None:
            return False
        try:
            said = [concerns(notice.payload) for notice in self._connection.notifies(timeout=0)]
            # What came right behind the answer to a statement has been read with it, and nobody looked at it yet.
            while (notice := self._connection.pgconn.notifies()) is not None:
                said.append(concerns(notice.extra.decode()))
        except psycopg.Error:
            self._hears, self._connection = False, None
            return True
        return any(said)

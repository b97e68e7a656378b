"""
Watching triggers and schedulers, whoever changes them.

Postgres says at once that something has changed. Behind a pooler that shares connections nobody can listen,
so the tables are asked every few seconds as well; what has changed is what differs from the last answer, so
that a message lost or heard twice does no harm.
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

from cableway.errors import CablewayError
from cableway.settings import DatabaseSettings
from cableway.store.connect import Connection
from cableway.store.session import Session
from cableway.stored.changes import TriggerChange

POLL_S = 5.0
"""Seconds between two questions where nothing was heard."""

log = logging.getLogger("cableway.scheduler")

_Known: TypeAlias = Mapping[tuple[Literal["trigger", "scheduler"], str], tuple[object, ...]]


class TriggerWatch:
    """Calls *on_change*, from a thread of its own, for each trigger and scheduler that is not what it was.

    Changes are counted from `start` on. While the database is away nothing is heard, and what happened meanwhile is
    told afterwards. A callback that raises is logged and called again for the next change.
    """

    def __init__(
        self, settings: DatabaseSettings, on_change: Callable[[TriggerChange], object], *, poll_s: float = POLL_S
    ) -> None:
        self._on_change = on_change
        self._poll_s = poll_s
        self._known: _Known = {}
        # A statement that fails is tried again after the next wait, so that the end is never far.
        self._session = Session(settings, patience_s=0)
        self._listening: Connection | None = None
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._watch, name="cableway-triggers", daemon=True)

    def start(self) -> None:
        """Begin, and return when changes are noticed. Raise as `Session` does where the database is not there."""
        self._session.ensure_schema()
        self._listen()
        self._known = self._revisions()
        self._thread.start()

    def stop(self) -> None:
        """End; nothing is told any more once this returns."""
        self._wake.close()
        if self._thread.ident is not None:
            self._thread.join()
        self._woken.close()
        self._session.close()

    def _watch(self) -> None:
        while not self._stopped():
            try:
                if self._listening is None:
                    self._listen()
                self._tell(self._revisions())
            except CablewayError as error:
                log.warning("triggers are not watched for the moment: %s", error)
                self._session.close()
                self._listening = None

    def _listen(self) -> None:
        connection = self._session.connection()
        if self._session.rows("backend")[0]["pid"] == connection.info.backend_pid:
            self._session.rows("watch_changes")
        self._listening = connection

    def _stopped(self) -> bool:
        """Wait for a message, the time to ask, or the end; return whether it is the end."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            if self._listening is not None:
                selector.register(self._listening.pgconn.socket, selectors.EVENT_READ)
            ready = [key.fileobj for key, _ in selector.select(self._poll_s)]
        return self._woken in ready

    def _revisions(self) -> _Known:
        rows = self._session.rows("trigger_revisions")
        return {(row["kind"], row["name"]): (row["revision"], row["created_at"]) for row in rows}

    def _tell(self, now: _Known) -> None:
        before, self._known = self._known, now
        for key in before.keys() | now.keys():
            if before.get(key) == now.get(key):
                continue
            change: Literal["created", "updated", "deleted"] = (
                "deleted" if key not in now else "updated" if key in before else "created"
            )
            try:
                self._on_change(TriggerChange(kind=key[0], name=key[1], change=change))
            except Exception:
                log.exception("a listener failed on %s %r", *key)

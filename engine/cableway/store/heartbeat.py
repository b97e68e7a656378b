"""
A run's heartbeat: renews the lease from a thread, and says when it must be taken for lost.

For a second nothing starts, so a short run pays for one sleeping thread. Then a second thread beats over a
connection of its own and hears there when somebody asks for the run's end, while the first one watches the
clock: a beat that hangs cannot keep the attempt from fencing itself off before another one may take over.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable

from cableway.errors import CablewayError, LeaseLostError
from cableway.store.port import Lease, RunStore

log = logging.getLogger("cableway.job")

FIRST_BEAT_S = 1.0
"""Seconds after which an attempt begins to beat and to listen, if its lease does not ask for it sooner."""

LONGEST_MARGIN_S = 10.0
"""Seconds before the lease runs out at which an attempt that cannot renew it gives up."""


class Heartbeat:
    """Beats every quarter of the lease's time to live, from a second after `start` to `stop`.

    *open_store* makes the store to beat over, when the first beat is due. *on_lost* is called once, at
    the latest a margin before the lease runs out (10 s, or a sixth of a short lease); *on_cancel*
    once, when a beat says that somebody asked for the run's end. Both are called from a thread of
    the heartbeat's. *taken_at* is the monotonic time just before the lease was claimed.
    """

    def __init__(
        self,
        open_store: Callable[[], RunStore],
        lease: Lease,
        on_lost: Callable[[], None],
        on_cancel: Callable[[], None],
        *,
        taken_at: float | None = None,
    ) -> None:
        self._open_store = open_store
        self._lease = lease
        self._on_lost = on_lost
        self._on_cancel = on_cancel
        self._every_s = lease.ttl_s / 4
        self._fence_after_s = lease.ttl_s - min(LONGEST_MARGIN_S, lease.ttl_s / 6)
        # Counted from before the request: the server's own clock began later, so ours runs out first.
        self._renewed_at = time.monotonic() if taken_at is None else taken_at
        self._stopped = threading.Event()
        self._stopper, self._stopping = socket.socketpair()
        self._lost = threading.Event()
        self._losing = threading.Lock()
        self._cancel_seen = False
        self._watcher = threading.Thread(target=self._watch, name="cableway-lease", daemon=True)
        self._beater: threading.Thread | None = None

    @property
    def lost(self) -> bool:
        """Whether the lease was lost, or must be taken for lost."""
        return self._lost.is_set()

    def start(self) -> None:
        """Begin; returns at once."""
        self._watcher.start()

    def stop(self) -> None:
        """End at once, and before the run's outcome is written: a beat after that finds the lease given up.

        A beat that is on its way is left behind; it cannot outlive the process.
        """
        self._end()
        if self._watcher.ident is not None and self._watcher is not threading.current_thread():
            self._watcher.join()

    def _end(self) -> None:
        self._stopped.set()
        self._stopper.close()  # which the other end can read

    def _watch(self) -> None:
        first_s = min(self._every_s, FIRST_BEAT_S)
        if self._stopped.wait(max(0.0, self._renewed_at + first_s - time.monotonic())):
            self._stopping.close()
            return
        self._beater = threading.Thread(target=self._beat_until_stopped, name="cableway-heartbeat", daemon=True)
        self._beater.start()
        while not self._stopped.is_set():
            left_s = self._renewed_at + self._fence_after_s - time.monotonic()
            if left_s <= 0:
                self._lose("the lease could not be renewed in time")
                return
            self._stopped.wait(left_s)

    def _beat_until_stopped(self) -> None:
        store: RunStore | None = None
        try:
            while not self._stopped.is_set():
                try:
                    store = store or self._open_store()
                    self._beat(store)
                    store.hear(self._lease, self._stopping.fileno(), self._every_s)
                except LeaseLostError as error:
                    self._lose(str(error))
                    return
                except CablewayError as error:
                    log.warning("a heartbeat of run %s failed: %s", self._lease.run_id, error)
                    self._stopped.wait(min(1.0, self._every_s / 4))
        finally:
            self._stopping.close()
            if store is not None:
                store.close()

    def _beat(self, store: RunStore) -> None:
        asked_at = time.monotonic()
        beat = store.beat(self._lease)
        self._renewed_at = asked_at
        if beat.cancel_requested and not self._cancel_seen:
            self._cancel_seen = True
            self._on_cancel()

    def _lose(self, reason: str) -> None:
        with self._losing:
            if self._stopped.is_set():
                return
            self._lost.set()
            self._end()
        log.error("run %s: %s", self._lease.run_id, reason)
        self._on_lost()

"""The sweep as a thread: at once when a run was recorded, and every few seconds whatever happens."""

from __future__ import annotations

import logging
import socket
import threading
import time
from contextlib import suppress

from cableway.errors import CablewayError
from cableway.store.hearing import Ear
from cableway_handlers.launch.protocol import Launch
from cableway_handlers.launch.sweep import Sweep

INTERVAL_S = 10.0
"""Seconds between two sweeps where nothing is heard: what was lost is found within that."""
AWAY_S = 1.0
"""Seconds between two tries while the database is away."""

_log = logging.getLogger("cableway.launch")


class SweepLoop:
    """Sweeps by *sweep*, which it closes, from `start` to `close`, in a thread of its own.

    It hears from Postgres when a place has become free; behind a pooler that shares connections that is found
    out every *interval_s* seconds. While the database is away it tries again, and nothing is lost.
    """

    def __init__(self, sweep: Sweep, *, interval_s: float = INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)  # noqa: FBT003 - the method's own argument
        self._woken.setblocking(False)  # noqa: FBT003 - as above
        self._stopped = threading.Event()
        self._sweep = sweep
        sweep.on_done = self.wake
        self._ear = Ear(sweep.session, "hear_launches")
        self._thread = threading.Thread(target=self._run, name="cableway-sweep", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def wake(self) -> None:
        """Launch soon what may be launched now. Never blocks, never raises; may be called from any thread."""
        with suppress(OSError):  # so much has been said already that it will be heard, or it is the end
            self._waker.send(b"w")

    def add(self, launch: Launch) -> bool:
        """As `wake`. Which runs are to be launched the database knows, so nothing is lost where this is not called."""
        del launch
        self.wake()
        return not self._stopped.is_set()

    def close(self) -> None:
        """Return when the launches under way are made; the runs that still wait stay queued."""
        self._stopped.set()
        self.wake()
        if self._thread.ident is not None:
            self._thread.join()
        self._sweep.close()
        self._waker.close()
        self._woken.close()

    def _run(self) -> None:
        whole_at = time.monotonic()
        while not self._stopped.is_set():
            wait_s = AWAY_S
            try:
                # Before looking: what is said while we look is heard after it.
                self._ear.listen()
                whole = time.monotonic() >= whole_at
                self._sweep.step(whole=whole)
                if whole:
                    whole_at = time.monotonic() + self._interval_s
                next_s = self._sweep.next_launch_s()
                wait_s = max(0.0, min(whole_at - time.monotonic(), self._interval_s if next_s is None else next_s))
            except CablewayError as error:
                _log.warning("runs are not swept for the moment: %s", error)
            except Exception:  # noqa: BLE001 - a thread that ends sweeps nothing any more
                _log.exception("a sweep failed; the next one begins anew")
            self._wait(wait_s)

    def _wait(self, wait_s: float) -> None:
        self._ear.wait(wait_s, self._woken.fileno())
        with suppress(BlockingIOError):
            self._woken.recv(4096)

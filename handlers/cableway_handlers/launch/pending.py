"""Launches that wait to be made: after the commit, in the background, only so many at once."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore

from cableway_handlers.launch.protocol import Launch, Launcher, LaunchError

MAX_LAUNCHING = 10
"""Containers that one service starts at once."""

MAX_WAITING = 10_000
"""Launches that may wait; what is over that stays queued in the database."""

_log = logging.getLogger("cableway.launch")


class PendingLaunches:
    """Hands launches to *launcher* in threads. What fails is logged, and its run stays queued."""

    def __init__(
        self, launcher: Launcher, *, max_launching: int = MAX_LAUNCHING, max_waiting: int = MAX_WAITING
    ) -> None:
        self._launcher = launcher
        self._threads = ThreadPoolExecutor(max_launching, thread_name_prefix="launch")
        self._places = BoundedSemaphore(max_launching + max_waiting)

    def add(self, launch: Launch) -> bool:
        """Launch soon and return True; False if too many wait already, or after the end. Never blocks, never raises."""
        if not self._places.acquire(blocking=False):
            _log.warning("%s is not launched: too many wait; its run stays queued", launch.name)
            return False
        try:
            self._threads.submit(self._launch, launch)
        except RuntimeError:
            _log.warning("%s is not launched: this service is ending; its run stays queued", launch.name)
            return False
        return True

    def close(self) -> None:
        """Return when the launches under way are made; those that still wait are given up, their runs stay queued."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _launch(self, launch: Launch) -> None:
        try:
            self._launcher.launch(launch)
        except LaunchError as error:
            _log.warning("%s was not launched, its run stays queued: %s", launch.name, error)
        except Exception:  # noqa: BLE001 - a thread of the pool would swallow it
            _log.exception("%s was not launched, its run stays queued", launch.name)
        finally:
            self._places.release()

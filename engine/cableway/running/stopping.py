"""The wish that an attempt ends early: who asked, told to the attempt from any thread or signal handler."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

    from cableway.errors import CablewayError

INTERRUPTED = 143
"""`cableway.errors.EXIT_INTERRUPTED`, known before anything else is imported."""

LOST_GRACE_S = 5.0
"""Seconds that blocs get to close in when the lease is lost and another attempt may be at work."""


class Stop:
    """Why the attempt must end, if it must.

    Nothing here takes a lock, for a signal handler may come in anywhere; asking twice at the same
    time tells the listener twice, which it must bear.
    """

    def __init__(self) -> None:
        self.reason: CablewayError | None = None
        self.grace_s = 25.0
        """Seconds from the wish to the end of the process, but for what little the last word takes."""
        self._asked_at = math.inf
        self._tell: Callable[[], None] | None = None

    @property
    def lost(self) -> bool:
        """Whether the lease is gone, so that nothing may be written any more."""
        return self.reason is not None and self.reason.code == "lease_lost"

    @property
    def until(self) -> float:
        """The monotonic time at which the grace is over; infinite while nobody has asked."""
        return self._asked_at + (min(self.grace_s, LOST_GRACE_S) if self.lost else self.grace_s)

    def ask(self, reason: CablewayError) -> None:
        """End the attempt for *reason*. The first reason stands, unless a later one is that the lease was lost."""
        if self.reason is None or (reason.code == "lease_lost" and not self.lost):
            self._asked_at = min(self._asked_at, time.monotonic())
            self.reason = reason
            if self._tell is not None:
                self._tell()

    def listen(self, tell: Callable[[], None]) -> None:
        """Have *tell* called whenever there is a new reason; at once if there is one already."""
        self._tell = tell
        if self.reason is not None:
            tell()

    def close(self) -> None:
        """Tell nobody any more."""
        self._tell = None


class Signals:
    """What SIGTERM, SIGINT and SIGHUP do to this process: end it at once, until a run has something to drain."""

    def __init__(self) -> None:
        self._drain: Callable[[], None] | None = None
        self._caught = False

    def install(self) -> None:
        """Take the signals from here on. SIGUSR1 writes every thread's stack to stderr and changes nothing."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves it
                signal.signal(number, self._handle)
        import faulthandler

        with suppress(RuntimeError, OSError, AttributeError, ValueError):  # stderr may be closed
            faulthandler.register(signal.SIGUSR1, all_threads=True)

    def drain_by(self, drain: Callable[[], None]) -> None:
        """From now on the first signal calls *drain*, and the second one ends the process."""
        self._drain = drain

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._drain is None or self._caught:
            # Not by an exception: one that comes in during an import, or while something is let go of, gets lost.
            os._exit(INTERRUPTED)
        self._caught = True
        self._drain()

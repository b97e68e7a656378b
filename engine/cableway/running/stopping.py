"""The wish that an attempt ends early: who asked, told to the attempt from any thread or signal handler."""

from __future__ import annotations

import math
import os
import signal
import time
from _thread import allocate_lock
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

    from cableway.errors import CablewayError

INTERRUPTED = 143
"""`cableway.errors.EXIT_INTERRUPTED`, known before anything else is imported."""

HELD_BACK_S = 2.0
"""Seconds that a signal waits for the answer to a claim that has been sent."""

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

    def wait(self, longest_s: float) -> None:
        """Return after *longest_s* seconds, or as soon as there is a reason; while nobody listens."""
        # A bare lock: it may be let go of in a signal handler, whatever this thread is doing.
        gate = allocate_lock()
        gate.acquire()

        def open_gate() -> None:
            with suppress(RuntimeError):  # it is open already
                gate.release()

        self.listen(open_gate)
        try:
            gate.acquire(timeout=longest_s)
        finally:
            self.close()


class Signals:
    """What SIGTERM, SIGINT and SIGHUP do to this process: end it at once, until a run has something to drain."""

    def __init__(self) -> None:
        self._drain: Callable[[], None] | None = None
        self._caught = False
        self._holding = False

    def install(self) -> None:
        """Take the signals from here on. SIGUSR1 writes every thread's stack to stderr and changes nothing."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves it
                signal.signal(number, self._handle)
        import faulthandler

        with suppress(RuntimeError, OSError, AttributeError, ValueError):  # stderr may be closed
            faulthandler.register(signal.SIGUSR1, all_threads=True)

    @contextmanager
    def held_back(self) -> Generator[None]:
        """Meanwhile the first signal waits, for `HELD_BACK_S` at most: for `drain_by`, or else for the end of this.

        A claim is the database's before its answer is here, and a process that ended in between would leave a run
        that looks at work until its lease has run out.
        """
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
            if self._caught:
                signal.setitimer(signal.ITIMER_REAL, 0)
                if self._drain is None:
                    os._exit(INTERRUPTED)

    def drain_by(self, drain: Callable[[], None]) -> None:
        """From now on the first signal calls *drain*, at once where it was held back; the second ends the process."""
        self._drain = drain
        if self._caught:
            drain()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._caught or (self._drain is None and not self._holding):
            # Not by an exception: one that comes in during an import, or while something is let go of, gets lost.
            os._exit(INTERRUPTED)
        self._caught = True
        if self._drain is not None:
            self._drain()
        else:  # a timer's signal is one more, and the second ends the process
            signal.signal(signal.SIGALRM, self._handle)
            signal.setitimer(signal.ITIMER_REAL, HELD_BACK_S)

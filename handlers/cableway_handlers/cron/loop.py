"""
The loop that sleeps between ticks, and decides those that are due.

It holds nothing of the schedule in memory: when to wake next is one look into an index, and what is due is asked
of Postgres. So a change is seen at once by whoever listens, and a few seconds later by whoever cannot; any number
of loops may run beside each other; and one that is killed leaves nothing undone that another would not do.
Sleeping is by the monotonic clock, deciding by the database's; this machine's own clock is compared and no more.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

from cableway.errors import CablewayError
from cableway.settings import DatabaseSettings
from cableway.store.hearing import Ear
from cableway.store.session import Session
from cableway_handlers.cron.metrics import SKEW_S, SchedulerMetrics
from cableway_handlers.cron.ticking import decide_due

POLL_S = 5.0
"""Seconds between two looks where nothing is due and nothing was heard."""
AWAY_S = 1.0
"""Seconds before a database that was away is asked again."""
LATE_S = 30.0
"""Seconds without a look after which the loop counts as down."""

log = logging.getLogger("cableway.scheduler")


class TickLoop:
    """Decides ticks until it is stopped; *on_fired* is called when runs wait to be launched.

    *names* keeps it to these schedulers. *clock* is this machine's, in seconds since 1970.
    """

    def __init__(
        self,
        settings: DatabaseSettings,
        *,
        on_fired: Callable[[], object],
        names: Sequence[str] | None = None,
        poll_s: float = POLL_S,
        metrics: SchedulerMetrics | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.metrics = SchedulerMetrics() if metrics is None else metrics
        self._session = Session(settings, patience_s=0)
        self._ear = Ear(self._session, "watch_changes")
        self._on_fired = on_fired
        self._names = None if names is None else list(names)
        self._poll_s = poll_s
        self._clock = clock
        self._looked_at: float | None = None
        self._away = self._skewed = False
        self._wake, self._woken = socket.socketpair()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self.run, name="cableway-scheduler")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        self.close()

    @property
    def is_up(self) -> bool:
        """Whether it has looked of late, and the database answered."""
        return self._looked_at is not None and time.monotonic() - self._looked_at < max(LATE_S, 3 * self._poll_s)

    def start(self) -> None:
        """Begin in a thread of its own, which keeps the process alive until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """Ask for the end; what is being decided is committed first. May be called from anywhere, more than once."""
        self._stopping.set()
        self._wake.close()

    def close(self) -> None:
        """Return when it has ended. To be called once, after `stop`."""
        if self._thread.ident is not None:
            self._thread.join()
        self._session.close()
        self._woken.close()

    def run(self) -> None:
        """Decide ticks in this thread until `stop`. A database that is away is asked again and again."""
        next_judging = 0.0
        while not self._stopping.is_set():
            try:
                self._look()
                if time.monotonic() >= next_judging:
                    self._pause_failing()
                    next_judging = time.monotonic() + self._poll_s
                wait_s = self._until_due()
            except CablewayError as error:
                wait_s = self._lost(error)
            except Exception:
                log.exception("ticks could not be decided; the next look begins anew")
                wait_s = self._lost(None)
            if not self._stopping.is_set():
                self._ear.wait(wait_s, self._woken.fileno(), self._concerns)

    def _look(self) -> None:
        """Decide what is due."""
        # Before looking: what is said while we look is heard after it.
        self._ear.listen()
        for decided in decide_due(self._session, names=self._names):
            self.metrics.decided(decided)
            for each in decided.fired:
                log.info("scheduler %r: the tick of %s is run %s", each.scheduler, _shown(each.tick), each.run_id)
            if decided.fired:
                self._on_fired()
            if self._stopping.is_set():
                break

    def _pause_failing(self) -> None:
        for row in self._session.rows("pause_failing"):
            log.error("the scheduler %r is paused: %s", row["name"], row["pause_note"])

    def _until_due(self) -> float:
        """Seconds until somebody is due, by the database's clock; at most until the next poll."""
        row = self._session.rows("next_tick", names=self._names)[0]
        self._compare(row["now"])
        self.metrics.faulty = row["faulty"]
        self._looked_at = time.monotonic()
        if self._away:
            self._away = False
            log.info("the database is back")
        due: datetime | None = row["next_at"]
        return self._poll_s if due is None else min(max(0.0, (due - row["now"]).total_seconds()), self._poll_s)

    def _compare(self, theirs: datetime) -> None:
        skew_s = self._clock() - theirs.timestamp()
        self.metrics.skew_s = skew_s
        skewed = abs(skew_s) > SKEW_S
        if skewed and not self._skewed:
            log.warning("this machine's clock is %+.1f s off the database's, which decides", skew_s)
        self._skewed = skewed

    def _lost(self, error: CablewayError | None) -> float:
        if error is not None and not self._away:
            log.warning("no ticks are decided for the moment: %s", error)
        self._away = True
        self._looked_at = None
        self._session.close()
        return min(AWAY_S, self._poll_s)

    def _concerns(self, schema: str) -> bool:
        return schema == self._session.settings.schema


def _shown(tick: datetime) -> str:
    return f"{tick:%Y-%m-%d %H:%M} UTC"

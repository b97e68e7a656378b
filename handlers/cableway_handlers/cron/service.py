"""
A scheduler as a whole: the loop that decides ticks, the sweep that starts their runs, and the metrics of both.

Whoever serves the API has one beside it; ``cableway scheduler`` is nothing else; and the objects of
`cableway_handlers.cron.schedulers` bring their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from cableway.settings import Settings
from cableway_handlers.cron.loop import POLL_S, TickLoop
from cableway_handlers.cron.metrics import SchedulerMetrics, exported


class Sweeping(Protocol):
    """What starts runs, and starts again what was lost; `cableway_handlers.launch.sweep_loop.SweepLoop` does."""

    def start(self) -> None:
        """Look for work from now on; returns at once."""
        ...

    def wake(self) -> None:
        """Launch soon what may be launched."""
        ...

    def close(self) -> None:
        """End, once the launches under way are made."""
        ...


class SchedulerService:
    """Decides ticks and has their runs started, from `start` to `close`. *names* keeps it to these schedulers.

    It starts and closes *sweeping* too. *variables* say where metrics go, if anywhere.
    """

    def __init__(
        self,
        settings: Settings,
        sweeping: Sweeping,
        *,
        variables: Mapping[str, str],
        names: Sequence[str] | None = None,
        poll_s: float = POLL_S,
    ) -> None:
        self.metrics = SchedulerMetrics()
        self._sweeping = sweeping
        self._end_metrics = exported(self.metrics, variables)
        self._loop = TickLoop(
            settings.state_database, on_fired=sweeping.wake, names=names, poll_s=poll_s, metrics=self.metrics
        )

    @property
    def is_up(self) -> bool:
        """Whether ticks are being decided: the loop runs and the database answers it."""
        return self._loop.is_up

    def start(self) -> None:
        """Begin, in threads that keep the process alive until `close`."""
        self._sweeping.start()
        self._loop.start()

    def run(self) -> None:
        """Begin, and decide ticks in this thread until `stop` is called, from a signal handler say; then end."""
        self._sweeping.start()
        try:
            self._loop.run()
        finally:
            self.close()

    def stop(self) -> None:
        """Ask for the end, and return at once."""
        self._loop.stop()

    def close(self) -> None:
        """Return when it has ended; the runs that were started go on. To be called once."""
        self._loop.stop()
        self._loop.close()
        self._sweeping.close()
        self._end_metrics()

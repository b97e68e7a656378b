"""
The sweep: what happens to runs whose container is not there, and the launch of those that may begin now.

Everything is decided in Postgres, by its clock, so any number of sweeps may run side by side: in the scheduler's
loop, in the API, in a Lambda, once by hand. A run is launched by the one that takes it, under a name made of run
and attempt, and whatever is lost between taking and launching the next sweep finds.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from cableway.errors import CablewayError, CrashedError, RunCancelledError, RunTimeoutError
from cableway.settings import DatabaseSettings, Settings
from cableway.store.executor import Step
from cableway.store.session import Session
from cableway.store.storable import storable_json, storable_text
from cableway_handlers.launch.protocol import Launch, Launcher, LaunchError, LaunchState, LaunchStatus, Watchful

MAX_LAUNCHING = 10
"""Containers that may be starting at once."""
LOOK_AFTER_S = 5.0
"""Seconds after which a container that has not begun is asked for at its platform."""
LONGEST_PAUSE_S = 60.0
"""The longest wait between two launches of a run that fail."""
STOP_PATIENCE_S = 10.0
"""Seconds beyond its grace after which the platform is asked to end a cancelled attempt."""
OOM_CODE = 137

_log = logging.getLogger("cableway.launch")


@dataclass(slots=True)
class Swept:
    """What a sweep did."""

    gone: int = 0
    """Runs that had gone without a word; they wait for another attempt, or have ended."""
    launched: int = 0
    not_launched: int = 0
    """Launches that failed; they are made again."""
    stopped: int = 0
    """Containers of cancelled runs that the platform was asked to end."""


class Sweep:
    """Sweeps *database*, with *launcher* for what is to be started. To be closed; serves one thread at a time.

    *max_launching* bounds the containers that are starting, over all sweeps. A run that cannot be launched for
    *deadline_s* seconds has failed; a container that has not claimed its run after *start_s* is given up.
    ``on_done`` is called, from any thread, when a launch under way has been made, or a container has failed, and `step`
    can go on.
    """

    def __init__(
        self,
        database: DatabaseSettings,
        launcher: Launcher,
        *,
        max_launching: int = MAX_LAUNCHING,
        deadline_s: float = 3600.0,
        start_s: float = 600.0,
    ) -> None:
        self.on_done: Callable[[], object] = lambda: None
        self.session = Session(database, patience_s=0)
        self._launcher = launcher
        self._max_launching = max_launching
        self._deadline_s = deadline_s
        self._start_s = start_s
        self._threads = ThreadPoolExecutor(max_launching, thread_name_prefix="launch")
        self._under_way: dict[Future[str], Launch] = {}
        self._failed: deque[Launch] = deque()
        if isinstance(launcher, Watchful):
            launcher.on_failure = self._note_failure

    @classmethod
    def from_settings(cls, settings: Settings, launcher: Launcher) -> Sweep:
        """A sweep of the state database, bounded as *settings* say. Raise `SettingsError` where they name none."""
        return cls(
            settings.state_database,
            launcher,
            max_launching=settings.max_launching,
            deadline_s=settings.launch_deadline_s,
            start_s=settings.launch_start_s,
        )

    def once(self) -> Swept:
        """Sweep, and return when every launch is made. Raise `UnavailableError`; the next sweep goes on from there."""
        swept = self.step()
        while self._under_way:
            wait(self._under_way)
            self._record_launches(swept)
        return swept

    def step(self, *, whole: bool = True) -> Swept:
        """Sweep and leave launches under way; unless it is the *whole*, only launch what may begin now."""
        swept = Swept()
        self._record_launches(swept)
        while self._failed:
            swept.gone += self.end_lease(self._failed[0])
            self._failed.popleft()  # not before: what could not be told is told again
        if whole:
            self._reap(swept)
            self.session.rows("close_wholes", run_id=None)
            self._stop(swept)
        self._launch()
        return swept

    def end_lease(self, launch: Launch, *, told: bool = False) -> bool:
        """The container of *launch* is gone: what it holds is free at once, and not when its lease would run out.

        False where it holds nothing any more. *told*: who asks tells of it, and the log need not. Raise
        `UnavailableError`.
        """
        ended = bool(self.session.rows("end_lease", run_id=launch.run_id, name=launch.name))
        if ended:
            self._reap(Swept(), told=launch.run_id if told else None)
        return ended

    def next_launch_s(self) -> float | None:
        """Seconds until a run may be launched that must not be yet; None where there is none."""
        wait_s: float | None = self.session.rows("next_launch")[0]["wait_s"]
        return wait_s

    def close(self) -> None:
        """Return when the launches under way are made and told to the database, if it is there."""
        self._threads.shutdown(wait=True)
        with suppress(CablewayError):
            self._record_launches(Swept())
        self.session.close()

    def _note_failure(self, launch: Launch) -> None:
        self._failed.append(launch)
        self.on_done()

    def _reap(self, swept: Swept, told: str | None = None) -> None:
        rows = self.session.rows(
            "reap",
            dead=storable_json(self._dead_launches()),
            deadline_s=self._deadline_s,
            start_s=self._start_s,
            launch_pause_s=LONGEST_PAUSE_S,
            problems=storable_json(_PROBLEMS),
        )
        swept.gone += len(rows)
        for row in rows:
            if row["run_id"] != told:
                words = row["run_id"], row["state_before"], row["state"]
                _log.warning("run %s was %s and is gone: now it is %s", *words)
            if row["external_id"] is not None:
                self._note_end(row["run_id"], row["attempt"], row["external_id"])

    def _dead_launches(self) -> list[dict[str, Any]]:
        """Containers that their platform has ended before they took their run."""
        dead: list[dict[str, Any]] = []
        for row in self.session.rows("launches_under_way", age_s=LOOK_AFTER_S):
            status = self._status(row["external_id"])
            if status.state is LaunchState.ENDED:
                reason = _reason(status) or "it ended"
                dead.append(
                    {
                        "run_id": row["run_id"],
                        "attempt": row["attempt"],
                        "exit_code": status.exit_code,
                        "reason": reason,
                    }
                )
        return dead

    def _note_end(self, run_id: str, attempt: int, external_id: str) -> None:
        status = self._status(external_id)
        reason = _reason(status)
        if status.state is LaunchState.ENDED and reason is not None:
            self.session.rows("note_end", run_id=run_id, attempt=attempt, exit_code=status.exit_code, reason=reason)

    def _status(self, external_id: str) -> LaunchStatus:
        try:
            return self._launcher.status(external_id)
        except LaunchError as error:
            _log.warning("nothing is known of %s: %s", external_id, error)
            return LaunchStatus(LaunchState.UNKNOWN)

    def _stop(self, swept: Swept) -> None:
        for row in self.session.rows("take_stops", patience_s=STOP_PATIENCE_S):
            try:
                self._launcher.stop(row["external_id"], grace_s=row["grace_s"])
            except LaunchError as error:
                _log.warning("run %s was cancelled, and its container could not be ended: %s", row["run_id"], error)
            else:
                swept.stopped += 1

    def _launch(self) -> None:
        rows = self.session.rows("take_launches", (Step("lock_launches", {}),), max_launching=self._max_launching)
        for row in rows:
            launch = Launch(row["run_id"], row["attempt"])
            future = self._threads.submit(self._launcher.launch, launch)
            self._under_way[future] = launch
            future.add_done_callback(lambda _: self.on_done())

    def _record_launches(self, swept: Swept) -> None:
        for future in [future for future in self._under_way if future.done()]:
            launch = self._under_way[future]
            error = future.exception()
            if error is None:
                external_id = storable_text(future.result())
                where = {"run_id": launch.run_id, "attempt": launch.attempt}
                self.session.rows("launched", **where, external_id=external_id)
                swept.launched += 1
            else:
                self._record_failure(launch, error)
                swept.not_launched += 1
            # Not before it is told: what could not be told is told again.
            del self._under_way[future]

    def _record_failure(self, launch: Launch, error: BaseException) -> None:
        known = error if isinstance(error, LaunchError) else LaunchError(f"{launch.name}: {type(error).__name__}")
        _log.warning("%s was not launched: %s", launch.name, known, exc_info=None if known is error else error)
        self.session.rows(
            "not_launched",
            run_id=launch.run_id,
            attempt=launch.attempt,
            permanent=known.permanent,
            deadline_s=self._deadline_s,
            launch_pause_s=LONGEST_PAUSE_S,
            problem=storable_json(known.problem()),
        )


_PROBLEMS = {
    "cancelled": RunCancelledError().problem(),
    "timed_out": RunTimeoutError().problem(),
    "crashed": CrashedError().problem(),
    "failed": LaunchError("").problem(),
}


def _reason(status: LaunchStatus) -> str | None:
    """The platform's word on how a container ended; ``oom`` where it was killed as for its memory."""
    if status.signal is not None:
        return f"killed by {status.signal}"
    if status.exit_code == OOM_CODE:
        return f"oom: {status.reason}" if status.reason else "oom"
    if status.reason is None and status.exit_code is None:
        return None
    return storable_text(status.reason or f"it ended with exit code {status.exit_code}")

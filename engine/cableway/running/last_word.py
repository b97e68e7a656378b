"""
The last word: ends the process where a run that has to end does not.

A handler that holds up the event loop hears of no signal, and a database that swallows what it is sent keeps
whoever asks it waiting. So a thread watches the time: some tenths of a second beyond the grace it records the run
itself, if it can, prints the last line and ends the process.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from cableway.errors import EXIT_LEASE_LOST, LeaseLostError, RecordError
from cableway.running.report import complain, exit_code_of, final_line, problem_of, state_of
from cableway.store.port import RunResult

if TYPE_CHECKING:
    from cableway.running.stopping import Stop
    from cableway.store.port import Lease, RunStore

BEYOND_GRACE_S = 0.6
"""Seconds beyond the grace after which the run is not waited for any longer."""
RECORDING_S = 0.9
"""Seconds that recording it from here may take."""
LOOK_EVERY_S = 0.25


class LastWord:
    """Watches one attempt from `start` to `call_off`.

    *another* makes a store to record the run in, *tell* is given the last line, *leave* ends the process. What it
    reads is plain values, for a signal handler may come in anywhere and must take no lock.
    """

    def __init__(
        self,
        stop: Stop,
        lease: Lease,
        another: Callable[[], RunStore],
        tell: Callable[[str], object],
        *,
        leave: Callable[[int], object] = os._exit,
    ) -> None:
        self.trace_id: str | None = None
        self._stop = stop
        self._lease = lease
        self._another = another
        self._tell = tell
        self._leave = leave
        self._result: RunResult | None = None
        self._record_by = math.inf
        self._off = threading.Event()
        self._turn = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="cableway-last-word", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def recording(self, result: RunResult, until: float) -> None:
        """*result* is being recorded, and that is to be given up at the monotonic time *until*."""
        self._result = result
        self._record_by = until + BEYOND_GRACE_S

    def call_off(self) -> None:
        """The attempt has come to its end by itself. Where it was too late for that, does not return."""
        if not self._turn.acquire(blocking=False):
            self._thread.join()
        self._off.set()

    def _watch(self) -> None:
        while not self._off.wait(LOOK_EVERY_S):
            late = time.monotonic() >= min(self._stop.until + BEYOND_GRACE_S, self._record_by)
            if late and self._turn.acquire(blocking=False):
                self._leave(self._speak())
                return

    def _speak(self) -> int:
        result = self._result
        if result is None:
            result = self._of_the_reason()
            recorded = isinstance(self._stop.reason, LeaseLostError) or self._recorded(result)
        else:
            recorded = False  # whoever tries to is at it still
        if not recorded:
            error = RecordError(f"the outcome ({result.state}) could not be recorded in time")
            complain(str(error))
            result = replace(result, exit_code=EXIT_LEASE_LOST, problem=result.problem or error.problem())
        self._tell(final_line(self._lease.run_id, self._lease.attempt, result))
        return result.exit_code

    def _of_the_reason(self) -> RunResult:
        reason = self._stop.reason
        problem = None if reason is None else problem_of(reason)
        complain(f"{reason}; it did not end by itself")
        state, code = state_of(reason, 0), exit_code_of(reason)
        return RunResult(state=state, exit_code=code, counts={}, problem=problem, trace_id=self.trace_id)

    def _recorded(self, result: RunResult) -> bool:
        """Whether *result* could be recorded in the short time that there is."""
        recorded = threading.Event()

        def record() -> None:
            store = self._another()
            store.finish(self._lease, result)
            recorded.set()

        threading.Thread(target=_quietly, args=(record,), name="cableway-recording", daemon=True).start()
        return recorded.wait(RECORDING_S)


def _quietly(record: Callable[[], None]) -> None:
    try:
        record()
    except Exception as error:  # noqa: BLE001 - it has nobody else to tell
        complain(f"recording it failed: {error}")

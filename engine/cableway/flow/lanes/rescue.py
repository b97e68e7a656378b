"""
What a pool does about workers that hang or die, and about units that nobody wants any more.

A unit is the possible culprit of a death when its worker had begun it. It runs once more, alone in
a solo worker; when that one dies too, it was the culprit and fails. All others go to other workers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic_ns
from typing import TYPE_CHECKING

from cableway.errors import CablewayError, DefinitionError, ItemError, WorkersLostError

if TYPE_CHECKING:
    from cableway.flow.lanes.crew import Crew
    from cableway.flow.lanes.unit import Unit
    from cableway.flow.lanes.worker import Worker


class Rescue:
    """Ends the workers of a `Crew` that hang, replaces those that die, and finds the unit that kills them."""

    def __init__(self, crew: Crew) -> None:
        self.solo: Worker | None = None
        self.generation = 0
        self._crew = crew
        self._suspects: deque[Unit] = deque()

    # Hanging

    def watch(self, worker: Worker) -> None:
        """See to it that the unit *worker* works on is ended when its time is up."""
        due_ns = _due_ns(worker)
        if due_ns is None:
            return
        loop = asyncio.get_running_loop()
        when = loop.time() + max(0.0, (due_ns - monotonic_ns()) / 1e9)
        if worker.timer is None or worker.timer.cancelled() or when < worker.timer.when():
            if worker.timer is not None:
                worker.timer.cancel()
            worker.timer = loop.call_at(when, self._look, worker)

    def moved(self, worker: Worker) -> None:
        """The stream that *worker* makes has moved on: its clock runs again, less the time already used."""
        worker.head_at_ns = monotonic_ns()
        self.watch(worker)

    def _look(self, worker: Worker) -> None:
        worker.timer = None
        if worker.doomed is not None or worker.ended.done():
            return
        self._crew.read(worker)
        due_ns, head = _due_ns(worker), worker.head
        if due_ns is None or head is None:
            return
        if monotonic_ns() < due_ns:
            self.watch(worker)
            return
        del worker.units[head.seq]
        timeout_s = head.call.timeout_s
        self._doom(worker, "timeout")
        head.fail(ItemError("timeout", f"it took longer than {timeout_s} s in stage {self._crew.config.stage!r}"))
        self._crew.dispatch()

    def abandon(self, unit: Unit) -> None:
        """Nobody waits for *unit* any more: keep it from running, or end the worker that runs it."""
        crew = self._crew
        for worker in crew.all_workers():
            if unit.seq in worker.units:
                crew.read(worker)
                self._end_unit(worker, unit)
                crew.dispatch()
                return

    def _end_unit(self, worker: Worker, unit: Unit) -> None:
        if unit.seq not in worker.units:
            return
        unbegun = worker.take_back(len(worker.units))
        if unit.seq in worker.units:
            del worker.units[unit.seq]
            self._doom(worker, "cancelled")
        else:
            unbegun.remove(unit)
            self._crew.forget(unit)
        self._crew.requeue(unbegun)

    def _doom(self, worker: Worker, why: str) -> None:
        worker.doomed = why
        worker.body.kill()

    # Dying

    def ended(self, worker: Worker) -> None:
        """Put everything right after *worker*'s end."""
        crew = self._crew
        crew.read(worker)
        unbegun = worker.take_back(len(worker.units))
        begun = list(worker.units.values())
        worker.units.clear()
        worker.close()
        self._strike(worker)
        worker.body.at_rest(lambda: crew.free(worker.lent))
        if not worker.ended.done():
            worker.ended.set_result(None)
        crew.requeue(unbegun)
        if worker.doomed is None and not crew.closing:
            self._died(worker, begun)
        else:
            self._again(begun)
        if crew.lost is not None:
            crew.lose(crew.lost)
        self.solo_round()
        crew.dispatch()

    def _strike(self, worker: Worker) -> None:
        if worker is self.solo:
            self.solo = None
        else:
            self._crew.workers.remove(worker)

    def _died(self, worker: Worker, begun: list[Unit]) -> None:
        crew, reason = self._crew, worker.body.reason()
        if not worker.ready.done():
            told = f"stage {crew.config.stage!r}: a worker of the {crew.lane} lane ended before it was ready: {reason}"
            worker.refuse(DefinitionError(told))
        crew.events.worker_died(reason, [unit.call.job_id for unit in begun])
        alone = worker.generation == SOLO
        for unit in begun:
            if alone or unit.stream is not None:
                unit.fail(ItemError("worker_died", f"its worker died: {reason}"))
            else:
                self._suspect(unit)
        if worker.generation == self.generation:
            self._rebuild(reason)

    def _rebuild(self, reason: str) -> None:
        """Count the death; workers of one generation that die together count once."""
        self.generation += 1
        restarts = self._crew.config.pool_restarts
        if self.generation > restarts:
            told = f"workers of stage {self._crew.config.stage!r} died more than {restarts} times; the last: {reason}"
            self._lose(WorkersLostError(told))

    def _lose(self, error: CablewayError) -> None:
        self._crew.lose(error)
        while self._suspects:
            self._suspects.popleft().fail(error)

    def _again(self, begun: list[Unit]) -> None:
        """Units that a worker had begun when it was ended because of another one."""
        for unit in begun:
            if unit.stream is not None or self._crew.closing:
                unit.fail(ItemError("worker_died", "its worker was ended"))
            elif self._replaced(unit):
                self._crew.requeue([unit])

    def _suspect(self, unit: Unit) -> None:
        if not unit.future.done() and self._replaced(unit):
            self._suspects.append(unit)

    def _replaced(self, unit: Unit) -> bool:
        """Send the unit's data anew: the dead worker may have changed what it was given."""
        try:
            unit.parcel = self._crew.placed(unit.call)
        except CablewayError as error:
            unit.fail(error)
            return False
        return True

    def solo_round(self) -> None:
        """Run the suspects, one after the other, in a worker of their own."""
        crew = self._crew
        if crew.lost is not None:
            self._lose(crew.lost)
            return
        if self.solo is None:
            if self._suspects:
                self._hire_solo()
            return
        if self.solo.able and not self.solo.units:
            while self._suspects and self._suspects[0].future.done():
                crew.forget(self._suspects.popleft())
            if self._suspects:
                crew.send(self.solo, self._suspects.popleft())
            else:
                self.solo.doomed = "done"
                self.solo.dismiss()

    def _hire_solo(self) -> None:
        try:
            self.solo = self._crew.employed(SOLO)
        except CablewayError as error:
            self._lose(error)

    def restaff(self) -> None:
        """Bring the crew back to its number."""
        crew = self._crew
        while crew.lost is None and len(crew.workers) < crew.config.workers:
            try:
                crew.add_worker()
            except CablewayError as error:
                self._lose(error)


SOLO = -1
"""The generation of a solo worker, which is none of the crew's."""


def _due_ns(worker: Worker) -> int | None:
    """When the unit that *worker* works on must be done, or None when its clock does not run."""
    head = worker.head
    if head is None or head.call.timeout_s is None or not worker.ready.done():
        return None
    used_ns = 0
    if head.stream is not None:
        if head.stream.waits:
            return None
        used_ns = head.stream.used_ns
    return worker.head_at_ns + int(head.call.timeout_s * 1e9) - used_ns

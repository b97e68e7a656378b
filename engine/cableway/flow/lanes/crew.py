"""
A pool of workers: hands out units, reads what they gave, and keeps the work even.

What happens when a worker hangs or dies is in `cableway.flow.lanes.rescue`; what a worker lives in
is the subclass's. Units go out one to a packet and a few milliseconds ahead, so that a worker never
waits for the parent; what it has not begun can be taken back, so that nothing waits for a slow unit.
"""

from __future__ import annotations

import asyncio
import pickle
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar

from cableway.errors import ItemError, ResourceError, WorkersLostError
from cableway.flow.lanes import frames
from cableway.flow.lanes.child import READ_AHEAD
from cableway.flow.lanes.failure import Failure
from cableway.flow.lanes.frames import Frame
from cableway.flow.lanes.parcel import Parcel, TooLargeError, place, receive
from cableway.flow.lanes.planning import planned, refusal, wants_metadata
from cableway.flow.lanes.protocol import UnitResult
from cableway.flow.lanes.rescue import Rescue
from cableway.flow.lanes.tempo import Tempo
from cableway.flow.lanes.unit import Unit, UnitStream, revive
from cableway.flow.transfer import Arena

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cableway.errors import CablewayError
    from cableway.flow.lanes.loading import Plan
    from cableway.flow.lanes.protocol import PoolConfig, PoolEvents, UnitCall
    from cableway.flow.lanes.worker import Worker

_REST_S = 0.003


class Crew(ABC):
    """A `WorkerPool` whose workers serve `cableway.flow.lanes.child.Child` over sockets."""

    lane: ClassVar[str]

    def __init__(self, config: PoolConfig, events: PoolEvents) -> None:
        self.config = config
        self.events = events
        self.workers: list[Worker] = []
        self.arena = Arena()
        self._tempo = Tempo(config.chunk)
        self._wants_metadata = wants_metadata(config)
        self._pending: deque[Unit] = deque()
        self._shares: list[Parcel] = []
        self._seq = 0
        self._lost: CablewayError | None = None
        self._closed = False
        self._rescue = Rescue(self)
        self._plan = b""

    @abstractmethod
    def hire(self, generation: int) -> Worker:
        """Start a worker; it is told its plan by the caller. Raise `ResourceError` when the machine cannot."""

    # The pool's interface

    @property
    def window(self) -> int:
        """How many units the pool wants in its hands now; it grows when units are short."""
        return self.config.workers * (1 + self._tempo.ahead)

    async def start(self) -> None:
        """Start the workers and wait until the handler has loaded in each."""
        self._plan = pickle.dumps(tuple(self.plan()), 5)
        try:
            for _ in range(self.config.workers):
                self.add_worker()
            await asyncio.gather(*[worker.ready for worker in self.workers])
        except BaseException:
            await self.close(0.0)
            raise

    def share(self, name: str, value: Any) -> None:
        """Send *value* to every worker, before any unit that is submitted from now on."""
        parcel = place((name, value), self.arena)
        self._shares.append(parcel)
        for worker in self.all_workers():
            self._tell_shares(worker)

    async def run(self, call: UnitCall) -> UnitResult:
        """Work on one unit and return what it gave; see `WorkerPool.run` for the errors."""
        if self._lost is not None:
            raise self._lost
        self._seq += 1
        unit = Unit(self._seq, call, self.placed(call), len(self._shares))
        self._tempo.sized(unit.parcel.size_bytes)
        self._pending.append(unit)
        self.dispatch()
        try:
            return await unit.future
        except asyncio.CancelledError:
            self._rescue.abandon(unit)
            raise

    async def close(self, grace_s: float) -> None:
        """End the workers: at once when idle, after at most *grace_s* seconds else; then kill."""
        if self._closed:
            return
        self._closed = True
        self.lose(WorkersLostError(f"the pool of stage {self.config.stage!r} was closed"))
        ends = [worker.ended for worker in self.all_workers()]
        for worker in self.all_workers():
            worker.dismiss()
        if ends:
            await asyncio.wait(ends, timeout=grace_s)
        for worker in self.all_workers():
            worker.doomed = "closed"
            worker.body.kill()
        if ends:
            await asyncio.wait(ends, timeout=5.0)
        self.arena.close()

    # Handing out

    def dispatch(self) -> None:
        """Give waiting units to the workers with the least to do; even out when none wait."""
        pending = self._pending
        room = 1 + self._tempo.ahead
        while pending:
            worker = self._freest()
            if worker is None or len(worker.units) >= room:
                break
            unit = pending.popleft()
            if unit.future.done():
                self.forget(unit)
            elif not self.send(worker, unit):
                pending.appendleft(unit)
                break
        if not pending:
            self._even_out()
        elif len(self.workers) < self.config.workers:
            self._rescue.restaff()

    def send(self, worker: Worker, unit: Unit) -> bool:
        """Give *unit* to *worker*; return False when it takes no more for now."""
        if not worker.give(unit):
            return False
        if unit.call.timeout_s is not None:
            self._rescue.watch(worker)
        return True

    def requeue(self, units: list[Unit]) -> None:
        """Put *units* before all that wait."""
        self._pending.extendleft(reversed(units))

    def _freest(self) -> Worker | None:
        able = [worker for worker in self.workers if worker.able]
        return min(able, key=_load) if able else None

    def _even_out(self) -> None:
        """Let workers with nothing to do take what others have not begun."""
        for idle in self.workers:
            if idle.units or not idle.able:
                continue
            busiest = max(self.workers, key=_load)
            if len(busiest.units) < 2:
                return
            for unit in busiest.take_back(1):
                if not self.send(idle, unit):
                    self._pending.appendleft(unit)

    def placed(self, call: UnitCall) -> Parcel:
        """Return the call ready to be sent. Raise `ItemError` when it cannot be."""
        metadata = call.metadata if self._wants_metadata else None
        try:
            return place((call.job_id, call.data, metadata, call.carrier), self.arena, self.config.max_item_bytes)
        except TooLargeError as error:
            raise ItemError("too_large", str(error)) from error
        except OSError as error:
            raise ResourceError(f"no memory to hand an item of stage {self.config.stage!r} over: {error}") from error
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
            raise ItemError("unpicklable_input", told, error_type=type(error).__name__) from error

    # Hearing

    def heard(self, worker: Worker) -> None:
        """Read what *worker* has sent and act on it."""
        self.read(worker)
        if worker is self._rescue.solo:
            self._rescue.solo_round()
        self.dispatch()
        self._rescue.watch(worker)
        if self._tempo.worth_resting(len(worker.units)):
            worker.rest(_REST_S)

    def read(self, worker: Worker) -> None:
        """Read what *worker* has sent."""
        for frame in worker.read():
            for offset in frame.freed:
                if offset in worker.lent:
                    worker.lent.discard(offset)
                    self.arena.free(offset)
            self._act(worker, frame)

    def _act(self, worker: Worker, frame: Frame) -> None:
        match frame.kind:
            case frames.RESULT:
                self._result(worker, frame)
            case frames.FAILED:
                self._failed(worker, frame)
            case frames.STREAM:
                self._stream(worker, frame)
            case frames.ITEM:
                self._item(worker, frame)
            case frames.END:
                self._end(worker, frame)
            case frames.REPORT:
                self.events.worker_reported(self._value(worker, frame))
            case frames.READY:
                worker.join()
                self._rescue.solo_round()
            case frames.REFUSED:
                worker.refuse(refusal(self.config, self.lane, Failure(*pickle.loads(frame.body))))
            case frames.LEAVING:
                worker.doomed = "spoilt"
            case _:
                raise AssertionError(f"a worker sent a message of kind {frame.kind}")

    def _result(self, worker: Worker, frame: Frame) -> None:
        unit = self._done(worker, frame)
        self._tempo.timed(frame.b - frame.a)
        try:
            value = self._value(worker, frame)
        except Exception as error:
            told = f"it cannot be read here: {type(error).__name__}: {error}"
            if unit is not None:
                unit.fail(ItemError("unpicklable_result", told, error_type=type(error).__name__))
            return
        if unit is not None:
            unit.succeed(UnitResult(value, frame.a, frame.b))

    def _failed(self, worker: Worker, frame: Frame) -> None:
        unit = self._done(worker, frame)
        failure = Failure(*pickle.loads(self._value(worker, frame)))
        if unit is not None:
            unit.fail(revive(failure))

    def _stream(self, worker: Worker, frame: Frame) -> None:
        unit = worker.units.get(frame.seq)
        if unit is None:
            return

        def tell(credit: int) -> None:
            kind = frames.CREDIT if credit else frames.ABANDON
            if frame.seq in worker.units:
                worker.post(Frame(kind, frame.seq, a=credit))
                self._rescue.moved(worker)

        stream = UnitStream(tell, READ_AHEAD)
        stream.result = UnitResult(None, frame.a, frame.a, stream)
        unit.succeed(stream.result)
        unit.stream = stream

    def _item(self, worker: Worker, frame: Frame) -> None:
        value = self._value(worker, frame)
        unit = worker.units.get(frame.seq)
        if unit is not None and unit.stream is not None:
            unit.stream.push(value, frame.a)
            self._rescue.moved(worker)

    def _end(self, worker: Worker, frame: Frame) -> None:
        unit = self._done(worker, frame)
        if unit is not None and unit.stream is not None and unit.stream.result is not None:
            unit.stream.result.finished_ns = frame.b
            unit.stream.finish(None)

    def _done(self, worker: Worker, frame: Frame) -> Unit | None:
        unit = worker.units.pop(frame.seq, None)
        worker.head_at_ns = frame.b
        return unit

    def _value(self, worker: Worker, frame: Frame) -> Any:
        return receive(frame, worker.leases)

    # Workers

    def all_workers(self) -> list[Worker]:
        """The workers that are there, the one for suspects included."""
        solo = self._rescue.solo
        return [*self.workers, solo] if solo is not None else list(self.workers)

    def add_worker(self) -> None:
        """Start one more worker of the pool."""
        self.workers.append(self.employed(self._rescue.generation))

    def employed(self, generation: int) -> Worker:
        """Return a new worker that has been told its plan and what is shared."""
        worker = self.hire(generation)
        worker.post(Frame(frames.PREPARE, body=self._plan))
        worker.listen(lambda: self.heard(worker))
        worker.body.watch(lambda: self._rescue.ended(worker))
        self._tell_shares(worker)
        return worker

    def forget(self, unit: Unit) -> None:
        """Free what an unsent unit holds."""
        self.free(unit.parcel.blocks)

    def free(self, blocks: Iterable[int]) -> None:
        """Free what a worker that has ended held."""
        for offset in blocks:
            self.arena.free(offset)

    def lose(self, error: CablewayError) -> None:
        """Refuse all units from now on, and fail those that wait, with *error*."""
        self._lost = self._lost or error
        while self._pending:
            unit = self._pending.popleft()
            unit.fail(error)
            self.forget(unit)

    @property
    def closing(self) -> bool:
        """Whether the pool is being closed, or is."""
        return self._closed

    @property
    def lost(self) -> CablewayError | None:
        """Why the pool takes no more units, when it does not."""
        return self._lost

    def _tell_shares(self, worker: Worker) -> None:
        for parcel in self._shares[worker.shares :]:
            worker.post(parcel.frame(frames.SHARE))
            worker.shares += 1

    def plan(self) -> Plan:
        """What every worker is told first. Raise `DefinitionError` when the handler cannot be sent."""
        return planned(self.config, self.lane)


def _load(worker: Worker) -> int:
    return len(worker.units)

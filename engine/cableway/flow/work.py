"""The loop of a stage's worker with everything a stage can be told to do; `lean` is the one without."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from cableway.errors import ItemError
from cableway.flow.attempt import failure, is_ours
from cableway.flow.channel import Hand
from cableway.flow.delays import Delays
from cableway.flow.fanout import FanOut
from cableway.flow.lanes.protocol import UnitResult
from cableway.flow.order import Line
from cableway.flow.rate import Bucket
from cableway.flow.sidebyside import Units
from cableway.flow.stage import result_of
from cableway.flow.streams import stream_of
from cableway.flow.turnstile import enter_all, leave_all
from cableway.flow.visit import Refusal, Visit
from cableway.items import DROP

if TYPE_CHECKING:
    from cableway.flow.stage import Stage


class Work:
    """What the workers of one stage share, and the loop that each of them runs."""

    def __init__(self, stage: Stage, line: Line | None) -> None:
        config = stage.config
        self._stage = stage
        self._line = line
        self._units = Units(stage)
        self._thread_pools = {unit.bloc.name: getattr(unit, "pool", None) for unit in stage.units}
        self._bucket = Bucket(config.rate_limit) if config.rate_limit is not None else None
        self._turnstiles = config.turnstiles
        self._fan_out = FanOut(stage)
        self._service = stage.counts.service
        self._with_times = len(stage.units) == 1 and stage.units[0].with_times
        self.delays = Delays(stage.queue, config.queue_size)
        self.surplus: Callable[[Hand], bool] | None = None
        """Asked by each worker before it waits: whether it is one too many and counts no more. It may call more in."""

    async def serve(self, hand: Hand) -> None:
        """Take what comes and work on it, until the queue has ended."""
        queue, now_ns, turn = self._stage.queue, self._stage.now_ns, self._stage.ledger.turn
        while (self.surplus is None or not self.surplus(hand)) and await queue.wait():
            taken = queue.take()
            visit = taken if isinstance(taken, Visit) else Visit(taken)
            hand.item = visit.item
            await self._visit(visit, hand)
            if now_ns() > turn.until_ns:
                await turn.over()

    async def _visit(self, visit: Visit, hand: Hand) -> None:
        began = self._stage.now_ns()
        if not visit.started:
            visit.started = True
            late = self._too_late(visit)
            if late is not None:
                await self._leave(visit, hand, late)
                return
            if not self._with_times:
                self._stage.took(visit.item, began)
        due: float | None = None
        refused: Refusal | None = None
        try:
            due = await self._run(visit)
        except Refusal as refusal:
            refused = refusal
        if self._service.skip:
            self._service.skip -= 1
        else:
            self._book(visit, began)
        if due is None:
            self._begin_late(visit)
            await self._leave(visit, hand, refused)
        else:
            hand.item = None
            self.delays.park(visit, due)

    async def _run(self, visit: Visit) -> float | None:
        """Run the visit's units; None when they are done, else when to come back, off this worker."""
        while True:
            if self._bucket is not None:
                await self._bucket.take()
            due = await self._through_turnstiles(visit) if self._turnstiles else await self._units.run(visit)
            if due is None or not self.delays.full:
                return due
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))

    async def _through_turnstiles(self, visit: Visit) -> float | None:
        # A unit that waits for its next attempt, or hands on what it gave, keeps nobody else out.
        await enter_all(self._turnstiles)
        try:
            return await self._units.run(visit)
        finally:
            leave_all(self._turnstiles)

    def _book(self, visit: Visit, began_ns: int) -> None:
        """How long a worker was busy with *visit* this time; in a pool, without the wait for a child."""
        result = visit.results.get(self._stage.units[0].bloc.name) if self._with_times else None
        busy_ns = self._stage.now_ns() - began_ns if result is None else result.finished_ns - result.started_ns
        self._service.sample(busy_ns)

    def _begin_late(self, visit: Visit) -> None:
        """Where a unit may have waited in a pool, its start is what the child read."""
        if self._with_times:
            result = visit.results.get(self._stage.units[0].bloc.name)
            self._stage.took(visit.item, result.started_ns if result is not None else self._stage.now_ns())

    def _too_late(self, visit: Visit) -> Refusal | None:
        stage = self._stage
        if stage.expiry is None:
            return None
        now = stage.now_ns()
        error = stage.expiry.left(visit.item, now)
        if error is None:
            return None
        stage.took(visit.item, now)
        return Refusal(stage.name, error, 0)

    async def _leave(self, visit: Visit, hand: Hand, refusal: Refusal | None) -> None:
        """The visit is over: now, or in an ordered stage when all before it are."""
        if self._line is None:
            await self._settle(visit, hand, refusal)
            return
        hand.item = None
        await self._line.leave(visit, refusal, hand, self._settle)

    async def settle_value(self, hand: Hand, value: Any, began_ns: int, ended_ns: int) -> int:
        """Deal with what a lean handler gave that is not plain data: a failure, a drop, a stream, another item.

        Return a reading at the end.
        """
        self._stage.counts.began(began_ns)
        visit = Visit(hand.item)
        refusal = value if isinstance(value, Refusal) else None
        if refusal is None:
            visit.results[self._stage.units[0].bloc.name] = UnitResult(value, began_ns, ended_ns)
        await self._settle(visit, hand, refusal)
        return self._stage.now_ns()

    async def _settle(self, visit: Visit, hand: Hand, refusal: Refusal | None) -> None:
        stage = self._stage
        if refusal is not None:
            stage.fail(hand, refusal.bloc, refusal.error, refusal.attempts)
            return
        streams = self._streams(visit)
        if any(result.value is DROP for result in visit.results.values()):
            for stream in streams.values():
                await self._fan_out.close(stream)
            stage.drop(hand)
        elif len(streams) > 1:
            names = ", ".join(sorted(streams))
            stage.fail(hand, stage.name, ItemError("bad_result", f"more than one bloc gave a stream: {names}"), 1)
        elif streams:
            ((name, stream),) = streams.items()
            await self._fan_out.run(visit, hand, name, stream)
        else:
            await self._move_on(visit, hand)

    def _streams(self, visit: Visit) -> dict[str, AsyncIterator[Any]]:
        found: dict[str, AsyncIterator[Any]] = {}
        for name, result in visit.results.items():
            stream = stream_of(result, self._thread_pools[name])
            if stream is not None:
                found[name] = stream
        return found

    async def _move_on(self, visit: Visit, hand: Hand) -> None:
        stage, item = self._stage, visit.item
        try:
            if stage.merge is None:
                value = visit.results[stage.units[0].bloc.name].value
                if value is None:
                    stage.drop(hand)
                    return
                item.data = result_of(item, value)
            else:
                item.data = stage.merge(item, {name: result_of(item, value) for name, value in visit.values().items()})
        except BaseException as error:
            if is_ours(error):
                raise
            stage.fail(hand, stage.name, failure(error), 1)
            return
        stage.through(item, self._ended_at(visit))
        await stage.pass_on(hand)

    def _ended_at(self, visit: Visit) -> int:
        if self._with_times:
            return max(result.finished_ns for result in visit.results.values())
        return self._stage.now_ns()

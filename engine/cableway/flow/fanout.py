"""One item becomes many: the children go on one by one, made no faster than the next stage takes them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from cableway.flow.attempt import failure, is_ours
from cableway.flow.channel import Hand
from cableway.flow.observer import Outcome
from cableway.flow.stage import result_of
from cableway.flow.streams import Pulled, close_stream, next_of
from cableway.items import DROP, Rejected, WorkItem

if TYPE_CHECKING:
    from cableway.flow.stage import Stage
    from cableway.flow.units import Unit
    from cableway.flow.visit import Visit

_END = object()


class FanOut:
    """Pulls the streams that a stage's handlers give."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._units: dict[str, Unit] = {unit.bloc.name: unit for unit in stage.units}

    async def run(self, visit: Visit, hand: Hand, bloc: str, stream: AsyncIterator[Any]) -> None:
        """Send on a child for each value of *stream*. With the last, the parent has succeeded.

        A stream without values drops the parent. One that raises fails the parent; the children that
        it has given go on.
        """
        stage = self._stage
        count = 0
        child_hand = Hand()
        beside = {name: value for name, value in visit.values().items() if name != bloc}
        self._prepare(stream, bloc)
        abandoned = False
        try:
            while (value := await self._next(stream, bloc)) is not _END:
                if value is None or value is DROP:
                    continue
                count += 1
                rejected = _rejected(value)  # before the child, which may be the value itself, takes its data
                child_hand.item = self._child(visit.item, count, value, beside, bloc)
                await self._send(child_hand, bloc, rejected)
                if stage.ledger.cancelled:
                    break
        except BaseException as error:
            if is_ours(error):
                abandoned = isinstance(error, GeneratorExit)
                raise
            stage.fail(hand, bloc, failure(error), visit.attempts.get(bloc, 1))
        else:
            self._end(hand, count)
        finally:
            if child_hand.item is not None:
                stage.cancel(child_hand)
            if not abandoned:  # else nothing may be awaited any more
                await self.close(stream)

    async def _send(self, hand: Hand, bloc: str, rejected: Rejected | None) -> None:
        if hand.item is None:
            return
        if rejected is None:
            await self._stage.pass_on(hand)
        else:
            self._stage.reject(hand, bloc, rejected.error)

    def _prepare(self, stream: AsyncIterator[Any], bloc: str) -> None:
        if isinstance(stream, Pulled):
            stream.timeout_s = self._units[bloc].bloc.timeout_s
            following = self._stage.next
            if following is not None:
                stream.room = lambda: following.inbox.size - len(following.inbox)

    async def _next(self, stream: AsyncIterator[Any], bloc: str) -> Any:
        began = self._stage.now_ns()
        try:
            return await next_of(stream, self._units[bloc].bloc.timeout_s, self._stage.left_behind)
        except StopAsyncIteration:
            return _END
        finally:
            self._stage.counts.service.add(self._stage.now_ns() - began)

    def _child(self, parent: WorkItem, number: int, value: Any, beside: dict[str, Any], bloc: str) -> WorkItem | None:
        stage = self._stage
        data = result_of(parent, value)
        if isinstance(data, Rejected):
            data = data.row
        elif stage.merge is not None:
            data = stage.merge(parent, {**beside, bloc: data})
        if isinstance(value, WorkItem) and value is not parent and not value.live:
            child = value
            child.data = data
        else:
            child = WorkItem(data)
        if child.own_id is None:
            child.own_id = f"{parent.job_id}.{number}"
        return child if stage.derive((parent,), child, "fan_out") else None

    def _end(self, hand: Hand, count: int) -> None:
        stage = self._stage
        if count == 0 and not stage.ledger.cancelled:
            stage.drop(hand)
            return
        item, hand.item = hand.item, None
        now = stage.now_ns()
        stage.through(item, now)
        stage.ledger.end(item, Outcome.CANCELLED if stage.ledger.cancelled else Outcome.SUCCEEDED, now)

    async def close(self, stream: AsyncIterator[Any]) -> None:
        """Let the stream's generator end; what it raises then changes nothing."""
        with contextlib.suppress(Exception):
            await close_stream(stream)


def _rejected(value: Any) -> Rejected | None:
    data = value.data if isinstance(value, WorkItem) else value
    return data if isinstance(data, Rejected) else None

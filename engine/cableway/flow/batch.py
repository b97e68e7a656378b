"""Several items become one: a batch stands between a stage's inbox and its workers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cableway.flow.channel import ChannelEndedError, Hand
from cableway.flow.config import Batch
from cableway.flow.cuts import KnownBatch
from cableway.flow.sizes import size_of
from cableway.items import WorkItem

if TYPE_CHECKING:
    from cableway.flow.order import Line
    from cableway.flow.stage import Stage


class Batcher:
    """Collects items until the batch is full, old enough, or nothing more can come."""

    def __init__(self, stage: Stage, batch: Batch, line: Line | None) -> None:
        self._stage = stage
        self._line = line
        self._batch = batch
        self._members: list[WorkItem] = []
        self._bytes = 0
        self._deadline = 0.0
        self._next: WorkItem | None = None
        self._known: KnownBatch | None = None

    async def run(self, hand: Hand) -> None:
        """Turn what comes into batches, and queue them for the workers."""
        inbox = self._stage.inbox
        while await self._wait():
            if inbox.items:
                self._next = item = inbox.take()
                if self._batch.cuts is not None:
                    known = self._batch.cuts.known_batch(item)
                    if known is not self._known:
                        await self._flush(hand)
                    self._known = known
                self._next = None
                self._add(item)
            if self._is_due():
                await self._flush(hand)
        await self._flush(hand)
        self._stage.queue.close()

    async def _wait(self) -> bool:
        """Wait for an item, or until the batch at hand is old enough. False when no item can come."""
        inbox = self._stage.inbox
        if inbox.items or self._batch.period_s is None or not self._members:
            return await inbox.wait()
        try:
            async with asyncio.timeout_at(self._deadline):
                return await inbox.wait()
        except TimeoutError:
            return True

    def _add(self, item: WorkItem) -> None:
        if not self._members and self._batch.period_s is not None:
            self._deadline = asyncio.get_running_loop().time() + self._batch.period_s
        self._members.append(item)
        if self._batch.bytes is not None:
            self._bytes += size_of(item.data)

    def _is_due(self) -> bool:
        batch = self._batch
        if self._known is not None:
            return bool(self._members) and self._known.ends_with(self._members[-1])
        if batch.count is not None and len(self._members) >= batch.count:
            return True
        if batch.bytes is not None and self._bytes >= batch.bytes:
            return True
        return batch.period_s is not None and asyncio.get_running_loop().time() >= self._deadline

    async def _flush(self, hand: Hand) -> None:
        if not self._members:
            return
        if self._batch.cuts is not None:
            await self._batch.cuts.ready()
        stage, members, known = self._stage, self._members, self._known
        if known is None or not known.finished:
            made = WorkItem([member.data for member in members], job_id=_name(members, known))
            if stage.derive(members, made, "batch"):
                hand.item = made
        self._members, self._bytes, self._known = [], 0, None
        member_hand = Hand()
        for member in members:
            member_hand.item = member
            stage.merge_in(member_hand)
        if hand.item is not None:
            stage.arrived(hand.item)
            await self._queue(hand)

    async def _queue(self, hand: Hand) -> None:
        if self._line is not None:
            await self._line.enter(hand)
            return
        try:
            await self._stage.queue.put_from(hand)
        except ChannelEndedError:
            self._stage.cancel(hand)

    def sweep(self) -> list[WorkItem]:
        """Take out what has been collected, for the run is being cancelled."""
        members, self._members = self._members, []
        if self._next is not None:
            members.append(self._next)
            self._next = None
        return members


def _name(members: list[WorkItem], known: KnownBatch | None) -> str:
    return known.name(members) if known is not None else f"{members[0].job_id}..{members[-1].job_id}"

"""
The loop of a worker whose stage is an async handler and nothing more: where the time of a hop goes.

It does what `work.Work` does without retry, time limits, batches and the like, with the queue's own
deque in its hands. While there is something to take and room to give it never suspends unless the
handler does, and it reads the clock once a hop: an item's end is the next one's start.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cableway.flow.attempt import failure, is_ours
from cableway.flow.audience import deaf
from cableway.flow.channel import Hand, LoopChannel
from cableway.flow.visit import Refusal
from cableway.items import WorkItem

if TYPE_CHECKING:
    from cableway.flow.stage import Stage
    from cableway.flow.work import Work

# Results that are data and cannot be anything else.
DATA = frozenset({dict, str, bytes, int, float, bool, tuple, set, frozenset})


def is_lean(stage: Stage) -> bool:
    """Whether nothing is asked of the stage that this loop leaves out."""
    config, following = stage.config, stage.next
    if len(stage.units) != 1 or stage.units[0].lean_handler is None or stage.merge is not None:
        return False
    if config.queue_timeout_s is not None or config.rate_limit is not None or config.max_item_bytes is not None:
        return False
    if config.turnstiles:
        return False
    if stage.queue is not stage.inbox or type(stage.inbox) is not LoopChannel:
        return False
    return following is None or (type(following.inbox) is LoopChannel and following.config.queue_timeout_s is None)


async def serve(stage: Stage, work: Work, hand: Hand) -> None:  # noqa: C901, PLR0912 - inlined for speed
    """Take what comes and work on it, until the queue has ended."""
    inbox, now, handler, turn = stage.inbox, stage.now_ns, stage.units[0].lean_handler, stage.ledger.turn
    items, getters, (outbox, ready, room, takers) = inbox.items, inbox.getters, outlet(stage)
    (begin, passed), book, succeed, give = _told(stage), _bookkeeper(stage), stage.succeed, ready.append
    take, followed, done, finished = items.popleft, stage.ledger.tracker is not None, 0, 0
    at = first = now()
    try:
        while True:
            if not items or at > turn.until_ns:
                hand.item = None
                done = finished = book(done, first, at, finished)
                if not await rest(stage):
                    return
                at = first = now()
            hand.item = item = take()
            hand.since_ns = at
            if len(items) <= inbox.wake_at or (getters and items and not inbox.waking):
                inbox.taken()
            if followed:
                item.trail.append(at)
            if begin is not None:
                begin(item, at)
            try:
                result = await handler(item)  # type: ignore[misc]  # is_lean has seen that there is one
            except BaseException as error:
                result = refusal(stage, error)
            ended = now()
            if result is not item:
                if type(result) not in DATA:
                    done = finished = book(done, first, at, finished)
                    at = first = await work.settle_value(hand, result, at, ended)
                    continue
                item.data = result
            at, done, finished = ended, done + 1, finished + ended
            if followed:
                item.trail.append(at)
            if passed is not None:
                passed(item, at, len(ready) < room)
            if outbox is None:
                succeed(item, at)
            elif len(ready) < room:
                give(item)
                if takers and not outbox.waking:
                    outbox.wake()
            else:
                done = finished = book(done, first, at, finished)
                at = first = await stage.wait_counted(hand, at)
    finally:
        book(done, first, at, finished)


def outlet(stage: Stage) -> tuple[LoopChannel | None, deque[Any], int, deque[asyncio.Future[None]]]:
    """The next stage's inbox, its items, its size and those that wait for items; None behind the last stage."""
    if stage.next is None:
        return None, deque(), 0, deque()
    outbox = stage.next.inbox
    return outbox, outbox.items, outbox.size, outbox.getters


async def rest(stage: Stage) -> bool:
    """Wait for an item, or only let others run where there is one; False when there never will be."""
    if stage.ledger.crowded:
        await stage.ledger.relief()
    elif stage.inbox.items:
        await stage.ledger.turn.over()
    return await stage.inbox.wait()


def refusal(stage: Stage, error: BaseException) -> Refusal:
    """The item's failure, as a result; what ends the worker is raised again."""
    if is_ours(error):
        raise error
    return Refusal(stage.units[0].bloc.name, failure(error), 1)


def _bookkeeper(stage: Stage) -> Callable[[int, int, int, int], int]:
    """What enters a run of items into the statistics, and gives the 0 with which the next run begins.

    One item's end was the next one's start, so the sum of the starts follows from that of the ends; and
    the next stage's items came when they were finished here.
    """
    counts, following = stage.counts, stage.next

    def book(count: int, first_ns: int, last_ns: int, sum_ns: int) -> int:
        if count:
            counts.worked(count, first_ns + sum_ns - last_ns, sum_ns)
            if following is not None:
                following.counts.came(count, sum_ns)
        return 0

    return book


_Begin = Callable[[WorkItem, int], None]
_Passed = Callable[[WorkItem, int, bool], None]


def _told(stage: Stage) -> tuple[_Begin | None, _Passed | None]:
    """What tells the observers of the start and the end of each hop, where there are any."""
    audience, name = stage.audience, stage.name
    if not audience.hears_hops:
        return None, None
    following = stage.next.name if stage.next is not None else ""
    started, finished, queued = audience.hop_started, audience.hop_finished, audience.hop_queued

    def begin(item: WorkItem, at_ns: int) -> None:
        nonlocal started
        try:
            started(item, name, at_ns)
        except Exception as error:
            audience.fault("item_started", error)
            started = deaf

    def passed(item: WorkItem, at_ns: int, has_room: bool) -> None:  # noqa: FBT001 - called once a hop
        nonlocal finished, queued
        try:
            finished(item, name, at_ns)
            if has_room:
                queued(item, following, at_ns)
        except Exception as error:
            audience.fault("item_finished", error)
            finished = queued = deaf

    return begin, passed

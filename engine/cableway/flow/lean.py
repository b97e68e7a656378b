"""
The loop of a worker whose stage is an async handler and nothing more: where the time of a hop goes.

It does what `work.Work` does without retry, time limits, batches and the like, with the queue's own
deque in its hands. While there is something to take and room to give it never suspends unless the
handler does, and it reads the clock once a hop: an item's end is the next one's start.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from cableway.flow.attempt import failure, is_ours
from cableway.flow.channel import Hand, LoopChannel
from cableway.flow.lanes.protocol import UnitResult
from cableway.flow.observer import Outcome

if TYPE_CHECKING:
    from cableway.flow.stage import Stage
    from cableway.flow.work import Work

# A worker that never has to wait lets others run after so long.
SLICE_NS = 2_000_000

# Results that are data and cannot be anything else.
_DATA = frozenset({dict, str, bytes, int, float, bool, tuple, set, frozenset})


def is_lean(stage: Stage) -> bool:
    """Whether nothing is asked of the stage that this loop leaves out."""
    config = stage.config
    return (
        len(stage.units) == 1
        and stage.merge is None
        and stage.units[0].lean_handler is not None
        and stage.queue is stage.inbox
        and type(stage.inbox) is LoopChannel
        and (stage.next is None or type(stage.next.inbox) is LoopChannel)
        and config.queue_timeout_s is None
        and (stage.next is None or stage.next.config.queue_timeout_s is None)
        and config.rate_limit is None
        and config.max_item_bytes is None
    )


async def serve(stage: Stage, work: Work, hand: Hand) -> None:  # noqa: C901, PLR0912, PLR0915 - inlined for speed
    """Take what comes and work on it, until the queue has ended."""
    now, name, counts, ledger, audience = stage.now_ns, stage.name, stage.counts, stage.ledger, stage.audience
    handler: Any = stage.units[0].lean_handler
    inbox, following = stage.inbox, stage.next
    items, getters, take = inbox.items, inbox.getters, inbox.items.popleft
    outbox = inbox if following is None else following.inbox
    room, give, takers = outbox.size, outbox.items.append, outbox.getters
    waiting_out = outbox.items
    told_started, told_finished = audience.hop_started, audience.hop_finished
    told_queued = audience.hop_queued if following is not None else None
    next_name = following.name if following is not None else ""
    plain = ledger.plain and audience.item_ended is None
    done = started = finished = 0
    at = now()
    slice_end = at + SLICE_NS
    while True:
        if not items:
            hand.item = None
            counts.worked(done, started, finished)
            done = started = finished = 0
            if not await inbox.wait():
                return
            at = now()
            slice_end = at + SLICE_NS
        item = take()
        hand.item = item
        hand.since_ns = at
        if len(items) <= inbox.wake_at:
            inbox.relieve()
        if getters and items and not inbox.waking:
            inbox.wake()
        trail = item.trail
        if trail is not None:
            trail.append(at)
        if told_started is not None:
            try:
                told_started(item, name, at)
            except Exception as error:
                audience.fault("item_started", error)
                told_started = None
        try:
            result = await handler(item)
        except BaseException as error:
            if is_ours(error):
                raise
            counts.began(at)
            stage.fail(hand, stage.units[0].bloc.name, failure(error), 1)
            at = now()
            continue
        ended = now()
        if result is not item:
            if type(result) not in _DATA:
                counts.began(at)
                await work.settle_value(item, hand, UnitResult(result, at, ended))
                at = now()
                continue
            item.data = result
        done += 1
        started += at
        finished += ended
        at = ended
        if trail is not None:
            trail.append(at)
        if told_finished is not None:
            try:
                told_finished(item, name, at)
            except Exception as error:
                audience.fault("item_finished", error)
                told_finished = None
        if following is None:
            if plain and item.own_id is None:
                item.live = False
                ledger.outcomes[Outcome.SUCCEEDED] += 1
                ledger.total_ns += at - item.created_ns
            else:
                ledger.end(item, Outcome.SUCCEEDED, at)
                if ledger.crowded:
                    hand.item = None
                    await ledger.relief()
        elif len(waiting_out) < room:
            following.counts.came(1, at)
            if trail is not None:
                trail.append(at)
            if told_queued is not None:
                try:
                    told_queued(item, next_name, at)
                except Exception as error:
                    audience.fault("item_queued", error)
                    told_queued = None
            give(item)
            if takers and not outbox.waking:
                outbox.wake()
        else:
            counts.worked(done, started, finished)
            done = started = finished = 0
            await stage.wait_for_room(hand)
            at = now()
        if at > slice_end:
            hand.item = None
            counts.worked(done, started, finished)
            done = started = finished = 0
            await asyncio.sleep(0)
            at = now()
            slice_end = at + SLICE_NS

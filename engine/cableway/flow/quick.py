"""
The lean loop where nobody follows single items: no readings are kept of them, and no observer hears of hops.

Then only sums of times are wanted, so the clock need not be read for every item: as long as items take
next to nothing, up to `MOST` of them are timed together, as if each had taken its equal share. An item
that takes longer is timed alone from the next one on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cableway.flow.channel import Hand
from cableway.flow.lean import DATA, outlet, refusal, rest

if TYPE_CHECKING:
    from cableway.flow.stage import Stage
    from cableway.flow.work import Work

# So many items are timed together at the most, while all of them together take less than this.
MOST = 16
SHORT_NS = 50_000


async def serve(stage: Stage, work: Work, hand: Hand) -> None:  # noqa: C901, PLR0912 - inlined for speed
    """Take what comes and work on it, until the queue has ended."""
    inbox, now, handler, turn = stage.inbox, stage.now_ns, stage.units[0].lean_handler, stage.ledger.turn
    items, getters, (outbox, ready, room, takers) = inbox.items, inbox.getters, outlet(stage)
    book, succeed, give, take = _bookkeeper(stage), stage.succeed, ready.append, items.popleft
    done, together = 0, 1
    hand.since_ns = first = now()
    try:
        while True:
            if done == together or not items:
                at = now()
                together = book(done, first, at, together)
                done, first = 0, at
                if not items or at > turn.until_ns:
                    hand.item = None
                    if not await rest(stage):
                        return
                    first = now()
                hand.since_ns = first
            hand.item = item = take()
            if len(items) <= inbox.wake_at or (getters and items and not inbox.waking):
                inbox.taken()
            try:
                result = await handler(item)  # type: ignore[misc]  # is_lean has seen that there is one
            except BaseException as error:
                result = refusal(stage, error)
            if result is not item:
                if type(result) not in DATA:
                    at = now()
                    book(done, first, at, together)
                    done, together = 0, 1
                    hand.since_ns = first = await work.settle_value(hand, result, at, at)
                    continue
                item.data = result
            done += 1
            if outbox is None:
                succeed(item, now())
            elif len(ready) < room:
                give(item)
                if takers and not outbox.waking:
                    outbox.wake()
            else:
                at = now()
                together = book(done, first, at, together)
                done = 0
                hand.since_ns = first = await stage.wait_counted(hand, at)
    finally:
        book(done, first, now(), together)


def _bookkeeper(stage: Stage) -> Callable[[int, int, int, int], int]:
    """What enters items that were timed together into the statistics, and says how many may be next time."""
    counts, following = stage.counts, stage.next

    def book(count: int, first_ns: int, at_ns: int, together: int) -> int:
        if not count:
            return together
        took_ns = at_ns - first_ns
        # Each is taken to have begun when the one before it ended, and to have taken as long.
        sum_ns = count * first_ns + took_ns * (count + 1) // 2
        counts.worked(count, sum_ns - took_ns, sum_ns)
        if following is not None:
            following.counts.came(count, sum_ns)
        return min(MOST, together * 2) if took_ns < SHORT_NS else 1

    return book

"""A stage at run time: its queue, its units, and every way in which an item can leave it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cableway.errors import GatherTooLargeError, ItemsFailedError, WorkersLostError
from cableway.flow.attempt import SetupError
from cableway.flow.audience import Hop
from cableway.flow.channel import ChannelEndedError, Hand, LoopChannel
from cableway.flow.config import StageConfig
from cableway.flow.expiry import Expiry
from cableway.flow.observer import Derivation, Outcome
from cableway.flow.sizes import WeighedChannel
from cableway.flow.statistics import StageCounts
from cableway.items import WorkItem, note_arrival

if TYPE_CHECKING:
    from cableway.flow.bloc import Merge
    from cableway.flow.ledger import Ledger
    from cableway.flow.units import Unit

log = logging.getLogger("cableway.flow")

# So many items of a source go in before the workers may want their turn.
POUR = 512


class Stage:
    """One stage of one run.

    ``inbox`` is what the stage before fills. ``queue`` is what the workers take from: the same, unless
    something stands between (batch, gather, ordered).
    """

    def __init__(self, index: int, config: StageConfig, ledger: Ledger) -> None:
        self.index = index
        self.config = config
        self.name = config.name
        self.ledger = ledger
        self.audience = ledger.audience
        self.now_ns = ledger.now_ns
        self.counts = StageCounts(config.name, ledger.now_ns)
        self.inbox = self._channel()
        self.queue = self.inbox
        self.next: Stage | None = None
        self.units: tuple[Unit, ...] = ()
        self.merge: Merge | None = None
        self.expiry = Expiry(self, config.queue_timeout_s) if config.queue_timeout_s is not None else None

    def _channel(self) -> LoopChannel:
        if self.config.queue_bytes is not None:
            return WeighedChannel(self.config.queue_size, self.config.queue_bytes, self.arrived)
        return LoopChannel(self.config.queue_size, self.arrived)

    def arrived(self, item: WorkItem) -> None:
        """*item* waits before this stage from now on."""
        now = self.now_ns()
        self.counts.came(1, now)
        if self.expiry is not None:
            self.expiry.came(item, now)
        if item.trail is not None:
            note_arrival(item.trail, now)
        if self.audience.item_queued is not None:
            self.audience.item_queued(item, self.name, now)

    def pour(self, given: Sequence[Any], start: int) -> int:
        """Admit and place members of *given* from *start* on, while there is room and they are new and plain.

        Return how many, at most `POUR`; with the next one something is to be done that this leaves to the caller.
        """
        inbox, active, route = self.inbox, self.ledger.active, self.ledger.first_route
        if type(inbox) is not LoopChannel or inbox.closed or inbox.putters or self.expiry is not None:
            return 0
        now, told = self.now_ns(), self.audience.hop_queued if self.audience.hears_hops else None
        items: list[WorkItem] = []
        for at in range(start, min(len(given), start + POUR, start + inbox.size - len(inbox.items))):
            item = given[at]
            if type(item) is not WorkItem:
                if item is None or isinstance(item, WorkItem):
                    break
                item = WorkItem(item)
            if item.live or item.own_id is not None:
                break
            item.live = True
            if active is not None:
                item.follow(route, [item.created_ns, now])
                active[item] = None
            if told is not None:
                told = self._tell_queued(told, item, now)
            items.append(item)
        if items:
            self.ledger.emitted += len(items)
            self.counts.came(len(items), now * len(items))
            inbox.items.extend(items)
            if inbox.getters and not inbox.waking:
                inbox.wake()
        return len(items)

    def took(self, item: WorkItem, at_ns: int) -> None:
        """A worker has taken *item*: its wait is over."""
        self.counts.began(at_ns)
        if item.trail is not None:
            item.trail.append(at_ns)
        if self.audience.item_started is not None:
            self.audience.item_started(item, self.name, at_ns)

    def through(self, item: WorkItem, at_ns: int) -> None:
        """The stage's blocs are done with *item*."""
        self.counts.ended(at_ns)
        if item.trail is not None:
            item.trail.append(at_ns)
        if self.audience.item_finished is not None:
            self.audience.item_finished(item, self.name, at_ns)

    def succeed(self, item: WorkItem, at_ns: int) -> None:
        """*item* is through the last stage. Where callbacks crowd, the workers' turn is over."""
        ledger = self.ledger
        if ledger.unwatched and item.own_id is None:
            item.live = False
            ledger.succeeded += 1
            ledger.total_ns += at_ns - item.created_ns
            if ledger.tracker is not None:
                ledger.tracker.keep(item)
            if self.audience.item_ended is not None:
                self.audience.item_ended(item, Outcome.SUCCEEDED, at_ns)
            return
        ledger.end(item, Outcome.SUCCEEDED, at_ns)
        if ledger.crowded:
            ledger.turn.until_ns = 0

    async def pass_on(self, hand: Hand) -> None:
        """Send what *hand* holds to the next stage, waiting for room; behind the last stage it has succeeded."""
        item = hand.item
        self.counts.emitted += 1
        if self.next is None:
            hand.item = None
            self.ledger.end(item, Outcome.SUCCEEDED, self.now_ns())
            if self.ledger.crowded:
                await self.ledger.relief()
            return
        inbox = self.next.inbox
        if inbox.closed:
            self.cancel(hand)
        elif inbox.fits(item):
            hand.item = None
            self.next.arrived(item)
            inbox.place(item)
        else:
            await self.wait_for_room(hand)

    async def wait_for_room(self, hand: Hand) -> None:
        """Place what *hand* holds before the next stage as soon as it has room."""
        if self.next is None:
            raise AssertionError("the last stage never waits for room")
        began = self.now_ns()
        try:
            await self.next.inbox.put_from(hand)
        except ChannelEndedError:
            self.cancel(hand)
        finally:
            now = self.now_ns()
            self.counts.blocked_ns += now - began
            if self.audience.stage_blocked is not None:
                self.audience.stage_blocked(self.name, self.next.name, now - began, now)

    async def wait_counted(self, hand: Hand, at_ns: int) -> int:
        """As `wait_for_room`, for an item that is in the next stage's sums already, as come at *at_ns*.

        Return a reading at the end.
        """
        if self.next is not None:
            self.next.counts.came(-1, -at_ns)
        await self.wait_for_room(hand)
        return self.now_ns()

    def cancel(self, hand: Hand) -> None:
        """What *hand* holds goes no further, for the run is being cancelled."""
        item, hand.item = hand.item, None
        self.ledger.end(item, Outcome.CANCELLED, self.now_ns())

    def drop(self, hand: Hand) -> None:
        """The handler wants no more of the item."""
        item, hand.item = hand.item, None
        now = self.now_ns()
        self.through(item, now)
        self.counts.skipped += 1
        if self.audience.item_dropped is not None:
            self.audience.item_dropped(item, self.name, now)
        self.ledger.end(item, Outcome.SKIPPED, now)

    def fail(self, hand: Hand, bloc: str, error: BaseException, attempts: int) -> None:
        """A unit of the item failed for good: what becomes of the item, and of the run, is `on_error`."""
        item, hand.item = hand.item, None
        now = self.now_ns()
        self.counts.ended(now)
        if isinstance(error, WorkersLostError | SetupError):
            self.ledger.end(item, Outcome.LOST, now, error)
            self.ledger.abort(error)
            return
        self._end_failed(item, bloc, error, attempts, now)

    def reject(self, hand: Hand, bloc: str, error: BaseException) -> None:
        """What *hand* holds came out of an item here only to fail; `on_error` holds for it too."""
        item, hand.item = hand.item, None
        self._end_failed(item, bloc, error, 1, self.now_ns())

    def _end_failed(self, item: WorkItem, bloc: str, error: BaseException, attempts: int, now: int) -> None:
        if self.config.on_error == "skip":
            self._skip_failed(item, bloc, error, now)
            return
        self.counts.failed += 1
        if self.audience.item_failed is not None:
            self.audience.item_failed(item, self.name, bloc, error, attempts, now)
        log.debug("item %s failed in stage %s: %s: %s", item.job_id, self.name, type(error).__name__, error)
        self.ledger.end(item, Outcome.FAILED, now, error)
        if self.config.on_error == "fail_run":
            reason = ItemsFailedError(f"item {item.job_id} failed in stage {self.name!r}: {describe(error)}")
            reason.__cause__ = error
            self.ledger.abort(reason)

    def _skip_failed(self, item: WorkItem, bloc: str, error: BaseException, at_ns: int) -> None:
        self.counts.skipped += 1
        log.info("item %s is skipped: %s failed: %s", item.job_id, bloc, describe(error))
        if self.audience.item_dropped is not None:
            self.audience.item_dropped(item, self.name, at_ns)
        self.ledger.end(item, Outcome.SKIPPED, at_ns, error)

    def _tell_queued(self, told: Hop, item: WorkItem, at_ns: int) -> Hop:
        try:
            told(item, self.name, at_ns)
        except Exception as error:
            self.audience.fault("item_queued", error)
            return self.audience.hop_queued
        return told

    def left_behind(self) -> None:
        """A handler did not let itself be stopped, and is no longer waited for."""
        self.counts.abandoned += 1

    def merge_in(self, hand: Hand) -> None:
        """What *hand* holds has become part of another item here, and so has succeeded."""
        item, hand.item = hand.item, None
        now = self.now_ns()
        if self.expiry is not None:
            self.expiry.left(item, now)
        self.took(item, now)
        self.through(item, now)
        self.counts.merged += 1
        self.ledger.end(item, Outcome.SUCCEEDED, now)

    def derive(self, parents: Sequence[WorkItem], child: WorkItem, how: Derivation) -> bool:
        """Take *child*, which came out of *parents* here, into account.

        False when its id is on its way already and `on_duplicate` has dealt with it.
        """
        first = self.index if how != "fan_out" else self.index + 1
        policy = self.config.on_duplicate if how != "fan_out" or self.next is None else self.next.config.on_duplicate
        if not self.ledger.admit(child, first, policy):
            return False
        if self.audience.item_derived is not None:
            self.audience.item_derived(parents, (child,), self.name, how)
        return True

    def gather_too_large(self, max_bytes: int) -> None:
        """What a gather holds is over its limit: the run fails."""
        self.ledger.abort(
            GatherTooLargeError(
                f"stage {self.name!r} gathers more than {max_bytes} bytes; fold items into less, or raise its max_bytes"
            )
        )


def describe(error: BaseException) -> str:
    """The error in one line."""
    message = str(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def result_of(item: WorkItem, value: Any) -> Any:
    """What a handler's *value* makes of the item's data: another item gives its data and its notes."""
    if value is item:
        return item.data
    if isinstance(value, WorkItem):
        if value.known is not None and value.known.custom_metadata:
            item.metadata.custom_metadata.update(value.known.custom_metadata)
        return value.data
    return value

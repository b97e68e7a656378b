"""
What becomes of the ticks of one scheduler that nobody has decided yet: which are run, and why others are not.

However long nobody looked, there are no more runs than the scheduler allows to be caught up on, and ticks that are
not run are counted, not listed. What comes out says of every tick what became of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Literal

from cableway.definitions.cron_grammar import CronError
from cableway.definitions.timetable import Timetable, timetable

Reason = Literal["overlap", "deadline", "catchup_limit", "dst_gap", "paused", "no_pipeline", "refused"]
"""Why a tick made no run."""

ON_TIME = timedelta(seconds=90)
"""A tick that is no older is on time and none to be caught up on: somebody who looks once a minute may be late."""
LOOK_AGAIN = timedelta(hours=1)
"""After so long a scheduler that nobody could read is looked at again."""

_MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cover:
    """Ticks in a row that made no run, for one reason."""

    first: datetime
    last: datetime
    count: int
    reason: Reason
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TickPlan:
    """What is to be done about one scheduler."""

    ticks: tuple[datetime, ...] = ()
    """Those to be run, in their order."""
    covers: tuple[Cover, ...] = ()
    next_at: datetime | None = None
    """When to look again; None: not before the scheduler changes."""
    error: str | None = None
    """Why nothing can be said of it; then nothing is decided."""


def plan_ticks(scheduler: Mapping[str, Any], expression: str | None, now: datetime, *, resting: bool) -> TickPlan:
    """The plan for a scheduler's row; *resting* is one that is paused, or whose trigger is switched off."""
    try:
        table = timetable_of(scheduler, expression)
    except CronError as error:
        return TickPlan(next_at=now + LOOK_AGAIN, error=str(error))
    starts_at, ends_at = scheduler["starts_at"], scheduler["ends_at"]
    low = _later(scheduler["decided_to"], None if starts_at is None else starts_at - _MOMENT)
    high = now if ends_at is None else min(now, ends_at - _MOMENT)
    span = _Span(table, low, high)
    if resting:
        return TickPlan(covers=tuple(span.covers(low, high, "paused")))
    on_time, following = span.from_on(max(low, now - ON_TIME))
    caught_up, covers = _caught_up(span, scheduler, now, is_late=not on_time)
    gaps = [Cover(first=gap, last=gap, count=1, reason="dst_gap") for gap in table.skipped(low, high)]
    beyond = following is not None and ends_at is not None and following >= ends_at
    return TickPlan(ticks=(*caught_up, *on_time), covers=(*covers, *gaps), next_at=None if beyond else following)


def timetable_of(scheduler: Mapping[str, Any], expression: str | None) -> Timetable:
    """When a scheduler's row is due by a trigger's *expression*. Raise `CronError` where nobody can say."""
    if expression is None:
        raise CronError("its trigger has no cron rule")
    try:
        return timetable(expression, scheduler["timezone"], skip_gaps=scheduler["dst_gap"] == "skip")
    except CronError as error:
        shown = str(error)
        raise CronError(shown if "time zone" in shown else f"the expression {expression[:60]!r} {shown}") from None


def tick_key(scheduler_id: str, tick: datetime) -> str:
    """What a tick is known by: whoever records a run under it records the run of that tick."""
    return f"cron:{scheduler_id}:{tick.astimezone(UTC):%Y-%m-%dT%H:%MZ}"


def held_back(scheduler_id: str, tick: datetime, jitter_s: float) -> datetime | None:
    """The instant before which the run of *tick* is not launched: always the same, up to *jitter_s* seconds later."""
    if jitter_s <= 0:
        return None
    digest = sha256(tick_key(scheduler_id, tick).encode()).digest()
    return tick + timedelta(seconds=jitter_s * int.from_bytes(digest[:8]) / 2**64)


def joined(covers: list[Cover]) -> Iterator[Cover]:
    """*covers*, one after the other, those for the same reason as one."""
    last: Cover | None = None
    for cover in covers:
        if last is not None and (last.reason, last.detail) == (cover.reason, cover.detail):
            count = last.count + cover.count
            last = Cover(first=last.first, last=cover.last, count=count, reason=cover.reason, detail=cover.detail)
            continue
        if last is not None:
            yield last
        last = cover
    if last is not None:
        yield last


@dataclass(frozen=True, slots=True)
class _Span:
    """The ticks of a timetable after one instant and until another."""

    table: Timetable
    low: datetime
    high: datetime

    def covers(self, after: datetime, until: datetime, reason: Reason) -> Iterator[Cover]:
        """All of them between two instants as one cover, where there are any."""
        low, high = max(after, self.low), min(until, self.high)
        count = self.table.count(low, high)
        first = self.table.after(low) if count else None
        if first is not None:
            yield Cover(first=first, last=self.table.last(1, low, high)[0], count=count, reason=reason)

    def from_on(self, after: datetime) -> tuple[list[datetime], datetime | None]:
        """All of them after an instant, and the first fire of the timetable beyond them."""
        found: list[datetime] = []
        at = self.table.after(after)
        while at is not None and at <= self.high:
            found.append(at)
            at = self.table.after(at)
        return found, at

    def last(self, number: int, after: datetime, until: datetime) -> list[datetime]:
        """The last of them between two instants."""
        return self.table.last(number, max(after, self.low), min(until, self.high)) if number else []


def _caught_up(
    span: _Span, scheduler: Mapping[str, Any], now: datetime, *, is_late: bool
) -> tuple[list[datetime], list[Cover]]:
    """Of the ticks that are not on time the latest that the policy wants; the rest is covered."""
    late = now - ON_TIME
    if span.low >= late:
        return [], []
    window = min(now - timedelta(seconds=scheduler["catchup_window_s"]), late)
    match scheduler["catchup"]:
        case "none":
            wanted = 0
        case "latest":
            wanted = 1 if is_late else 0
        case _:
            wanted = scheduler["max_catchup_runs"]
    chosen = span.last(wanted, window, late)
    covers = list(span.covers(span.low, window, "deadline"))
    covers += span.covers(window, chosen[0] - _MOMENT if chosen else late, "catchup_limit")
    return chosen, covers


def _later(one: datetime, other: datetime | None) -> datetime:
    return one if other is None else max(one, other)

"""How schedulers stand, and when each is due next: for people and for the API."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Literal

from cableway.definitions.cron_grammar import CronError
from cableway.definitions.timetable import Fire
from cableway.store.executor import Row, Step, Steps
from cableway.store.reading import DstGap
from cableway.store.storable import storable_text
from cableway.stored.names import only
from cableway.stored.tick_plans import timetable_of

SchedulerState = Literal["active", "paused", "off", "error", "ended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerOutlook:
    """A scheduler with its rule, and what is to be expected of it."""

    name: str
    pipeline: str
    trigger_name: str
    expression: str | None
    timezone: str
    dst_gap: DstGap
    state: SchedulerState
    """``off``: its trigger is switched off. ``ended``: it is never due again."""
    note: str
    """Why it is paused, or what is wrong with it."""
    next_at: datetime | None
    """When it is due next, were it not paused."""
    starts_at: datetime | None
    ends_at: datetime | None
    decided_to: datetime
    now: datetime
    """The database's time."""

    def fires(self, after: datetime | None = None) -> Iterator[Fire]:
        """When it is due from now, or another instant, on. Raise `CronError` where nobody can say."""
        fields = {"timezone": self.timezone, "dst_gap": self.dst_gap}
        begin = self.now if after is None else after
        if self.starts_at is not None:
            begin = max(begin, self.starts_at - timedelta(microseconds=1))
        found = timetable_of(fields, self.expression).fires(begin)
        ends_at = self.ends_at
        return found if ends_at is None else takewhile(lambda fire: fire.at < ends_at, found)


def read_outlook(name: str) -> Steps[SchedulerOutlook]:
    """The outlook of the scheduler of this name. Raise `UnknownNameError` where there is none."""
    return only("scheduler", name, (yield from read_outlooks(name)))


def read_outlooks(name: str | None = None) -> Steps[tuple[SchedulerOutlook, ...]]:
    """The outlook of every scheduler by name, or of the one of this name."""
    rows = yield Step("scheduler_plans", {"name": None if name is None else storable_text(name)})
    return tuple(_outlook(row) for row in rows)


def _outlook(row: Row) -> SchedulerOutlook:
    known: Row = {key: row[key] for key in SchedulerOutlook.__slots__ if key in row}
    known |= {"state": "active", "note": row["pause_note"], "next_at": None}
    outlook = SchedulerOutlook(**known)
    try:
        following = next((fire.at for fire in outlook.fires() if fire.mark != "skipped"), None)
    except CronError as error:
        return replace(outlook, state="error", note=str(error))
    state: SchedulerState = "active" if following is not None else "ended"
    if row["paused"] or not row["enabled"]:
        state = "paused" if row["paused"] else "off"
    return replace(outlook, state=state, next_at=following)

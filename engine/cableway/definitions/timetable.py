"""
When a cron rule is due in a time zone: one instant after another, or only how many there are.

A rule that names its minutes and hours means times of the clock. One that falls into the hour which a change
of the clocks leaves out is due once, at the first instant after it; one in the hour that comes twice is due the
first time. Any other rule follows elapsed time: it is due whenever a clock on the wall there would show it.

Days are taken one by one, and a day on which no clock changes is reckoned without looking at its minutes, so that
ten years of a rule that is due each minute are counted in milliseconds. Instants are whole minutes of UTC.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from cableway.definitions.cron_grammar import CronError, CronRule, parse_cron, zone_fault

_DAY = 1440
_EPOCH = date(1970, 1, 1).toordinal()
_LATEST = date(9998, 1, 1).toordinal()
_SEARCHED_DAYS = 60 * 366
"""How far a rule is looked after: a 29th of February on a named weekday comes within 40 years."""

Mark = Literal["", "gap", "skipped", "first", "again"]
"""What a change of the clocks does: moved to after the gap, left out there, or in the hour that comes twice."""


class _Piece(NamedTuple):
    """A part of a local day during which no clock changes; minutes of the day."""

    begin: int
    end: int
    shift: int
    """The minute of UTC at which the day would have begun by this offset."""


@dataclass(frozen=True, slots=True)
class Fire:
    """An instant at which a rule is due, in UTC."""

    at: datetime
    mark: Mark


class Timetable:
    """A cron rule in a time zone. With *skip_gaps* a time of the clock that a day leaves out is not due on it."""

    def __init__(self, rule: CronRule, zone: ZoneInfo, *, skip_gaps: bool = False) -> None:
        self.rule = rule
        self.zone = zone
        self._skip_gaps = skip_gaps and rule.fixed_time
        self._hours = sorted(rule.hours)
        self._minutes = sorted(rule.minutes)

    def after(self, instant: datetime) -> datetime | None:
        """The first fire after *instant*; None where there is none in sixty years."""
        found = self._after(_minute(instant))
        return None if found is None else _instant(found)

    def count(self, after: datetime, until: datetime) -> int:
        """How many fires there are after one instant and until another, which counts."""
        low, high = _minute(after), _minute(until)
        return sum(self._count_on(day, low, high) for day in self._days(low, high))

    def last(self, number: int, after: datetime, until: datetime) -> list[datetime]:
        """The last fires, *number* at most, after one instant and until another, in their order."""
        low, high = _minute(after), _minute(until)
        found: list[int] = []
        for day in self._days_back(low, high):
            if len(found) >= number:
                # One day more: where clocks go back over midnight it may end after this one.
                found += self._last_on(day, number, low, high)
                break
            found += self._last_on(day, number, low, high)
        return [_instant(minute) for minute in sorted(found)[max(len(found) - number, 0) :]]

    def skipped(self, after: datetime, until: datetime) -> list[datetime]:
        """The instants at which it would have been due, had the day not left out the time meant."""
        if not self._skip_gaps:
            return []
        low, high = _minute(after), _minute(until)
        found = {gap for day in self._days(low, high) for gap in self._gaps(day) if low < gap <= high}
        return [_instant(minute) for minute in sorted(found)]

    def fires(self, after: datetime) -> Iterator[Fire]:
        """The fires after *after*, and those that gaps leave out, each with what the clocks do to it."""
        at = after
        while (found := self.after(at)) is not None:
            yield from (Fire(gap, "skipped") for gap in self.skipped(at, found))
            yield Fire(found, self._mark(found))
            at = found

    def _mark(self, at: datetime) -> Mark:
        local = at.astimezone(self.zone)
        if local.fold:
            return "again"
        if not self._shows(_minute(at)):
            return "gap"
        return "first" if local.utcoffset() != local.replace(fold=1).utcoffset() else ""

    def _after(self, minute: int) -> int | None:
        day = self._day_from(_local_day(minute, self.zone) - 1)
        until = minute // _DAY + _EPOCH + _SEARCHED_DAYS
        while day is not None and day <= min(until, _LATEST):
            found = self._first_on(day, minute)
            # Where clocks go back over midnight, the next day may begin before this one has ended.
            following = self._first_on(day + 1, minute) if _changes(self.zone, day) and self._is_day(day + 1) else None
            if found is not None or following is not None:
                return min(each for each in (found, following) if each is not None)
            day = self._day_from(day + 1)
        return None

    def _days(self, low: int, high: int) -> Iterator[int]:
        if high <= low:
            return
        last = _local_day(high, self.zone) + 1
        day = self._day_from(_local_day(low, self.zone) - 1)
        while day is not None and day <= last:
            yield day
            day = self._day_from(day + 1)

    def _days_back(self, low: int, high: int) -> Iterator[int]:
        if high <= low:
            return
        for day in range(_local_day(high, self.zone) + 1, _local_day(low, self.zone) - 2, -1):
            if self._is_day(day):
                yield day

    def _is_day(self, day: int) -> bool:
        found = date.fromordinal(day)
        rule = self.rule
        if found.month not in rule.months:
            return False
        by_month, by_week = found.day in rule.days, day % 7 in rule.weekdays
        return by_month or by_week if rule.either_day else by_month and by_week

    def _day_from(self, day: int) -> int | None:
        """The first day from this one on that the rule names."""
        until = min(day + _SEARCHED_DAYS, _LATEST)
        while day <= until:
            if self._is_day(day):
                return day
            found = date.fromordinal(day)
            if found.month in self.rule.months:
                day += 1
            else:
                year, month = divmod(found.year * 12 + found.month, 12)
                day = date(year, month + 1, 1).toordinal()
        return None

    def _first_on(self, day: int, after: int) -> int | None:
        pieces = _pieces(self.zone, day)
        if not _is_whole(pieces):
            listed = self._listed(day)
            place = bisect_right(listed, after)
            return listed[place] if place < len(listed) else None
        shift = pieces[0].shift
        hour, minute = divmod(max(after + 1 - shift, 0), 60)
        at_hour = bisect_left(self._hours, hour)
        if at_hour < len(self._hours) and self._hours[at_hour] == hour:
            at_minute = bisect_left(self._minutes, minute)
            if at_minute < len(self._minutes):
                return shift + 60 * hour + self._minutes[at_minute]
            at_hour += 1
        return shift + 60 * self._hours[at_hour] + self._minutes[0] if at_hour < len(self._hours) else None

    def _count_on(self, day: int, low: int, high: int) -> int:
        pieces = _pieces(self.zone, day)
        if not _is_whole(pieces):
            listed = self._listed(day)
            return bisect_right(listed, high) - bisect_right(listed, low)
        shift = pieces[0].shift
        return self._count_to(high - shift) - self._count_to(low - shift)

    def _count_to(self, minute: int) -> int:
        """How many of a day's times there are up to this minute of it."""
        hour, rest = divmod(min(max(minute, -1), _DAY - 1), 60)
        before = bisect_left(self._hours, hour)
        here = before < len(self._hours) and self._hours[before] == hour
        return before * len(self._minutes) + (bisect_right(self._minutes, rest) if here else 0)

    def _last_on(self, day: int, number: int, low: int, high: int) -> list[int]:
        pieces = _pieces(self.zone, day)
        if not _is_whole(pieces):
            return [minute for minute in self._listed(day) if low < minute <= high][-number:]
        shift = pieces[0].shift
        found: list[int] = []
        for hour in reversed(self._hours):
            if shift + 60 * hour > high:
                continue
            for minute in reversed(self._minutes):
                at = shift + 60 * hour + minute
                if at <= low or len(found) == number:
                    return found
                if at <= high:
                    found.append(at)
        return found

    def _listed(self, day: int) -> list[int]:
        """The fires of a day on which the clocks change."""
        pieces = _pieces(self.zone, day)
        if not self.rule.fixed_time:
            return sorted(p.shift + time for p in pieces for time in self._times() if p.begin <= time < p.end)
        found = {p.shift + time for time in self._times() if (p := _piece_of(pieces, time)) is not None}
        return sorted(found if self._skip_gaps else found.union(self._gaps(day)))

    def _gaps(self, day: int) -> set[int]:
        """The first instants after what the day leaves out, where it leaves out a time that is meant."""
        pieces = _pieces(self.zone, day)
        if _is_whole(pieces):
            return set()
        missing = [time for time in self._times() if _piece_of(pieces, time) is None]
        ends = {_end_of_gap(self.zone, day, pieces, time) for time in missing}
        # A time that is due at that instant by itself is due as ever.
        return {end for end in ends if not self._shows(end)}

    def _shows(self, minute: int) -> bool:
        """Whether the clock shows a time of the rule."""
        local = _instant(minute).astimezone(self.zone)
        fits = local.hour in self.rule.hours and local.minute in self.rule.minutes
        return fits and self._is_day(local.toordinal())

    def _times(self) -> list[int]:
        return [60 * hour + minute for hour in self._hours for minute in self._minutes]


@lru_cache(maxsize=4096)
def timetable(expression: str, zone: str, *, skip_gaps: bool = False) -> Timetable:
    """The timetable of an expression in the zone of this name. Raise `CronError` where one of them is none of ours."""
    rule = parse_cron(expression)
    if fault := zone_fault(zone):
        raise CronError(f"the time zone {zone[:60]!r} {fault}")
    return Timetable(rule, ZoneInfo(zone), skip_gaps=skip_gaps)


@lru_cache(maxsize=16384)
def _pieces(zone: ZoneInfo, day: int) -> tuple[_Piece, ...]:
    """The parts of a local day, in the order in which they come."""
    starts = _midnights(zone, day)
    ends = _midnights(zone, day + 1)
    if len({*starts, *(end - _DAY for end in ends)}) == 1:
        return (_Piece(0, _DAY, starts[0]),)
    pieces: list[_Piece] = []
    for minute in range(min(starts), max(ends)):
        local = _instant(minute).astimezone(zone)
        if local.toordinal() != day:
            continue
        time = local.hour * 60 + local.minute
        if pieces and pieces[-1].shift == minute - time and pieces[-1].end == time:
            pieces[-1] = pieces[-1]._replace(end=time + 1)
        else:
            pieces.append(_Piece(time, time + 1, minute - time))
    return tuple(pieces)


def _midnights(zone: ZoneInfo, day: int) -> tuple[int, int]:
    """The minutes of UTC at which the day begins: by the offset before a change of the clocks and by that after it."""
    midnight = datetime.fromordinal(day)
    offsets = (midnight.replace(fold=fold, tzinfo=zone).utcoffset() or timedelta() for fold in (0, 1))
    before, after = ((day - _EPOCH) * _DAY - offset // timedelta(minutes=1) for offset in offsets)
    return before, after


def _is_whole(pieces: tuple[_Piece, ...]) -> bool:
    return len(pieces) == 1 and pieces[0].end - pieces[0].begin == _DAY


def _changes(zone: ZoneInfo, day: int) -> bool:
    return not _is_whole(_pieces(zone, day))


def _piece_of(pieces: tuple[_Piece, ...], time: int) -> _Piece | None:
    return next((piece for piece in pieces if piece.begin <= time < piece.end), None)


def _end_of_gap(zone: ZoneInfo, day: int, pieces: tuple[_Piece, ...], time: int) -> int:
    later = [piece.shift + piece.begin for piece in pieces if piece.begin > time]
    if later:
        return min(later)
    return max((piece.shift + piece.end for piece in pieces), default=_midnights(zone, day)[0])


def _local_day(minute: int, zone: ZoneInfo) -> int:
    return _instant(minute).astimezone(zone).toordinal()


def _minute(instant: datetime) -> int:
    return int(instant.timestamp() // 60)


def _instant(minute: int) -> datetime:
    return _START + timedelta(minutes=minute)


_START = datetime(1970, 1, 1, tzinfo=UTC)

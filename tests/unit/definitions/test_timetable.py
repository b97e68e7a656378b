from __future__ import annotations

import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from itertools import pairwise, takewhile
from operator import gt
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from cableway.definitions.cron_grammar import CronError, CronRule, parse_cron
from cableway.definitions.timetable import Timetable, timetable
from tests.fixtures.processor_time import within

MINUTE = timedelta(minutes=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# Four days around each change: a gap and an overlap of each zone, and what is odd about it.
CHANGES = {
    "New York, gap": ("America/New_York", "2026-03-07"),
    "New York, overlap": ("America/New_York", "2026-10-31"),
    "Paris, gap": ("Europe/Paris", "2026-03-28"),
    "Paris, overlap": ("Europe/Paris", "2026-10-24"),
    "London, gap": ("Europe/London", "2026-03-28"),
    "London, overlap": ("Europe/London", "2026-10-24"),
    "Lord Howe, half an hour": ("Australia/Lord_Howe", "2026-10-02"),
    "Lord Howe, half an hour back": ("Australia/Lord_Howe", "2026-04-03"),
    "Sao Paulo, midnight left out": ("America/Sao_Paulo", "2018-11-02"),
    "Sao Paulo, back over midnight": ("America/Sao_Paulo", "2018-02-16"),
    "St. John's, one minute past midnight": ("America/St_Johns", "2010-11-05"),
    "Apia, a day left out": ("Pacific/Apia", "2011-12-28"),
    "Cairo, midnight left out": ("Africa/Cairo", "2026-04-22"),
    "Cairo, back over midnight": ("Africa/Cairo", "2026-10-28"),
    "UTC": ("UTC", "2026-03-07"),
}

EXPRESSIONS = [
    "30 2 * * *",
    "30 1 * * *",
    "0,15,30,45 2 * * *",
    "0 2,3 * * *",
    "0 0 * * *",
    "45 23 * * *",
    "30 0 * * *",
    "0 12 * * *",
    "15 1-4 * * sat,sun",
    "0 12 30 12 *",
    "0 * * * *",
    "*/30 * * * *",
    "*/20 2 * * *",
    "30 */2 * * *",
    "* 0-3 * * *",
    "59 * * * sun",
    "0 0 1 * 5",
]


@cache
def walls(zone: str, begin: str) -> list[tuple[datetime, datetime]]:
    """Each minute of four days, with what a clock on the wall shows."""
    start = utc(begin)
    instants = (start + MINUTE * number for number in range(4 * 1440))
    return [(instant, instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0)) for instant in instants]


rule_of = cache(parse_cron)


def named(wall: datetime, expression: str) -> bool:
    rule = rule_of(expression)
    if wall.minute not in rule.minutes or wall.hour not in rule.hours:
        return False
    day, week = wall.day in rule.days, (wall.weekday() + 1) % 7 in rule.weekdays
    return wall.month in rule.months and ((day or week) if rule.either_day else (day and week))


@cache
def firsts(zone: str, begin: str) -> dict[datetime, datetime]:
    """By what the clock shows, the first instant at which it does."""
    first: dict[datetime, datetime] = {}
    for instant, wall in walls(zone, begin):
        first.setdefault(wall, instant)
    return first


@cache
def gaps(zone: str, begin: str) -> list[tuple[datetime, list[datetime]]]:
    """The instants before which the clock leaves times out, with these."""
    found: list[tuple[datetime, list[datetime]]] = []
    for (_, before), (instant, after) in pairwise(walls(zone, begin)):
        missing = list(takewhile(partial(gt, after), (before + MINUTE * n for n in range(1, 3000))))
        if missing:
            found.append((instant, missing))
    return found


@cache
def oracle(expression: str, zone: str, begin: str, *, skip: bool = False) -> list[datetime]:
    """The rule in words, minute by minute."""
    if not rule_of(expression).fixed_time:
        return [instant for instant, wall in walls(zone, begin) if named(wall, expression)]
    due = {instant for wall, instant in firsts(zone, begin).items() if named(wall, expression)}
    if not skip:
        due |= {instant for instant, missing in gaps(zone, begin) if any(named(wall, expression) for wall in missing)}
    return sorted(due)


def between(table: Timetable, begin: str) -> Iterator[datetime]:
    at, end = utc(begin) - MINUTE, utc(begin) + timedelta(days=4)
    while (found := table.after(at)) is not None and found < end:
        yield found
        at = found


@pytest.mark.promise("P8")
@pytest.mark.fault("D6")
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("skip", [False, True], ids=["run", "skip"])
def test_each_change_of_the_clocks_is_as_a_search_minute_by_minute_finds_it(change: str, skip: bool) -> None:
    zone, begin = CHANGES[change]
    for expression in EXPRESSIONS:
        if skip and not rule_of(expression).fixed_time:
            continue  # there is nothing to skip
        table = timetable(expression, zone, skip_gaps=skip)
        expected = oracle(expression, zone, begin, skip=skip)
        assert list(between(table, begin)) == expected, expression
        low, high = utc(begin) - MINUTE, utc(begin) + timedelta(days=4) - MINUTE
        assert table.count(low, high) == len(expected), expression
        assert table.last(10_000, low, high) == expected, expression
        assert table.last(3, low, high) == expected[-3:], expression
        left_out = set(oracle(expression, zone, begin)) - set(expected)
        assert set(table.skipped(low, high)) == left_out, expression


@pytest.mark.promise("P8")
@pytest.mark.parametrize(
    ("expression", "zone", "day", "expected"),
    [
        ("30 2 * * *", "America/New_York", "2026-03-08", ["03-08T07:00"]),  # 03:00 EDT, the first after the gap
        ("30 1 * * *", "America/New_York", "2026-11-01", ["11-01T05:30"]),  # not again at 06:30
        ("0 0 * * *", "America/Sao_Paulo", "2018-11-04", ["11-04T03:00"]),
        (
            "0 12 * * *",
            "Pacific/Apia",
            "2011-12-30",
            ["12-30T10:00", "12-30T22:00"],
        ),  # the day that was not, and the next
        ("30 2 * * *", "Australia/Lord_Howe", "2026-10-03", ["10-03T15:30"]),  # 02:30 is the end of the half hour
        ("0 0 * * *", "Africa/Cairo", "2026-04-23", ["04-23T22:00"]),
    ],
)
def test_a_daily_time_comes_once_on_the_day_of_a_change(
    expression: str, zone: str, day: str, expected: list[str]
) -> None:
    table, start = timetable(expression, zone), utc(day)
    found = table.last(9, start, start + timedelta(days=1))
    assert [each.strftime("%m-%dT%H:%M") for each in found] == expected


def table_of_the_page() -> list[tuple[str, str, str, str]]:
    page = (Path(__file__).parents[3] / "docs" / "schedules.md").read_text(encoding="utf-8")
    row = re.compile(r"^\| (\w+/\w+) \| ([0-9-]{10}),.* \| `([^`]+)` \| (\d\d:\d\d)", re.MULTILINE)
    return row.findall(page)


@pytest.mark.promise("P8")
@pytest.mark.fault("D6")
def test_the_page_on_schedules_says_what_is_so() -> None:
    rows = table_of_the_page()
    assert len(rows) == 8
    for zone, day, rule, local in rows:
        midnight = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone))
        found = timetable(rule, zone).after(midnight.astimezone(UTC) - timedelta(minutes=1))
        assert found is not None
        assert f"{found.astimezone(ZoneInfo(zone)):%H:%M}" == local, (zone, rule)


@pytest.mark.promise("P8")
def test_an_hourly_rule_follows_elapsed_time() -> None:
    table = timetable("0 * * * *", "America/New_York")
    for day, hours in (("2026-03-08T05:00", 23), ("2026-11-01T04:00", 25), ("2026-06-01T04:00", 24)):
        start = utc(day) - MINUTE
        assert table.count(start, start + timedelta(hours=hours)) == hours


@pytest.mark.fault("D7")
def test_the_29th_of_february_comes_and_the_30th_is_refused() -> None:
    assert timetable("0 0 29 2 *", "UTC").after(utc("2026-01-01")) == utc("2028-02-29")
    assert timetable("0 0 29 2 */7", "UTC").after(utc("2026-01-01")) == utc("2032-02-29")  # a Sunday
    for never in ("0 0 30 2 *", "0 0 31 2 *", "0 0 31 4,6,9,11 *"):
        with pytest.raises(CronError):
            timetable(never, "UTC")


@pytest.mark.fault("D14")
@pytest.mark.parametrize("zone", ["../../etc/passwd", "Europe/Nowhere", "", "localtime", "UTC\n", "x" * 500])
def test_what_is_no_zone_is_refused(zone: str) -> None:
    with pytest.raises(CronError, match="time zone"):
        timetable("0 0 * * *", zone)


def _field(rng: random.Random, low: int, high: int) -> str:
    one, two = sorted((rng.randint(low, high), rng.randint(low, high)))
    return rng.choice(["*", "*", str(one), f"{one}-{two}", f"{one},{two}", f"*/{max(1, two // 2)}"])


@pytest.mark.fault("D10")
@given(st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_without_a_change_of_clocks_it_is_due_as_another_cron_says(seed: int) -> None:
    rng = random.Random(seed)
    fields = [_field(rng, *bounds) for bounds in ((0, 59), (0, 23), (1, 28), (1, 12), (0, 7))]
    expression = " ".join(fields)
    start = utc("2026-03-01T00:07")
    theirs = CronSim(expression, start)
    table, at = timetable(expression, "UTC"), start
    for _ in range(20):
        found = table.after(at)
        assert found == next(theirs), expression
        assert found is not None
        at = found
    assert table.count(start, at) == 20
    assert table.last(1, start, at) == [at]


def in_numbers(rule: CronRule) -> str:
    """For an evaluator that is told apart whether one of the days is enough."""

    def written(chosen: frozenset[int], size: int) -> str:
        return "*" if len(chosen) == size else ",".join(map(str, sorted(chosen)))

    days, weekdays = written(rule.days, 31), written(rule.weekdays, 7)
    if rule.either_day and "*" in {days, weekdays}:
        # Any day is one of them; beside a star it would look at the other field alone.
        days = weekdays = "*"
    return f"{written(rule.minutes, 60)} {written(rule.hours, 24)} {days} {written(rule.months, 12)} {weekdays}"


@pytest.mark.fault("D10")
@pytest.mark.parametrize(
    "expression", ["*/7 1-5 * jan,dec *", "0 0 13 * 5", "0 0 13 * 0-6", "0 0 1-31 * 5", "59 23 31 12 7", "0 0 */2 * 5"]
)
def test_days_are_joined_as_another_evaluator_joins_them(expression: str) -> None:
    rule = parse_cron(expression)
    start = utc("2026-01-01")
    theirs = croniter(in_numbers(rule), start, day_or=rule.either_day)
    table, at = timetable(expression, "UTC"), start
    for _ in range(50):
        found = table.after(at)
        assert found == theirs.get_next(datetime)
        assert found is not None
        at = found


def test_marks_tell_what_a_change_of_clocks_does() -> None:
    def marks(expression: str, day: str, *, skip: bool = False) -> list[str]:
        table = timetable(expression, "America/New_York", skip_gaps=skip)
        end = utc(day) + timedelta(days=2)
        return [fire.mark for fire in takewhile(lambda fire: fire.at < end, table.fires(utc(day)))]

    assert marks("30 2 * * *", "2026-03-07") == ["", "gap"]
    assert marks("30 2 * * *", "2026-03-07", skip=True) == ["", "skipped"]
    assert marks("30 1 * * *", "2026-10-31") == ["", "first"]
    assert marks("30 1,2-2/1 * * *", "2026-10-31") == ["", "", "first", "again", ""]


def test_ten_years_of_minutes_are_counted_without_looking_at_each() -> None:
    table = timetable("* * * * *", "Europe/Paris")
    with within(1):
        assert table.count(utc("2016-01-01"), utc("2026-01-01")) == 3653 * 1440

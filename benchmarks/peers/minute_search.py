"""A cron rule's next fire by looking at one minute after the other, with weekdays and days that must both fit."""

from __future__ import annotations

from datetime import datetime, timedelta

RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))


def field(text: str, low: int, high: int) -> set[int]:
    values: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        if first == "*":
            begin, end = low, high
        else:
            begin, end = int(first), int(last or first)
        values.update(range(begin, end + 1, int(step or 1)))
    return values


def next_run(expression: str, after: datetime) -> datetime:
    """The first minute after *after* that fits. Never returns where there is none."""
    parts = expression.split()
    minutes, hours, days, months, weekdays = (field(text, *RANGES[number]) for number, text in enumerate(parts))
    at = after.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while not (
        at.minute in minutes and at.hour in hours and at.day in days and at.month in months and at.weekday() in weekdays
    ):
        at += timedelta(minutes=1)
    return at

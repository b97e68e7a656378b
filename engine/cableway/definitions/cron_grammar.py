"""
Cron expressions that Cableway takes: an allow-list, so that whatever evaluates them meets nothing else.

Five fields in the manner of Vixie cron: numbers, ranges, lists, steps, and English names of months and
weekdays; 0 and 7 are Sunday. What has no fixed meaning (``R``, ``H``, ``?``, ``L``, ``W``, ``#``,
``@reboot``, seconds) is refused, and so is a date that never comes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_LENGTH = 500
"""Characters of an expression."""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST = dict.fromkeys(range(1, 13), 31) | {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
_PART = re.compile(r"(\*|[0-9]{1,2}|[a-z]{3})(?:-([0-9]{1,2}|[a-z]{3}))?(?:/([0-9]{1,2}))?", re.ASCII)
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,40}(/[A-Za-z0-9_+-]{1,40}){0,2}", re.ASCII)
_OF_THE_HOST = frozenset({"localtime", "posixrules", "posix", "right", "Factory"})


class CronError(ValueError):
    """An expression that is not taken; its message says which field and why."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, 7, _WEEKDAYS),
)


@dataclass(frozen=True, slots=True)
class CronRule:
    """What an expression says: the values of each field, weekdays from 0 for Sunday to 6."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    """A day of the month or of the week is enough, because neither field begins with ``*``; else both have to fit."""
    fixed_time: bool
    """Minute and hour are named, so that it is due at times of the clock and not once in a while."""


def parse_cron(expression: str) -> CronRule:
    """What *expression* says. Raise `CronError` where it is none of ours, or never due."""
    if len(expression) > MAX_LENGTH:
        raise CronError(f"is longer than {MAX_LENGTH} characters")
    if expression.startswith("@"):
        raise CronError("words such as @daily are not taken; write five fields, such as 0 0 * * *")
    texts = re.split(r"[ \t]+", expression.strip(" \t").lower())
    if len(texts) != len(_FIELDS):
        raise CronError(f"must have five fields (minute, hour, day, month, weekday), and has {len(texts)}")
    values = [_values(text, field) for text, field in zip(texts, _FIELDS, strict=True)]
    either_day = not texts[2].startswith("*") and not texts[4].startswith("*")
    if not either_day and not any(min(values[2]) <= _LONGEST[month] for month in values[3]):
        raise CronError("is never due: no month named has such a day")
    return CronRule(
        minutes=values[0],
        hours=values[1],
        days=values[2],
        months=values[3],
        weekdays=frozenset(value % 7 for value in values[4]),
        either_day=either_day,
        fixed_time=not {"*", "/"} & {*texts[0], *texts[1]},
    )


def zone_fault(name: str) -> str | None:
    """Why *name* is no time zone, where it is none."""
    from zoneinfo import ZoneInfo

    if _ZONE.fullmatch(name) and name.split("/", maxsplit=1)[0] not in _OF_THE_HOST:
        try:
            ZoneInfo(name)
        except (OSError, ValueError, LookupError):
            pass
        else:
            return None
    return "is no IANA time zone, such as Europe/Berlin or UTC"


def _values(text: str, field: _Field) -> frozenset[int]:
    chosen: set[int] = set()
    for part in text.split(","):
        chosen.update(_range(part, field))
    return frozenset(chosen)


def _range(part: str, field: _Field) -> range:
    found = _PART.fullmatch(part)
    if found is None:
        raise CronError(f"{field.name}: only numbers, names, ranges, lists and steps are taken")
    first, last, step = found.groups()
    if first == "*":
        if last is not None:
            raise CronError(f"{field.name}: a range begins with a number or a name")
        # Sunday is 0 here, so that a step over the week counts from it once.
        low, high = field.least, min(field.most, 6) if field.names is _WEEKDAYS else field.most
    else:
        low = _number(first, field, is_end=False)
        high = low if last is None else _number(last, field, is_end=True)
        if last is None and step is not None:
            raise CronError(f"{field.name}: a step needs a range, such as {low}-{field.most}/{step}, or *")
    if low > high:
        raise CronError(f"{field.name}: a range runs upwards")
    if step is not None and not 1 <= int(step) <= field.most:
        raise CronError(f"{field.name}: a step is 1 to {field.most}")
    return range(low, high + 1, int(step or 1))


def _number(text: str, field: _Field, *, is_end: bool) -> int:
    if text in field.names:
        number = field.names.index(text) + field.least
        # As the end of a range, Sunday comes after Saturday.
        return 7 if is_end and text == "sun" else number
    if not text.isdigit() or not field.least <= int(text) <= field.most:
        raise CronError(f"{field.name}: takes {field.least} to {field.most}")
    return int(text)

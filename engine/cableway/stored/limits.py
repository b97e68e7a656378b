"""Limits that all runs share: what people set, and what runs have taken of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

from cableway.errors import DefinitionError, Fault
from cableway.store.executor import Step, Steps
from cableway.store.storable import storable_text

MAX_NAME = 100
"""Characters of a limit's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRow:
    """A limit as it stands: ``concurrency`` units at a time, ``rate`` units begun in each ``period_s`` seconds."""

    name: str
    concurrency: int | None
    rate: float | None
    period_s: float
    slots_taken: int
    """Units that runs may have at work now, of ``concurrency``."""
    updated_at: datetime


def save(name: str, concurrency: int | None, rate: float | None, period_s: float) -> Steps[LimitRow]:
    """Store a limit, or change it; see `DatabaseStorage.set_limit`."""
    faults = _faults(name, concurrency, rate, period_s)
    if faults:
        raise DefinitionError(f"limit {name[:80]!r}: {faults[0].message}", faults)
    yield Step("set_limit", {"name": name, "concurrency": concurrency, "rate": rate, "period_s": period_s})
    rows = yield Step("limits", {"name": name})
    return LimitRow(**rows[0])


def read() -> Steps[tuple[LimitRow, ...]]:
    """Every limit by name."""
    rows = yield Step("limits", {"name": None})
    return tuple(LimitRow(**row) for row in rows)


def delete(name: str) -> Steps[bool]:
    """Whether there was one."""
    rows = yield Step("delete_limit", {"name": storable_text(name)})
    return bool(rows)


def _faults(name: str, concurrency: int | None, rate: float | None, period_s: float) -> list[Fault]:
    faults: list[Fault] = []
    if not 1 <= len(name) <= MAX_NAME or name != name.strip() or not name.isprintable() or "/" in name:
        message = f"a name has 1 to {MAX_NAME} characters, no slash, no control character, and no space at its ends"
        faults.append(Fault("/name", "name", message))
    if concurrency is None and rate is None:
        faults.append(Fault("", "missing", "give a concurrency, a rate, or both"))
    if concurrency is not None and concurrency < 1:
        faults.append(Fault("/concurrency", "bounds", "concurrency must be 1 or more"))
    for pointer, number in (("/rate", rate), ("/period_s", period_s)):
        if number is not None and not (math.isfinite(number) and 0 < number <= 1_000_000_000):
            faults.append(Fault(pointer, "bounds", f"{pointer[1:]} must be more than 0"))
    return faults

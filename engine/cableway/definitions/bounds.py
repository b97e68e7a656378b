"""
The numbers that a definition may hold: one table, from which the checks and the published schema are made.

The upper ends are far beyond what a pipeline needs; they keep a slip of the hand from becoming a run
that waits for years or starts a million threads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cableway.definition import (
    BackoffDefinition,
    BatchDefinition,
    PipelineDefinition,
    RetryDefinition,
    RunSettings,
    StageDefinition,
    TriggerDefinition,
)
from cableway.errors import Fault

MAX_TRIES = 100
"""How often a unit may be tried in all: its stage's attempts times the run's."""

SHARE = r"^([0-9]{1,2}(\.[0-9]{1,6})?|100(\.0{1,6})?) ?%$"
"""How a percentage of items is written."""

_YEAR_S = 366 * 86_400
_DAY_S = 86_400
_TEBIBYTE = 2**40


@dataclass(frozen=True, slots=True)
class Bound:
    """From ``least`` (or, exclusively, from 0) to ``most``."""

    least: float | None
    most: float

    def fault(self, value: float) -> str | None:
        """What is wrong with *value*, where something is."""
        if value > self.most or (value <= 0 if self.least is None else value < self.least):
            begin = "above 0" if self.least is None else f"at least {self.least:g}"
            return f"must be {begin} and at most {self.most:g}"
        return None

    def schema(self) -> dict[str, Any]:
        """The same in JSON Schema."""
        lower = {"exclusiveMinimum": 0} if self.least is None else {"minimum": self.least}
        return {**lower, "maximum": self.most}


BOUNDS: Mapping[type, Mapping[str, Bound]] = {
    StageDefinition: {
        "workers": Bound(1, 4096),
        "queue_size": Bound(1, 1_000_000),
        "queue_bytes": Bound(1, _TEBIBYTE),
        "max_item_bytes": Bound(1, _TEBIBYTE),
        "gather_bytes": Bound(1, _TEBIBYTE),
        "chunk": Bound(1, 100_000),
        "timeout_s": Bound(None, _YEAR_S),
        "queue_timeout_s": Bound(None, _YEAR_S),
        "rate_per_s": Bound(None, 1_000_000),
    },
    RetryDefinition: {
        "attempts": Bound(1, MAX_TRIES),
        "initial_s": Bound(0, _DAY_S),
        "factor": Bound(1, 100),
        "max_s": Bound(0, _DAY_S),
    },
    BatchDefinition: {
        "count": Bound(1, 10_000_000),
        "size_bytes": Bound(1, _TEBIBYTE),
        "period_s": Bound(None, _DAY_S),
    },
    RunSettings: {
        "timeout_s": Bound(None, _YEAR_S),
        "attempts": Bound(1, MAX_TRIES),
        "grace_s": Bound(0, 3600),
        "lease_ttl_s": Bound(1, 3600),
        "batch_size": Bound(1, 10_000_000),
        "concurrency": Bound(1, 1000),
    },
    BackoffDefinition: {
        "initial_s": Bound(0, _DAY_S),
        "factor": Bound(1, 100),
        "max_s": Bound(0, _DAY_S),
    },
    TriggerDefinition: {
        "tolerance_s": Bound(1, _DAY_S),
        "remember_days": Bound(None, 3660),
        "rate_per_minute": Bound(None, 1_000_000),
        "record_bytes": Bound(0, 1024 * 1024),
        "record_days": Bound(0, 3660),
        "record_last": Bound(0, 1_000_000),
    },
}


def bound_faults(definition: PipelineDefinition) -> Iterator[Fault]:
    """Every number of *definition* that is out of its bounds, and tries that multiply beyond theirs."""
    for number, stage in enumerate(definition.stages):
        pointer = f"/stages/{number}"
        yield from out_of_bounds(stage, pointer)
        yield from out_of_bounds(stage.retry, f"{pointer}/retry")
        if stage.batch is not None:
            yield from out_of_bounds(stage.batch, f"{pointer}/batch")
            if stage.batch.count is None and stage.batch.size_bytes is None and stage.batch.period_s is None:
                yield Fault(f"{pointer}/batch", "empty", "needs a count, size_bytes or period_s")
        tries, times = stage.retry.attempts, definition.settings.attempts
        if max(tries, times) <= MAX_TRIES < tries * times and min(tries, times) > 0:
            message = f"times the run's attempts makes more than {MAX_TRIES} tries of a unit"
            yield Fault(f"{pointer}/retry/attempts", "range", message)
    yield from out_of_bounds(definition.settings, "/settings")
    yield from out_of_bounds(definition.settings.backoff, "/settings/backoff")
    if not _is_tolerance(definition.settings.max_errors):
        yield Fault("/settings/max_errors", "range", "must be a count from 0, or a percentage such as '1%'")


def out_of_bounds(part: Any, pointer: str) -> Iterator[Fault]:
    """Every number of *part* that is out of its bounds."""
    for name, bound in BOUNDS[type(part)].items():
        value = getattr(part, name)
        message = None if value is None else bound.fault(value)
        if message is not None:
            yield Fault(f"{pointer}/{name}", "range", message)


def _is_tolerance(value: int | str) -> bool:
    return value >= 0 if isinstance(value, int) else re.match(SHARE, value) is not None

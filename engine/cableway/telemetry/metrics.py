"""
What a run counts for its metrics. Counting an item is a few additions a stage; nothing is imported for it.

Queue depth and items in work are not counted as items pass: they are read off the items on their way
when they are asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cableway.flow.observer import Outcome

if TYPE_CHECKING:
    from cableway.store.port import StageRecord

FIRST_POWER = 14
"""Durations up to 2**14 ns, that is 16 microseconds, share the first bucket."""
BUCKETS = 28
"""The last bucket takes what is above 2**40 ns, that is 18 minutes."""
BOUNDS_S = tuple(2.0**power / 1e9 for power in range(FIRST_POWER, FIRST_POWER + BUCKETS - 1))

Depths = Callable[[], dict[str, tuple[int, int]]]
"""By stage: items that wait before it, and items in work."""


class Durations:
    """A histogram by powers of two: the bucket is found by the length of a number, not by a search."""

    __slots__ = ("buckets", "max_ns", "min_ns", "sum_ns")

    def __init__(self) -> None:
        self.buckets = [0] * BUCKETS
        self.sum_ns = 0
        self.min_ns = 0
        self.max_ns = 0

    def add(self, duration_ns: int) -> None:
        """Count one duration."""
        bucket = (duration_ns - 1 >> FIRST_POWER).bit_length() if duration_ns > 0 else 0
        self.buckets[bucket if bucket < BUCKETS else BUCKETS - 1] += 1
        self.sum_ns += duration_ns
        self.max_ns = max(self.max_ns, duration_ns)
        if duration_ns < self.min_ns or not self.min_ns:
            self.min_ns = duration_ns

    @property
    def count(self) -> int:
        """How many were counted."""
        return sum(self.buckets)


class RunMetrics:
    """One run's sums. Written by the thread that runs the flow, read by the one that exports."""

    def __init__(self) -> None:
        self.started_ns = time.time_ns()
        self.pipeline = ""
        self.stages: tuple[str, ...] = ()
        self.lanes: tuple[str, ...] = ()
        self.waits: list[Durations] = []
        self.works: list[Durations] = []
        self.outcomes: dict[Outcome, int] = {}
        self.failures: dict[tuple[str, str, str], int] = {}
        self.retries: dict[tuple[str, str], int] = {}
        self.records: Sequence[StageRecord] = ()
        self.depths: Depths = dict

    def begin(self, pipeline: str, stages: Sequence[tuple[str, str]], depths: Depths) -> None:
        """Count for *stages*, each with its lane, of *pipeline*."""
        self.pipeline = pipeline
        self.waits = [Durations() for _ in stages]
        self.works = [Durations() for _ in stages]
        self.lanes = tuple(lane for _, lane in stages)
        self.depths = depths
        self.stages = tuple(stage for stage, _ in stages)

    def item(self, first: int, times: Sequence[int], outcome: Outcome) -> None:
        """Count an item that ended: *times* are queued, started and completed for each stage from *first* on."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        stage = first
        for at in range(0, len(times) - 1, 3):
            self.waits[stage].add(times[at + 1] - times[at])
            if at + 2 < len(times):
                self.works[stage].add(times[at + 2] - times[at + 1])
            stage += 1

    def failure(self, stage: str, bloc: str, code: str) -> None:
        """Count a unit that failed for good."""
        key = (stage, bloc, code)
        # Codes are names of classes, which a handler may make up; the number of series stays bounded.
        if key not in self.failures and len(self.failures) >= 256:
            key = (stage, bloc, "_OTHER")
        self.failures[key] = self.failures.get(key, 0) + 1

    def retry(self, stage: str, bloc: str) -> None:
        """Count an attempt that is made again."""
        self.retries[stage, bloc] = self.retries.get((stage, bloc), 0) + 1

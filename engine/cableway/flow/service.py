"""How long the workers of a stage were busy at a time: sums that are exact, and a sample by buckets."""

from __future__ import annotations

from cableway.buckets import bucket_of

FIRST = 512
"""So many times are all kept by bucket; of those that follow every sixteenth is."""
_SAMPLE = 15
IN_ORDER = 4
"""So many times at the beginning, when things are opened and loaded, are kept one by one."""


class ServiceTimes:
    """Times in which one worker was busy, without those in which it waited for items or for room."""

    __slots__ = ("busy_ns", "by_bucket", "firsts_ns", "units")

    def __init__(self) -> None:
        self.units = 0
        self.busy_ns = 0
        self.firsts_ns: list[int] = []
        self.by_bucket: dict[int, int] = {}

    def add(self, nanoseconds: int) -> None:
        """A worker was busy for so long."""
        self.units = units = self.units + 1
        self.busy_ns += nanoseconds
        if units <= IN_ORDER:
            self.firsts_ns.append(nanoseconds)
        elif units <= FIRST or not units & _SAMPLE:
            bucket = bucket_of(nanoseconds)
            self.by_bucket[bucket] = self.by_bucket.get(bucket, 0) + 1

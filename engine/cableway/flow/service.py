"""
How long the workers of a stage were busy at a time: sums and buckets.

Times of next to nothing are not worth the reading of a clock: after the first `FIRST` units of a stage, and for as long
as its units are shorter than `SHORT_NS` on average, one in `STRIDE` is timed and stands for those before it.
"""

from __future__ import annotations

from cableway.buckets import bucket_of

FIRST = 512
SHORT_NS = 50_000
STRIDE = 13
"""Neither a power of two nor a multiple of what sources usually give at once."""
IN_ORDER = 4
"""So many times at the beginning, when things are opened and loaded, are kept one by one."""


class ServiceTimes:
    """Times in which one worker was busy, without those in which it waited for items or for room."""

    __slots__ = ("_weight", "busy_ns", "by_bucket", "firsts_ns", "skip", "units")

    def __init__(self) -> None:
        self.units = 0
        self.busy_ns = 0
        self.firsts_ns: list[int] = []
        self.by_bucket: dict[int, int] = {}
        self.skip = 0
        """Units that are not to be timed, for whoever gives its times to `sample`; it counts them down."""
        self._weight = 1

    def add(self, nanoseconds: int, units: int = 1) -> None:
        """A worker was busy for so long, *units* times."""
        self.units += units
        self.busy_ns += nanoseconds * units
        if self.units <= IN_ORDER:
            self.firsts_ns.append(nanoseconds)
            return
        bucket = bucket_of(nanoseconds)
        self.by_bucket[bucket] = self.by_bucket.get(bucket, 0) + units

    def sample(self, nanoseconds: int) -> None:
        """A worker was busy for so long, and so it was in those units that were not timed before this one."""
        self.add(nanoseconds, self._weight)
        if self.units > FIRST and self.busy_ns < SHORT_NS * self.units:
            self.skip, self._weight = STRIDE - 1, STRIDE
        else:
            self._weight = 1

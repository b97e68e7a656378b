"""Service times as a run keeps them: counts in buckets that grow by a constant factor, of bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import ldexp
from random import Random

from cableway.buckets import STEPS, bucket_of

__all__ = ["STEPS", "Times", "bucket_of", "counted", "seconds_of"]


def seconds_of(bucket: int) -> float:
    """The time in the middle of *bucket*."""
    exponent, step = divmod(bucket, STEPS)
    return ldexp(1 + (step + 0.5) / STEPS, exponent) / 1e9


class Times:
    """A distribution to draw from: the buckets' counts, moved so that their mean is *mean_s*."""

    def __init__(self, buckets: Mapping[int, int], mean_s: float) -> None:
        self._seconds = [seconds_of(bucket) for bucket in buckets]
        self._counts = list(buckets.values())
        count = sum(self._counts)
        raw = sum(seconds * n for seconds, n in zip(self._seconds, self._counts, strict=True)) / count if count else 0.0
        self._scale = mean_s / raw if raw > 0 else 0.0
        self.mean_s = mean_s

    def draw(self, random: Random, count: int) -> list[float]:
        """So many times, in seconds, in no order."""
        if not self._counts or self._scale == 0:
            return [self.mean_s] * count
        return [seconds * self._scale for seconds in random.choices(self._seconds, self._counts, k=count)]


def counted(times_ns: Iterable[int]) -> dict[int, int]:
    """*times_ns* by bucket."""
    buckets: dict[int, int] = {}
    for nanoseconds in times_ns:
        bucket = bucket_of(nanoseconds)
        buckets[bucket] = buckets.get(bucket, 0) + 1
    return buckets

"""How often a caller may ask: a bucket of tokens for each, filled at a steady rate."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MAX_CALLERS = 10_000
"""Buckets that are kept; the one that was not touched for longest goes first."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at_s: float


class Rates:
    """*per_s* requests a second for each caller, and *burst* of them at once. Counted in this process alone."""

    def __init__(self, per_s: float, burst: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def wait_s(self, caller: str) -> float:
        """Take a token and return 0, or seconds until there is one."""
        now = self._clock()
        bucket = self._buckets.pop(caller, None) or _Bucket(float(self._burst), now)
        self._buckets[caller] = bucket
        if len(self._buckets) > MAX_CALLERS:
            self._buckets.popitem(last=False)
        bucket.tokens = min(float(self._burst), bucket.tokens + (now - bucket.at_s) * self._per_s)
        bucket.at_s = now
        if bucket.tokens < 1:
            return (1 - bucket.tokens) / self._per_s
        bucket.tokens -= 1
        return 0.0

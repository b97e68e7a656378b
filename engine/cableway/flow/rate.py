"""A token bucket: so many a second on average, so many at once."""

from __future__ import annotations

import asyncio

from cableway.flow.config import RateLimit


class Bucket:
    """Tokens grow with time up to ``burst``; whoever wants one waits for its turn."""

    def __init__(self, limit: RateLimit) -> None:
        self._per_s = limit.per_s
        self._burst = limit.burst
        self._tokens = float(limit.burst)
        self._at: float | None = None

    async def take(self) -> None:
        """Take one token, waiting for it to grow; those that wait are served in order."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._at is not None:
            self._tokens = min(float(self._burst), self._tokens + (now - self._at) * self._per_s)
        self._at = now
        self._tokens -= 1
        if self._tokens < 0:
            # The debt is this caller's place in line: the next one owes more and so waits longer.
            await asyncio.sleep(-self._tokens / self._per_s)

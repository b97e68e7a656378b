"""How much work a worker is given ahead: enough for a few milliseconds, whatever a unit takes."""

from __future__ import annotations

# Two chunks of 20 ms. More than needed does no harm, since what is not begun can be taken back.
_AHEAD_NS = 40_000_000
_AHEAD_BYTES = 12 * 1024 * 1024
_REST_NS = 8_000_000
_MOST_UNITS = 128
_LEAST_UNITS = 2
_FIRST_UNITS = 4
_WEIGHT = 0.2


class Tempo:
    """Learns how long units take and how large they are. *chunk* fixes the number given ahead instead."""

    def __init__(self, chunk: int | None) -> None:
        self._chunk = chunk
        self._unit_ns = 0.0
        self._unit_bytes = 0.0
        self.ahead = _FIRST_UNITS if chunk is None else max(1, chunk)
        """How many units a worker may have beside the one that it works on."""

    def sized(self, size_bytes: int) -> None:
        """Learn from a unit's size."""
        self._unit_bytes += _WEIGHT * (size_bytes - self._unit_bytes)

    def timed(self, duration_ns: int) -> None:
        """Learn from a unit's duration."""
        if self._unit_ns:
            self._unit_ns += _WEIGHT * (duration_ns - self._unit_ns)
        else:
            self._unit_ns = float(duration_ns)
        if self._chunk is None:
            by_time = _AHEAD_NS / (self._unit_ns + 1.0)
            by_size = _AHEAD_BYTES / (self._unit_bytes + 1.0)
            self.ahead = max(1, min(_MOST_UNITS, max(_LEAST_UNITS, int(by_time)), int(by_size)))

    def worth_resting(self, units: int) -> bool:
        """Whether a worker with so many *units* can do without its parent for some milliseconds."""
        return units * self._unit_ns > _REST_NS

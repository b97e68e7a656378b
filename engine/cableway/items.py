"""
What travels through the stages: the work item, what is known about it, and how it ended.

Nothing here imports pydantic, so a handler's module may say ``from cableway import WorkItem`` and
still load in a subinterpreter. An item costs two slots' worth of bookkeeping until somebody asks:
its id, its metadata and every `datetime` are made when they are read.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from enum import StrEnum
from itertools import count
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Outcome(StrEnum):
    """How an item ends: exactly one of these, once."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    LOST = "lost"


_SUCCEEDED = Outcome.SUCCEEDED
_GOOD = frozenset({Outcome.SUCCEEDED, Outcome.SKIPPED})

_now_ns = time.monotonic_ns
# What turns a monotonic reading into wall time; read once, so that one reading is always one instant.
_WALL_NS = time.time_ns() - time.monotonic_ns()


@final
class DropType:
    """The type of `DROP`: one value a process, the same on both sides of a pickle."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "DROP"

    def __reduce__(self) -> str:
        return "DROP"


DROP: Final = DropType()
"""What a handler returns to say that it wants no more of an item; the item ends as skipped."""


@final
class Rejected:
    """One of several values that a bloc gives: a row that goes no further.

    It ends as a failed item of its own, with *error* and, as its payload, *row*; its neighbours go on.
    """

    __slots__ = ("error", "row")

    def __init__(self, error: Exception, row: Any) -> None:
        self.error = error
        self.row = row


class _Ids:
    """Ids that are unique without asking the system's randomness for each of them."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Start anew, as a forked child must."""
        prefix = os.urandom(8).hex()
        numbers = count(1)
        self.new: Callable[[], str] = lambda: f"{prefix}-{next(numbers)}"


_ids = _Ids()
os.register_at_fork(after_in_child=_ids.renew)


def wall_time(reading_ns: int) -> datetime:
    """The UTC instant of a `time.monotonic_ns` reading of this process."""
    return datetime.fromtimestamp((reading_ns + _WALL_NS) / 1e9, UTC)


@final
class Route:
    """The stages that an item passes, from the one where it begins; shared by all that begin there."""

    __slots__ = ("stages",)

    def __init__(self, stages: tuple[str, ...]) -> None:
        self.stages = stages


_PHASES = ("queued", "started", "completed")
# Of this many readings a tuple is small enough to keep, and made in a fifth of the time that packing takes.
_SHORT = 8
_packers: dict[int, Struct] = {}


def _pack(trail: list[int]) -> bytes:
    """The readings as bytes: a third of what as many ints take, for results that are kept."""
    packer = _packers.get(len(trail))
    if packer is None:
        packer = _packers[len(trail)] = Struct(f"{len(trail)}q")
    return packer.pack(*trail)


def _kept(trail: list[int]) -> tuple[int, ...] | bytes:
    return tuple(trail) if len(trail) <= _SHORT else _pack(trail)


def note_arrival(trail: list[int], at_ns: int) -> None:
    """Note in *trail* that the item waits before its next stage since *at_ns*.

    A trail is the item's making, then for each stage: queued, started, completed. An item is mostly
    queued at the very reading at which the stage before completed it; that one is left out, and so one
    that differs is marked by its sign.
    """
    trail.append(at_ns if len(trail) == 1 else -at_ns)


def _readings(trail: Sequence[int]) -> list[int]:
    """Queued, started, completed for each stage in turn, with what `note_arrival` leaves out."""
    readings: list[int] = []
    for reading in trail[1:]:
        if reading >= 0 and readings and len(readings) % 3 == 0:
            readings.append(readings[-1])
        readings.append(abs(reading))
    return readings


class WorkItemResult:
    """How one item ended. ``error`` is None unless it failed.

    ``data`` is there while completion callbacks run; it is kept afterwards only with ``keep_data=True``,
    so that results do not hold what the pipeline has worked through.

    The flow begins one with each item that it follows, and hands it out when the item has ended.
    """

    __slots__ = ("_metadata", "_trail", "data", "error", "outcome", "own_id", "route")

    def __init__(self, route: Route, trail: list[int], own_id: str | None, metadata: WorkItemMetadata | None) -> None:
        self.route = route
        self.own_id = own_id
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        self.data: Any = None
        self._trail: list[int] | tuple[int, ...] | bytes = trail
        self._metadata = metadata

    def succeed(self) -> None:
        """Note that the item went its way to the end, where its last reading was taken."""
        self.outcome = _SUCCEEDED
        trail = self._trail
        if type(trail) is list:
            self._trail = tuple(trail) if len(trail) <= _SHORT else _pack(trail)

    def end(self, outcome: Outcome, at_ns: int, error: BaseException | None, data: Any) -> None:
        """Note how the item ended, and keep its readings in little space."""
        self.outcome = outcome
        self.error = error
        self.data = data
        if isinstance(self._trail, list):
            self._trail = _kept(self._trail if outcome is _SUCCEEDED else [*self._trail, at_ns])

    @property
    def _plain(self) -> Sequence[int]:
        trail = self._trail
        return Struct(f"{len(trail) // 8}q").unpack(trail) if isinstance(trail, bytes) else trail

    @property
    def readings(self) -> list[int]:
        """Readings of the monotonic clock: queued, started and completed for each stage of the route in turn."""
        trail = self._plain
        return _readings(trail if self.outcome is None or self.outcome is _SUCCEEDED else trail[:-1])

    @property
    def created_ns(self) -> int:
        """The reading at the item's making."""
        return self._plain[0]

    @property
    def ended_ns(self) -> int:
        """The reading at the item's end; its last one while it is on its way."""
        return abs(self._plain[-1])

    @property
    def job_id(self) -> str:
        """The item's id."""
        if self.own_id is None:
            self.own_id = _ids.new()
        return self.own_id

    @property
    def metadata(self) -> WorkItemMetadata:
        """When the item came and left, and its owner's notes."""
        if self._metadata is None:
            self._metadata = WorkItemMetadata(created_ns=self.created_ns)
        self._metadata.record = self
        return self._metadata

    @property
    def success(self) -> bool:
        """Whether the item went its way to the end, or was dropped by a handler on purpose."""
        return self.outcome in _GOOD

    @property
    def total_duration(self) -> float | None:
        """Seconds from the item's making to its end; None before it."""
        return (self.ended_ns - self.created_ns) / 1e9 if self.outcome is not None else None

    def __repr__(self) -> str:
        return f"WorkItemResult(job_id={self.job_id!r}, outcome={str(self.outcome)!r}, error={self.error!r})"


class WorkItemMetadata:
    """When an item was made, where it is, when it came and left, and whatever its owner notes on it.

    The times of stages are kept only with ``enable_tracking=True``; ``custom_metadata`` is the owner's.
    ``record`` is the flow's: what it knows of the item, where it follows it.
    """

    __slots__ = ("_custom", "created_ns", "record")

    def __init__(self, *, custom_metadata: dict[str, Any] | None = None, created_ns: int | None = None) -> None:
        self.created_ns = _now_ns() if created_ns is None else created_ns
        self.record: WorkItemResult | None = None
        self._custom = custom_metadata

    @property
    def custom_metadata(self) -> dict[str, Any]:
        """Notes of the item's owner; the flow never reads them."""
        if self._custom is None:
            self._custom = {}
        return self._custom

    @custom_metadata.setter
    def custom_metadata(self, value: dict[str, Any]) -> None:
        self._custom = value

    @property
    def created(self) -> datetime:
        """When the item was made, in UTC."""
        return wall_time(self.created_ns)

    @property
    def completed(self) -> datetime | None:
        """When the item ended, in UTC; None while it is on its way."""
        record = self.record
        return None if record is None or record.outcome is None else wall_time(record.ended_ns)

    @property
    def error_details(self) -> dict[str, Any] | None:
        """The class and message of the error that ended the item, if one did."""
        error = self.record.error if self.record is not None else None
        return None if error is None else {"type": type(error).__name__, "message": str(error)}

    @property
    def current_stage(self) -> str:
        """The stage that the item is in, else ``created``, ``completed`` or ``error``."""
        record = self.record
        if record is None:
            return "created"
        if record.outcome is not None:
            return "completed" if record.outcome in _GOOD else "error"
        passed, stages = len(record.readings), record.route.stages
        return stages[min(passed // 3, len(stages) - 1)] if passed else "created"

    @property
    def stage_timings(self) -> dict[str, dict[str, datetime]]:
        """For each stage that the item reached: when it was queued, started and completed, in UTC."""
        timings: dict[str, dict[str, datetime]] = {}
        if self.record is not None:
            stages = self.record.route.stages
            for index, reading in enumerate(self.record.readings):
                timings.setdefault(stages[index // 3], {})[_PHASES[index % 3]] = wall_time(reading)
        return timings

    def get_stage_duration(self, stage: str) -> float | None:
        """Seconds from start to completion in *stage*; None when the item has not completed it."""
        if self.record is None or stage not in self.record.route.stages:
            return None
        at = self.record.route.stages.index(stage) * 3
        readings = self.record.readings
        return (readings[at + 2] - readings[at + 1]) / 1e9 if len(readings) > at + 2 else None

    def __repr__(self) -> str:
        return f"WorkItemMetadata(current_stage={self.current_stage!r}, custom_metadata={self._custom or {}!r})"


class WorkItem:
    """A value on its way through the stages. The object that the source gave is the one that travels.

    ``own_id``, ``created_ns``, ``record``, ``trail`` and ``live`` are the flow's: the id if one was given
    or asked for, when the item was made, what is kept of it and its readings where it is followed, and
    whether it is on its way.
    """

    __slots__ = ("_metadata", "created_ns", "data", "live", "own_id", "record", "trail")

    def __init__(self, data: Any, metadata: WorkItemMetadata | None = None, job_id: str | None = None) -> None:
        self.data = data
        self.own_id = job_id
        self._metadata = metadata
        self.record: WorkItemResult | None = None
        self.trail: list[int] | None = None
        self.live = False
        self.created_ns = _now_ns()

    @property
    def job_id(self) -> str:
        """The item's id; made when first asked for, unless the source gave one."""
        if self.own_id is None:
            self.own_id = self.record.job_id if self.record is not None else _ids.new()
            if self.record is not None:
                self.record.own_id = self.own_id
        return self.own_id

    @job_id.setter
    def job_id(self, value: str) -> None:
        self.own_id = value

    @property
    def metadata(self) -> WorkItemMetadata:
        """What is known about the item; made when first asked for."""
        if self._metadata is None:
            self._metadata = (
                self.record.metadata if self.record is not None else WorkItemMetadata(created_ns=self.created_ns)
            )
        return self._metadata

    @metadata.setter
    def metadata(self, value: WorkItemMetadata) -> None:
        self._metadata = value

    @property
    def known(self) -> WorkItemMetadata | None:
        """The metadata if somebody has asked for it, else None."""
        return self._metadata

    def follow(self, route: Route, trail: list[int]) -> WorkItemResult:
        """Begin to keep *trail*, which starts with the item's making and grows as it goes along *route*."""
        self.trail = trail
        self.record = record = WorkItemResult(route, trail, self.own_id, self._metadata)
        if self._metadata is not None:
            self._metadata.record = record
        return record

    def __reduce__(self) -> tuple[type[WorkItem], tuple[Any, None, str]]:
        return WorkItem, (self.data, None, self.job_id)

    def __repr__(self) -> str:
        return f"WorkItem(job_id={self.job_id!r}, data={self.data!r:.200})"

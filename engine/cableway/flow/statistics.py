"""
What a stage has done so far, from sums alone.

The sum of all waits is the sum of the readings at which items were taken less the sum of those at which
they came, so nothing has to be remembered for an item; the same holds for the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from cableway.flow.service import ServiceTimes


@dataclass(frozen=True, slots=True, kw_only=True)
class BlocStatistics:
    """One bloc of a stage: attempts begun, failed for good and tried again, and seconds at work."""

    name: str
    attempts: int
    failed: int
    retried: int
    work_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStatistics:
    """A stage at one moment. ``wait_s`` and ``work_s`` sum over items; ``blocked_s`` sums, over the
    stage's workers, the time that they held a finished item for which the next stage had no room.

    ``emitted`` counts what the stage has sent on, children of a fan-out included; ``merged`` counts what
    became part of a batch or gather.

    ``units`` counts the times that a worker was busy, ``busy_s`` sums them, and ``firsts_s`` are the first few and
    ``times`` a sample of the others by bucket; none of them knows what a lean loop does.
    """

    name: str
    queued: int
    waiting: int
    in_work: int
    done: int
    emitted: int
    failed: int
    skipped: int
    cancelled: int
    merged: int
    retried: int
    abandoned: int
    wait_s: float
    work_s: float
    blocked_s: float
    blocs: tuple[BlocStatistics, ...] = ()
    units: int = 0
    busy_s: float = 0.0
    firsts_s: tuple[float, ...] = ()
    times: Mapping[int, int] = field(default_factory=dict[int, int])


class BlocCounts:
    """The running sums behind a `BlocStatistics`."""

    __slots__ = ("attempts", "failed", "name", "retried", "work_ns")

    def __init__(self, name: str) -> None:
        self.name = name
        self.attempts = self.failed = self.retried = self.work_ns = 0

    def freeze(self) -> BlocStatistics:
        """The sums as they are now."""
        return BlocStatistics(
            name=self.name,
            attempts=self.attempts,
            failed=self.failed,
            retried=self.retried,
            work_s=self.work_ns / 1e9,
        )


@dataclass(slots=True)
class StageCounts:
    """The running sums behind a `StageStatistics`. ``*_ns`` are sums of clock readings, not durations."""

    name: str
    now_ns: Callable[[], int]
    queued: int = 0
    queued_ns: int = 0
    started: int = 0
    started_ns: int = 0
    finished: int = 0
    finished_ns: int = 0
    emitted: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0
    merged: int = 0
    retried: int = 0
    abandoned: int = 0
    blocked_ns: int = 0
    blocs: dict[str, BlocCounts] = field(default_factory=dict[str, BlocCounts])
    service: ServiceTimes = field(default_factory=ServiceTimes)
    """Of workers that have more to do than the lean loops: those book whole rows of items at once."""

    def bloc(self, name: str) -> BlocCounts:
        """The sums of one bloc, begun when first asked for."""
        return self.blocs.setdefault(name, BlocCounts(name))

    def came(self, count: int, sum_ns: int) -> None:
        """*count* items were queued, at readings that add up to *sum_ns*."""
        self.queued += count
        self.queued_ns += sum_ns

    def worked(self, count: int, started_ns: int, finished_ns: int) -> None:
        """*count* items were taken, finished and sent on, at readings with these sums."""
        self.emitted += count
        self.started += count
        self.started_ns += started_ns
        self.finished += count
        self.finished_ns += finished_ns

    def began(self, at_ns: int) -> None:
        """One item was taken."""
        self.started += 1
        self.started_ns += at_ns

    def ended(self, at_ns: int) -> None:
        """The stage is through with one item, however it went."""
        self.finished += 1
        self.finished_ns += at_ns

    def freeze(self, taken_ns: Iterable[int] = ()) -> StageStatistics:
        """The sums as they are now; what waits or is at work counts up to this moment.

        *taken_ns* are readings at which items were taken that the sums do not have yet.
        """
        now = self.now_ns()
        taken = tuple(taken_ns)
        started, started_ns = self.started + len(taken), self.started_ns + sum(taken)
        waiting, in_work = self.queued - started, started - self.finished
        return StageStatistics(
            name=self.name,
            queued=self.queued,
            waiting=waiting,
            in_work=in_work,
            done=self.finished - self.failed - self.skipped - self.cancelled - self.merged,
            emitted=self.emitted,
            failed=self.failed,
            skipped=self.skipped,
            cancelled=self.cancelled,
            merged=self.merged,
            retried=self.retried,
            abandoned=self.abandoned,
            wait_s=(started_ns + waiting * now - self.queued_ns) / 1e9,
            work_s=(self.finished_ns + in_work * now - started_ns) / 1e9,
            blocked_s=self.blocked_ns / 1e9,
            blocs=tuple(bloc.freeze() for bloc in self.blocs.values()) if len(self.blocs) > 1 else (),
            units=self.service.units,
            busy_s=self.service.busy_ns / 1e9,
            firsts_s=tuple(each / 1e9 for each in self.service.firsts_ns),
            times=dict(self.service.by_bucket),
        )

"""
What the flow tells, and to whom: it calls observers and knows nothing of who listens.

Statistics, progress, tracing, cursors and dead letters are observers. All methods are called on
the event loop, must not block, and must not raise: an observer that raises is taken off and its
error logged once. The flow looks up once which methods a class overrides and calls only those,
so a method that is not overridden costs nothing.

Times are `time.monotonic_ns()` readings. On Linux this clock is one for all processes of the
machine, so a child's readings compare with the parent's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from cableway.items import Outcome

if TYPE_CHECKING:
    from cableway.items import WorkItem

__all__ = ["Derivation", "FlowEnded", "FlowStarted", "Observer", "Outcome", "WorkerHook"]


Derivation = Literal["fan_out", "batch", "gather"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowStarted:
    """The flow as it begins: its stages in order, each with its blocs' names and its lane's name."""

    pipeline: str
    stages: tuple[tuple[str, tuple[str, ...], str], ...]
    at_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowEnded:
    """The flow as it ended: items emitted, items by outcome, and the error that ended it, if one did."""

    emitted: int
    outcomes: Mapping[Outcome, int]
    error: BaseException | None
    at_ns: int


class Observer:
    """Listens to one flow. Override what you want to hear; the rest costs nothing."""

    worker_hook: str | None = None
    """Import path ``module:name`` of a `WorkerHook` factory, called once in each child worker."""

    def run_started(self, event: FlowStarted) -> None:
        """The flow's workers are about to start."""

    def run_ended(self, event: FlowEnded) -> None:
        """Every item has ended and every worker is gone."""

    def item_queued(self, item: WorkItem, stage: str, at_ns: int) -> None:
        """The item waits before *stage*."""

    def item_started(self, item: WorkItem, stage: str, at_ns: int) -> None:
        """A worker of *stage* took the item: its wait is over."""

    def item_finished(self, item: WorkItem, stage: str, at_ns: int) -> None:
        """All blocs of *stage* are done with the item."""

    def item_failed(
        self, item: WorkItem, stage: str, bloc: str, error: BaseException, attempts: int, at_ns: int
    ) -> None:
        """A unit failed for good after *attempts* tries; the item goes no further."""

    def item_retried(
        self, item: WorkItem, stage: str, bloc: str, error: BaseException, attempt: int, delay_s: float
    ) -> None:
        """Attempt number *attempt* (from 1) failed; the unit is tried again after *delay_s*."""

    def item_dropped(self, item: WorkItem, stage: str, at_ns: int) -> None:
        """The handler wants no more of the item; it ends as skipped."""

    def item_derived(
        self, parents: Sequence[WorkItem], children: Sequence[WorkItem], stage: str, how: Derivation
    ) -> None:
        """*children* came out of *parents* in *stage*. A fan-out tells each child as it is made."""

    def item_ended(self, item: WorkItem, outcome: Outcome, at_ns: int) -> None:
        """The item has reached its one terminal state."""

    def bloc_started(self, item: WorkItem, stage: str, bloc: str, at_ns: int) -> None:
        """An attempt of a unit begins; told only where a stage has several blocs."""

    def bloc_finished(self, item: WorkItem, stage: str, bloc: str, error: BaseException | None, at_ns: int) -> None:
        """An attempt of a unit ended; told only where a stage has several blocs."""

    def stage_blocked(self, stage: str, behind: str, waited_ns: int, at_ns: int) -> None:
        """A worker of *stage* (or the source, named ``source``) waited for room before stage *behind*."""

    def worker_died(self, stage: str, bloc: str, reason: str, jobs: Sequence[str]) -> None:
        """A child worker died (*reason*: exit code or signal) with units of these job ids in its hands."""

    def worker_reported(self, stage: str, bloc: str, report: Sequence[Any]) -> None:
        """What a child's hook gave from `WorkerHook.drain`."""

    def carrier(self, item: WorkItem, stage: str, bloc: str) -> Mapping[str, str] | None:
        """The dict that goes with a unit into a child; the first observer that gives one wins."""
        return None


class WorkerHook(Protocol):
    """Lives in a child worker, one for its whole life."""

    def unit(self, carrier: Mapping[str, str], stage: str, bloc: str, job_id: str) -> AbstractContextManager[None]:
        """Entered around one unit's handler."""
        ...

    def drain(self) -> list[Any]:
        """What has gathered since the last call, as plain picklable values; sent home with results."""
        ...

    def close(self) -> None:
        """Called before the worker ends by itself; a killed worker never gets here."""
        ...

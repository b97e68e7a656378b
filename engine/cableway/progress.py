"""
How far a run is, for whoever watches: a table on a terminal, one line now and then in a log.

It looks at the flow's statistics from a timer and hears no events, so it costs the same whether ten
items pass in a second or a million. Only a terminal loads rich.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

if TYPE_CHECKING:
    from cableway.flow.config import ETLPipelineConfig
    from cableway.flow.statistics import StageStatistics
    from cableway.terminal import LiveTable

log = logging.getLogger("cableway.progress")

LOOK_EVERY_S = 0.25
"""Seconds between two looks at the statistics where a terminal shows them."""

PACE_OVER_S = 5.0
"""Seconds that a rate is taken over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageProgress:
    """A stage as it is shown. ``rate_per_s`` is items that it was through with, a second, of late."""

    name: str
    done: int
    in_flight: int
    waiting: int
    failed: int
    queue_size: int
    rate_per_s: float


class Watched(Protocol):
    """What can be watched; an `ETLPipeline` is."""

    @property
    def config(self) -> ETLPipelineConfig:
        """What the pipeline is made of."""
        ...

    def stage_statistics(self) -> tuple[StageStatistics, ...]:
        """Each stage at this moment; none before the run has begun."""
        ...


class Pace:
    """Makes rates of counts: what has come to be between two looks at most `PACE_OVER_S` apart."""

    def __init__(self, queue_sizes: Sequence[int]) -> None:
        self._queue_sizes = queue_sizes
        self._looks: deque[tuple[float, tuple[int, ...]]] = deque()

    def begin(self, at_s: float) -> None:
        """Nothing has come to be yet."""
        self._looks.append((at_s, (0,) * len(self._queue_sizes)))

    def look(self, stages: Sequence[StageStatistics], at_s: float) -> tuple[StageProgress, ...]:
        """The stages with their rates, at a reading of a clock that only goes forward."""
        through = tuple(stage.queued - stage.waiting - stage.in_work for stage in stages)
        looks = self._looks
        while len(looks) > 1 and at_s - looks[0][0] > PACE_OVER_S:
            looks.popleft()
        before_s, before = looks[0] if looks else (at_s, through)
        looks.append((at_s, through))
        passed_s = at_s - before_s
        return tuple(
            StageProgress(
                name=stage.name,
                done=stage.done,
                in_flight=stage.in_work,
                waiting=stage.waiting,
                failed=stage.failed,
                queue_size=size,
                rate_per_s=max(0, now - then) / passed_s if passed_s > 0 else 0.0,
            )
            for stage, size, now, then in zip(stages, self._queue_sizes, through, before, strict=True)
        )


def line(stages: Sequence[StageProgress]) -> str:
    """All stages in one line."""
    return "; ".join(_one(stage) for stage in stages)


def rate(per_s: float) -> str:
    """A rate as it is read: no more digits than it is exact."""
    return f"{per_s:,.0f}/s" if per_s >= 10 or per_s == 0 else f"{per_s:.1f}/s"


def _one(stage: StageProgress) -> str:
    failed = f", {stage.failed:,} failed" if stage.failed else ""
    return (
        f"{stage.name} {stage.done:,} done, {stage.in_flight:,} in flight, "
        f"{stage.waiting:,} waiting{failed}, {rate(stage.rate_per_s)}"
    )


class Progress:
    """Shows how far *pipeline* is while this is entered, within its event loop: ``with Progress(pipeline):``.

    On a terminal a table below whatever is printed, else a line of log every *interval_s* seconds and
    one at the end if there was one before. With *interval_s* 0 nothing at all. Nothing is hidden and no
    mode is set, so no ending, a kill included, leaves a terminal that has to be put right.
    """

    def __init__(self, pipeline: Watched, *, interval_s: float = 10.0, file: TextIO | None = None) -> None:
        self._pipeline = pipeline
        self._interval_s = interval_s
        self._file = sys.stderr if file is None else file
        self._pace = Pace([stage.queue_size for stage in pipeline.config.stages])
        self._table: LiveTable | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._spoken = False

    def __enter__(self) -> Self:
        if self._interval_s > 0:
            self._pace.begin(asyncio.get_running_loop().time())
            if self._file.isatty():
                self._table = _table(self._file, self._pipeline.config.pipeline_name)
            self._set_timer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._table is not None:
            self._table.close(self._look())
        elif self._spoken:
            self._say(self._look())

    def _set_timer(self) -> None:
        every_s = self._interval_s if self._table is None else LOOK_EVERY_S
        self._timer = asyncio.get_running_loop().call_later(every_s, self._show)

    def _show(self) -> None:
        self._set_timer()
        stages = self._look()
        if self._table is not None:
            self._table.show(stages)
        else:
            self._say(stages)

    def _look(self) -> tuple[StageProgress, ...]:
        stages = self._pipeline.stage_statistics()
        return self._pace.look(stages, asyncio.get_running_loop().time()) if stages else ()

    def _say(self, stages: Sequence[StageProgress]) -> None:
        if stages:
            self._spoken = True
            log.info("%s: %s", self._pipeline.config.pipeline_name, line(stages))


def _table(file: TextIO, title: str) -> LiveTable | None:
    """The table, or None on a terminal that can only print."""
    from cableway.terminal import LiveTable, can_move  # rich loads with it

    return LiveTable(file, title) if can_move(file) else None

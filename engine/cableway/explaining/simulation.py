"""
The stages of a run as a network of bounded queues, played through event by event.

A worker takes an item (or as many as make a batch), is busy for a time drawn from what was recorded, and
passes on what came of it; where the next queue is full it holds the rest and takes nothing, which is how one
slow stage slows those before it. What is not in the records is not in the play: prices of other runs on the
machine, limits of a server that gets more calls at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from random import Random

from cableway.explaining.times import Times

ITEMS_AT_MOST = 5_000
"""Units of the busiest stage that are played; a longer run is a multiple of its first part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageModel:
    """A stage as it is played."""

    name: str
    workers: int
    """Of a lane that computes, no more than there are cores."""
    queue_size: int
    units: float
    """How many times a worker is busy in the whole run."""
    taken: float
    """Items that it takes in the whole run; of a stage that batches, more than units."""
    given: float
    """Items that it passes on in the whole run."""
    times: Times
    firsts_s: tuple[float, ...] = ()
    """How long the first units take; those that follow are drawn from ``times``."""


@dataclass(slots=True)
class _Stage:
    model: StageModel
    service: deque[float]
    capacity: int
    waiting: int = 0
    idle: int = 0
    begun: int = 0
    taken: int = 0
    given: int = 0
    finished: int = 0
    held: deque[int] = field(default_factory=deque[int])
    """What workers hold that the next queue has no room for: one entry a worker."""
    busy_s: float = 0.0


def wall_s(stages: Sequence[StageModel], *, seed: int = 1) -> float:
    """How long a run of these *stages* takes, in seconds. The first one needs no items: it is the source."""
    busiest = max((stage.units for stage in stages), default=0.0)
    share = min(1.0, ITEMS_AT_MOST / busiest) if busiest else 1.0
    return _Play([_scaled(stage, share) for stage in stages], Random(seed)).end() / share


def _scaled(stage: StageModel, share: float) -> StageModel:
    if share == 1.0:
        return stage
    return StageModel(
        name=stage.name,
        workers=stage.workers,
        queue_size=stage.queue_size,
        units=max(1.0, stage.units * share),
        taken=stage.taken * share,
        given=stage.given * share,
        times=stage.times,
    )


def _service(model: StageModel, random: Random) -> deque[float]:
    units = max(1, round(model.units))
    firsts = model.firsts_s[:units]
    return deque([*firsts, *model.times.draw(random, units - len(firsts))])


class _Play:
    def __init__(self, models: Sequence[StageModel], random: Random) -> None:
        self._now = 0.0
        self._order = count()
        self._events: list[tuple[float, int, int]] = []
        self._stages = [
            _Stage(
                model=model,
                service=_service(model, random),
                # A batch must find room to gather in.
                capacity=max(model.queue_size, -(-round(model.taken) // max(1, round(model.units)))),
                idle=max(1, model.workers),
            )
            for model in models
        ]

    def end(self) -> float:
        for index in range(len(self._stages)):
            self._start(index)
        while self._events:
            self._now, _, index = heappop(self._events)
            self._finish(index)
        return self._now

    def _start(self, index: int) -> None:
        """Let idle workers take what waits."""
        stage = self._stages[index]
        while stage.idle and stage.service:
            wanted = self._wanted(stage, index)
            if stage.waiting < wanted:
                return
            stage.waiting -= wanted
            stage.taken += wanted
            stage.begun += 1
            stage.idle -= 1
            seconds = stage.service.popleft()
            stage.busy_s += seconds
            heappush(self._events, (self._now + seconds, next(self._order), index))
            if index and wanted:
                self._release(index - 1)

    def _wanted(self, stage: _Stage, index: int) -> int:
        """Items that the next unit takes: spread evenly, and of the last unit all that are left."""
        if index == 0:
            return 0
        units = max(1, round(stage.model.units))
        due = round(stage.model.taken * (stage.begun + 1) / units) - stage.taken
        if self._is_over(index - 1):
            return min(max(due, 0), stage.waiting)
        return max(due, 0)

    def _is_over(self, index: int) -> bool:
        stage = self._stages[index]
        return not stage.service and not stage.held and stage.finished == stage.begun

    def _finish(self, index: int) -> None:
        stage = self._stages[index]
        stage.finished += 1
        units = max(1, round(stage.model.units))
        made = round(stage.model.given * stage.finished / units) - stage.given
        stage.given += made
        if index + 1 == len(self._stages) or made <= 0:
            stage.idle += 1
        else:
            stage.held.append(made)
            self._release(index)
        self._start(index)
        if index + 1 < len(self._stages):
            self._start(index + 1)

    def _release(self, index: int) -> None:
        """Move what workers of *index* hold into the next queue, as far as there is room."""
        stage, following = self._stages[index], self._stages[index + 1]
        while stage.held and (room := following.capacity - following.waiting) > 0:
            moved = min(room, stage.held[0])
            following.waiting += moved
            stage.held[0] -= moved
            if stage.held[0] == 0:
                stage.held.popleft()
                stage.idle += 1
            self._start(index + 1)
        self._start(index)

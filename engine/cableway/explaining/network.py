"""What a run's record says of its stages: which one the others wait for, and what more workers would give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from cableway.explaining.simulation import StageModel, wall_s
from cableway.explaining.times import Times

COMPUTING = frozenset({"process", "interpreter"})
"""Lanes whose workers each want a core."""
WORTH = 0.03
"""A share of the wall time; a change that saves less is not proposed."""
UNEXPLAINED = 0.25
"""A share of what the play takes that may be the price of the items' steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedStage:
    """A stage as a run has recorded it. A unit is one time that a worker was busy; times are summed over workers."""

    name: str
    lane: str
    workers: int
    queue_size: int
    units: int
    taken: int
    given: int
    work_s: float
    blocked_s: float
    times: Mapping[int, int]
    """Units by bucket of their time, without the first ones: all of them, or a sample."""
    firsts_s: tuple[float, ...] = ()
    """The times of the first units, in order."""
    serial: bool = False
    """It works on one item at a time, whatever the definition says."""
    per_s: float | None = None
    """Units that may begin in a second."""
    limits: tuple[str, ...] = ()
    """Limits that it shares with other runs."""

    @property
    def computes(self) -> bool:
        """Whether each of its workers wants a core."""
        return not COMPUTING.isdisjoint(self.lane.split())

    @property
    def at_once(self) -> int:
        """Workers that can have something to do: a stream that came of one item has one."""
        return 1 if self.serial else max(1, min(self.workers, self.taken))


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How one stage spent the run."""

    stage: str
    busy: float
    """Share of its workers' time in which they worked."""
    blocked: float
    """Share of its workers' time in which they held items that the next stage had no room for."""
    holds_up_s: float
    """Seconds in which workers of the stage before waited for this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What a run would take with other numbers of workers."""

    stage: str
    workers: int
    wall_s: float
    """Predicted for the whole run."""
    vcpu_s: float
    """The time of all processors that it has meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Where a run's time went."""

    wall_s: float
    vcpu_s: float
    start_s: float
    """Of ``wall_s``: before the first item and after the last."""
    replayed_s: float
    """What the play gives for the run as it was; how far it lies from ``wall_s`` says how far to trust it."""
    bottleneck: str | None
    findings: tuple[Finding, ...]
    proposals: tuple[Proposal, ...]
    no_more: str | None
    """Why more workers for the bottleneck would give nothing, where that is known."""


def explained(
    stages: Sequence[RecordedStage], run_s: float, *, cores: int, flow_s: float | None = None, loop_s: float = 0.0
) -> Explanation:
    """Explain a run that took *run_s* seconds on *cores* processors. *stages* are in order, the source first.

    *flow_s* is for how long items were on their way: what goes before and comes after stays what it is. *loop_s* is
    for how long the event loop computed, which no number of workers makes less.
    """
    flow_s = run_s if flow_s is None else min(flow_s, run_s)
    findings = tuple(_finding(stages, index, flow_s) for index in range(len(stages)))
    replayed = played_s(stages, cores=cores)
    busiest = max(range(len(stages)), key=lambda index: findings[index].busy, default=None)
    bottleneck = None if busiest is None else stages[busiest]
    no_more = None if bottleneck is None else _hindrance(bottleneck, flow_s, cores, loop_s)
    options: list[tuple[int, float]] = []
    if bottleneck is not None and no_more is None:
        as_predicted = partial(predicted_s, stages, flow_s, cores=cores, as_it_was=replayed, loop_s=loop_s)
        options = _options(bottleneck, flow_s, cores, as_predicted)
    start_s = run_s - flow_s
    return Explanation(
        wall_s=run_s,
        vcpu_s=run_s * cores,
        start_s=start_s,
        replayed_s=replayed + start_s,
        bottleneck=None if bottleneck is None else bottleneck.name,
        findings=findings,
        proposals=tuple(
            Proposal(stage=bottleneck.name, workers=workers, wall_s=start_s + took_s, vcpu_s=(start_s + took_s) * cores)
            for workers, took_s in options
            if bottleneck is not None
        ),
        no_more=no_more,
    )


def played_s(stages: Sequence[RecordedStage], *, cores: int, workers: Mapping[str, int] | None = None) -> float:
    """How long the play takes, with other numbers of *workers* by stage."""
    others = workers or {}
    return wall_s([_model(stage, others.get(stage.name, stage.at_once), cores) for stage in stages])


def predicted_s(
    stages: Sequence[RecordedStage],
    flow_s: float,
    *,
    cores: int,
    workers: Mapping[str, int],
    as_it_was: float,
    loop_s: float = 0.0,
) -> float:
    """How long items would have been on their way with *workers* by stage, the others as they were.

    *as_it_was* is what the play takes with those that there were. What it leaves unexplained is taken to be the price
    of each item's steps, so that it shrinks and grows with the play; beyond `UNEXPLAINED` the rest stays as it is.
    """
    changed = played_s(stages, cores=cores, workers=workers)
    by_steps = min(flow_s / as_it_was, 1 + UNEXPLAINED) if as_it_was else 1.0
    by_rate_s = (stage.units / stage.per_s for stage in stages if stage.per_s)
    return max(changed * by_steps + max(0.0, flow_s - as_it_was * by_steps), loop_s, *by_rate_s)


def _options(
    bottleneck: RecordedStage, flow_s: float, cores: int, as_predicted: Callable[..., float]
) -> list[tuple[int, float]]:
    """Numbers of workers for the bottleneck, each worth more than the one before, with the seconds it would take."""
    options: list[tuple[int, float]] = []
    before = flow_s
    for workers in _candidates(bottleneck, cores):
        took = as_predicted(workers={bottleneck.name: workers})
        if took > before * (1 - WORTH):
            break
        options.append((workers, took))
        before = took
    return options


def _hindrance(stage: RecordedStage, run_s: float, cores: int, loop_s: float) -> str | None:
    if stage.serial:
        return "it works on one item at a time, as its order or its gathering wants it"
    if stage.at_once < stage.workers or stage.taken <= 1:
        return "all that it gives came of one item, which one worker reads"
    if stage.limits:
        return f"it shares {', '.join(stage.limits)} with other runs, and what those leave is not known"
    if stage.per_s and stage.units / stage.per_s > run_s * (1 - 2 * WORTH):
        return f"its rate_per_s lets {stage.per_s:g} begin in a second"
    if stage.computes and stage.workers >= cores:
        return f"each of its workers wants a processor, and there are {cores}"
    if not stage.computes and loop_s > run_s * (1 - 2 * WORTH):
        return "the event loop computes nearly all the time; another lane, or a cheaper handler, would give more"
    return None


def _finding(stages: Sequence[RecordedStage], index: int, run_s: float) -> Finding:
    stage = stages[index]
    worker_s = max(run_s * stage.at_once, 1e-9)
    return Finding(
        stage=stage.name,
        busy=min(1.0, stage.work_s / worker_s),
        blocked=min(1.0, stage.blocked_s / worker_s),
        holds_up_s=stages[index - 1].blocked_s if index else 0.0,
    )


def _model(stage: RecordedStage, workers: int, cores: int) -> StageModel:
    units = max(stage.units, 1)
    later_s = max(0.0, stage.work_s - sum(stage.firsts_s)) / max(1, units - len(stage.firsts_s))
    return StageModel(
        name=stage.name,
        workers=min(workers, cores) if stage.computes else workers,
        queue_size=stage.queue_size,
        units=units,
        taken=stage.taken,
        given=stage.given,
        times=Times(stage.times, later_s),
        firsts_s=stage.firsts_s,
    )


def _candidates(stage: RecordedStage, cores: int) -> list[int]:
    """Numbers of workers to try: up to four times as many, of a computing lane no more than the cores."""
    wanted = sorted(
        {stage.workers + 1, *(round(stage.workers * factor) for factor in (1.5, 2, 3, 4))} - {stage.workers}
    )
    return [workers for workers in wanted if not stage.computes or workers <= cores]

"""What a run's record says of its stages: which one the others wait for, and what more workers would give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cableway.explaining.simulation import StageModel, wall_s
from cableway.explaining.times import Times

COMPUTING = frozenset({"process", "interpreter"})
"""Lanes whose workers each want a core."""
WORTH = 0.03
"""A share of the wall time; a change that saves less is not proposed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedStage:
    """A stage as a run has recorded it. Times are seconds, summed over its units or workers."""

    name: str
    lane: str
    workers: int
    queue_size: int
    units: int
    taken: int
    given: int
    work_s: float
    wait_s: float
    blocked_s: float
    times: Mapping[int, int]
    """Units by bucket of their time."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Where a run's time went."""

    wall_s: float
    replayed_s: float
    """What the play gives for the run as it was; how far it lies from ``wall_s`` says how far to trust it."""
    bottleneck: str | None
    findings: tuple[Finding, ...]
    proposals: tuple[Proposal, ...]


def explained(stages: Sequence[RecordedStage], run_s: float, *, cores: int) -> Explanation:
    """Explain a run that took *run_s* seconds on *cores* processors. *stages* are in order, the source first."""
    findings = tuple(_finding(stages, index, run_s) for index in range(len(stages)))
    replayed = predicted_s(stages, run_s, cores=cores, workers={})
    bottleneck = max(findings, key=lambda finding: finding.busy, default=None)
    proposals: list[Proposal] = []
    if bottleneck is not None:
        before = run_s
        for workers in _candidates(next(stage for stage in stages if stage.name == bottleneck.stage), cores):
            took = predicted_s(stages, run_s, cores=cores, workers={bottleneck.stage: workers})
            if took > before * (1 - WORTH):
                break
            proposals.append(Proposal(stage=bottleneck.stage, workers=workers, wall_s=took))
            before = took
    return Explanation(
        wall_s=run_s,
        replayed_s=replayed,
        bottleneck=None if bottleneck is None else bottleneck.stage,
        findings=findings,
        proposals=tuple(proposals),
    )


def predicted_s(stages: Sequence[RecordedStage], run_s: float, *, cores: int, workers: Mapping[str, int]) -> float:
    """How long the run would have taken with *workers* by stage, the others as they were.

    What the play of the run as it was leaves unexplained (the start, the end) is kept as it is.
    """
    as_it_was = wall_s([_model(stage, stage.workers, cores) for stage in stages])
    changed = wall_s([_model(stage, workers.get(stage.name, stage.workers), cores) for stage in stages])
    return changed + max(0.0, run_s - as_it_was) if workers else as_it_was


def _finding(stages: Sequence[RecordedStage], index: int, run_s: float) -> Finding:
    stage = stages[index]
    worker_s = max(run_s * stage.workers, 1e-9)
    return Finding(
        stage=stage.name,
        busy=min(1.0, stage.work_s / worker_s),
        blocked=min(1.0, stage.blocked_s / worker_s),
        holds_up_s=stages[index - 1].blocked_s if index else 0.0,
    )


def _model(stage: RecordedStage, workers: int, cores: int) -> StageModel:
    units = max(stage.units, 1)
    return StageModel(
        name=stage.name,
        workers=min(workers, cores) if stage.lane in COMPUTING else workers,
        queue_size=stage.queue_size,
        units=units,
        taken=stage.taken,
        given=stage.given,
        times=Times(stage.times, stage.work_s / units),
    )


def _candidates(stage: RecordedStage, cores: int) -> list[int]:
    """Numbers of workers to try: up to four times as many, of a computing lane no more than the cores."""
    wanted = sorted(
        {stage.workers + 1, *(round(stage.workers * factor) for factor in (1.5, 2, 3, 4))} - {stage.workers}
    )
    return [workers for workers in wanted if stage.lane not in COMPUTING or workers <= cores]

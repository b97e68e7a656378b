"""What an attempt leaves for `cableway.explaining`: how long the workers of each stage were busy at a time."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cableway.definition import JsonObject
    from cableway.flow.config import StageConfig
    from cableway.flow.statistics import StageStatistics

FORMAT = 1
"""Of the profile, so that a later version knows what it reads."""


def profile_of(stages: Sequence[JsonObject], *, flow_s: float, loop_s: float) -> JsonObject:
    """The profile of an attempt whose items took *flow_s* seconds, while the event loop computed for *loop_s*."""
    return {"format": FORMAT, "cores": _cores(), "flow_s": flow_s, "loop_s": loop_s, "stages": list(stages)}


def stage_profiles(
    configs: Sequence[StageConfig],
    statistics: Sequence[StageStatistics],
    lanes: Mapping[str, str],
    *,
    serial: frozenset[int],
) -> list[JsonObject]:
    """What each stage adds to it; *serial* are those, by number, that cannot have a second worker.

    *lanes* are those of a stage's blocs, by stage.
    """
    found = {stage.name: stage for stage in statistics}
    return [
        _stage(config, found[config.name], lanes[config.name], serial=number in serial)
        for number, config in enumerate(configs)
        if config.name in found
    ]


def _stage(config: StageConfig, stage: StageStatistics, lane: str, *, serial: bool) -> JsonObject:
    return {
        "name": config.name,
        "lane": lane,
        "workers": config.workers,
        "queue_size": config.queue_size,
        "serial": serial or config.gather is not None,
        "units": stage.units,
        # Of a stage that batches, what came from the stage before and not the batches it was made into.
        "taken": stage.merged or stage.queued - stage.waiting,
        "given": stage.emitted,
        "busy_s": stage.busy_s,
        "blocked_s": stage.blocked_s,
        "firsts_s": list(stage.firsts_s),
        "times": {str(bucket): count for bucket, count in sorted(stage.times.items())},
    }


def _cores() -> int:
    """Processors that this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1

"""What a run tells about itself while it is under way: the seed's statistics, and a line of log now and then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from cableway.flow.run import FlowRun

log = logging.getLogger("cableway.flow")


def statistics_of(run: FlowRun | None, stage_names: Sequence[str]) -> dict[str, Any]:
    """The statistics under the seed's keys. Averages are None, and the rate 0, before anything has ended."""
    stats: dict[str, Any] = {
        "active_items": 0,
        "active_by_stage": {},
        "completed_items": 0,
        "success_rate": 0.0,
        "average_duration_seconds": None,
    }
    stats.update({f"average_{name}_duration_seconds": None for name in stage_names})
    if run is None:
        return stats
    ledger = run.ledger
    ended = ledger.ended
    stats["active_items"] = ledger.emitted - ended
    stats["completed_items"] = ended
    if ended:
        good = sum(count for outcome, count in ledger.outcomes.items() if outcome in {"succeeded", "skipped"})
        stats["success_rate"] = good / ended
        stats["average_duration_seconds"] = ledger.total_ns / ended / 1e9
    for crew in run.crews:
        stage = crew.freeze()
        active = stage.waiting + stage.in_work
        if active:
            stats["active_by_stage"][stage.name] = active
        finished = stage.queued - stage.waiting
        if finished:
            stats[f"average_{stage.name}_duration_seconds"] = stage.work_s / finished
    return stats


class StatsLog:
    """Logs one line every *interval_s* seconds, and one at the end."""

    def __init__(self, run: FlowRun, interval_s: float) -> None:
        self._run = run
        self._interval_s = interval_s
        self._timer = self._set_timer()

    def _set_timer(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._interval_s, self._tell)

    def _tell(self) -> None:
        self._log()
        if not self._run.main.done():
            self._timer = self._set_timer()

    def close(self) -> None:
        """Log how it ended, and no more."""
        self._timer.cancel()
        self._log()

    def _log(self) -> None:
        stages = [crew.freeze() for crew in self._run.crews]
        stats = statistics_of(self._run, [stage.name for stage in stages])
        parts = ", ".join(f"{one.name} {one.done} done, {one.in_work} in work, {one.waiting} waiting" for one in stages)
        log.info(
            "%s: %d active, %d completed, %.1f%% successful; %s",
            self._run.config.pipeline_name,
            stats["active_items"],
            stats["completed_items"],
            100 * stats["success_rate"],
            parts,
        )

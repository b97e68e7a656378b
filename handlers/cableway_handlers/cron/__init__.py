"""Cron: which ticks are due, who decides them, and the loop that sleeps in between."""

from __future__ import annotations

from cableway_handlers.cron.loop import TickLoop
from cableway_handlers.cron.schedulers import (
    CronScheduler,
    CronTrigger,
    SchedulerManager,
    load_scheduler_manager,
    schedule_pipeline,
)

__all__ = [
    "CronScheduler",
    "CronTrigger",
    "SchedulerManager",
    "TickLoop",
    "load_scheduler_manager",
    "schedule_pipeline",
]

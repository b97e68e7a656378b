"""What may be given by name to some of the calls: the filters, policies and options that the API describes."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypedDict

Overlap = Literal["skip", "queue_one", "queue_all", "replace", "allow"]


class RunFilters(TypedDict, total=False):
    """Which runs a list holds; ``since`` and ``until`` are about when they were recorded."""

    pipeline: str | None
    state: str | None
    scheduler: str | None
    trigger: str | None
    since: datetime | None
    until: datetime | None


class LetterFilters(TypedDict, total=False):
    """Which dead letters a list holds."""

    run_id: str | None
    pipeline: str | None
    state: str | None
    stage: str | None
    bloc: str | None
    error_type: str | None


class DeliveryFilters(TypedDict, total=False):
    """Which records of webhooks a list holds."""

    trigger: str | None
    verdict: str | None


class Policies(TypedDict, total=False):
    """How a scheduler deals with its ticks; `docs/schedules.md` has them with their defaults."""

    parameters: dict[str, Any]
    timezone: str
    dst_gap: Literal["run", "skip"]
    catchup: Literal["none", "latest", "all"]
    catchup_window_s: float
    max_catchup_runs: int
    overlap: Overlap | None
    jitter_s: float
    starts_at: datetime | None
    ends_at: datetime | None
    paused: bool
    pause_note: str
    pause_after_failures: int | None


class BackfillOptions(TypedDict, total=False):
    """How far a backfill may go, and what becomes of its runs beside others."""

    at_most: int
    overlap: Overlap


class RunReplay(TypedDict, total=False):
    """Which of a run's dead letters are worked on again, and by which version."""

    stage: str | None
    bloc: str | None
    error_type: str | None
    limit: int
    version: int | None
    latest: bool


class LetterReplay(RunReplay, total=False):
    """The same of letters of any run."""

    letters: list[int]
    run_id: str | None
    pipeline: str | None

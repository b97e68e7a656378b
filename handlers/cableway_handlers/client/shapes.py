"""
What the API answers with, as types: the members that its OpenAPI description has.

Instants are texts in RFC 3339.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class Health(TypedDict):
    """Whether the service is up; its parts only for who may know."""

    status: str
    database: NotRequired[str]
    scheduler: NotRequired[str]


class Bloc(TypedDict):
    """A stored bloc."""

    name: str
    bloc_type: str
    config: dict[str, Any]
    description: str
    revision: int
    created_at: str
    updated_at: str


class BlocType(TypedDict):
    """A bloc type, as it describes itself."""

    name: str
    kind: str
    summary: str
    lanes: list[str]
    config: dict[str, Any]
    example: dict[str, Any]


class PipelineEntry(TypedDict):
    """A pipeline as a list has it."""

    name: str
    version: int
    description: str
    content_hash: str
    archived_at: str | None
    created_at: str
    updated_at: str


class Pipeline(TypedDict):
    """A version of a pipeline, whole."""

    name: str
    version: int
    description: str
    document: dict[str, Any]
    definition: dict[str, Any]
    checked: bool
    content_hash: str
    author: str
    note: str
    previous_version: int | None
    archived_at: str | None
    created_at: str


class VersionEntry(TypedDict):
    """A version of a pipeline as its history has it."""

    pipeline: str
    version: int
    active: bool
    content_hash: str
    author: str
    note: str
    previous_version: int | None
    created_at: str


class Trigger(TypedDict):
    """What starts runs."""

    name: str
    pipeline: str
    kind: str
    expression: str | None
    config: dict[str, Any]
    enabled: bool
    from_document: bool
    revision: int
    created_at: str
    updated_at: str


class Scheduler(TypedDict):
    """What ties a cron trigger to a pipeline."""

    name: str
    pipeline: str
    trigger_name: str
    parameters: dict[str, Any]
    timezone: str
    dst_gap: str
    catchup: str
    catchup_window_s: float
    max_catchup_runs: int
    overlap: str | None
    jitter_s: float
    starts_at: str | None
    ends_at: str | None
    paused: bool
    pause_note: str
    pause_after_failures: int | None
    from_document: bool
    revision: int
    created_at: str
    updated_at: str


class Fire(TypedDict):
    """An instant at which a scheduler is due."""

    at: str
    mark: str


class Preview(TypedDict):
    """When a scheduler is due next."""

    name: str
    state: str
    note: str
    fires: list[Fire]


class Backfill(TypedDict):
    """What a backfill came to, or would come to."""

    scheduler: str
    expression: str
    backfill_id: str | None
    ticks: list[str]
    run_ids: list[str]
    already: int
    not_run: int


class Tick(TypedDict):
    """A tick that made a run, or ticks in a row that made none."""

    scheduler_name: str
    tick_from: str
    tick_to: str
    count: int
    reason: str | None
    run_id: str | None
    detail: str | None
    decided_at: str


class RunEntry(TypedDict):
    """A run as a list has it."""

    run_id: str
    pipeline: str
    version: int
    state: str
    parameters: dict[str, Any]
    key: str | None
    line: str
    parent_run_id: str | None
    replay_of: str | None
    scheduler_name: str | None
    trigger_name: str | None
    scheduled_at: str | None
    trace_id: str | None
    attempt: int
    exit_code: int | None
    counts: dict[str, Any] | None
    rows_in: int
    rows_out: int
    spans_dropped: int
    outputs: dict[str, Any] | None
    error: dict[str, Any] | None
    created_at: str
    started_at: str | None
    ended_at: str | None


class Attempt(TypedDict):
    """One container's work on a run."""

    attempt: int
    state: str
    external_id: str | None
    exit_code: int | None
    reason: str | None
    trace_id: str | None
    started_at: str | None
    ended_at: str | None


class Stage(TypedDict):
    """What one stage, or one of its blocs, did."""

    stage: str
    bloc: str | None
    lane: str
    items: int
    rows: int
    failed: int
    skipped: int
    retries: int
    work_s: float
    wait_s: float
    blocked_s: float
    workers: int


class Run(RunEntry):
    """A run with its attempts and stages."""

    attempts: list[Attempt]
    stages: list[Stage]


class Finding(TypedDict):
    """How one stage spent a run."""

    stage: str
    busy: float
    blocked: float
    holds_up_s: float


class Proposal(TypedDict):
    """What a run would have taken with other numbers of workers."""

    stage: str
    workers: int
    wall_s: float
    vcpu_s: float


class Explanation(TypedDict):
    """Where the time of a run's last recorded attempt went."""

    run_id: str
    attempt: int
    cores: int
    wall_s: float
    vcpu_s: float
    start_s: float
    replayed_s: float
    bottleneck: str | None
    findings: list[Finding]
    proposals: list[Proposal]
    no_more: str | None


class Span(TypedDict):
    """A span of a run's trace; its times are nanoseconds since 1970."""

    trace_id: str
    span_id: str
    parent_span_id: str | None
    name: str
    kind: str
    start_ns: int
    end_ns: int
    status: str
    attributes: dict[str, Any]
    events: list[dict[str, Any]]


class DeadLetter(TypedDict):
    """A unit that failed for good."""

    letter_id: int
    run_id: str
    attempt: int
    item_id: str
    stage: str
    bloc: str
    state: str
    error_type: str
    message: str
    stack: str | None
    attempts: int
    payload: Any
    payload_bytes: int
    payload_at: str | None
    shape: str
    replay_run_id: str | None
    trace_id: str | None
    span_id: str | None
    created_at: str
    pipeline: str


class Replayed(TypedDict):
    """A run that works on something again."""

    run_id: str
    replay_of: str
    stage: str
    letters: int


class Limit(TypedDict):
    """A limit that all runs share, with what they have taken of it."""

    name: str
    concurrency: int | None
    rate: float | None
    period_s: float
    slots_taken: int
    updated_at: str


class Hook(TypedDict):
    """A webhook as its sender must know it."""

    name: str
    pipeline: str
    enabled: bool
    auth: str
    path: str


class Delivery(TypedDict):
    """The record of a webhook."""

    delivery_id: str
    trigger_name: str
    pipeline: str | None
    received_at: str
    verdict: str
    status: int
    step: str | None
    error: str | None
    key: str | None
    run_id: str | None
    headers: dict[str, Any]
    body_bytes: int
    body_kept: bool

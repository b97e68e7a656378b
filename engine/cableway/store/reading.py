"""
What can be read of runs and definitions, as rows that do not change.

Each function gives the steps to read it, for either executor to drive: ``executor.drive(read_run(run_id))``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from cableway.definition import JsonObject, PipelineDefinition
from cableway.errors import UnknownPipelineError, UnknownRunError
from cableway.store.executor import Row, Step, Steps
from cableway.store.ids import is_id
from cableway.store.port import RunState, SpanRow, StageRecord
from cableway.store.storable import storable_text

Catchup = Literal["none", "latest", "all"]
Overlap = Literal["skip", "queue_one", "queue_all", "replace", "allow"]
DstGap = Literal["run", "skip"]

MOST_ROWS = 1_000
"""Rows that one question brings back at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run as it stands."""

    run_id: str
    pipeline: str
    version: int
    state: RunState
    parameters: Mapping[str, Any]
    key: str | None
    line: str
    parent_run_id: str | None
    replay_of: str | None
    scheduler_name: str | None
    trigger_name: str | None
    scheduled_at: datetime | None
    trace_id: str | None
    attempt: int
    exit_code: int | None
    counts: Mapping[str, int] | None
    rows_in: int
    rows_out: int
    spans_dropped: int
    outputs: Mapping[str, Any] | None
    error: JsonObject | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def duration_s(self) -> float | None:
        """Seconds from the first attempt's start to the end; None while there is no end."""
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """One container's work on a run."""

    attempt: int
    state: str
    external_id: str | None
    exit_code: int | None
    reason: str | None
    trace_id: str | None
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDetails:
    """A run with its attempts, and the stages of the last one that recorded any."""

    run: RunRow
    attempts: tuple[AttemptRow, ...]
    stages: tuple[StageRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterRow:
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
    """Where a payload is that was too large for its row."""
    shape: Literal["data", "row"]
    """``row``: the payload is one row that a bloc refused, else an item's data by bloc."""
    replay_run_id: str | None
    """The run that works on it again, or did last."""
    trace_id: str | None
    span_id: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRow:
    """A pipeline, by the version that is active."""

    name: str
    version: int
    description: str
    content_hash: str
    archived_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRow:
    """One version of a pipeline, whole."""

    pipeline: str
    version: int
    definition: PipelineDefinition
    checked: bool
    """Against the code of its bloc types, when it was saved."""
    content_hash: str
    source: Any
    """The document as it was written, with stored blocs by name."""
    author: str
    note: str
    previous_version: int | None
    """What was active before it; `DatabaseStorage.roll_back` goes there."""
    bloc_names: Sequence[str]
    """The stored blocs that its source names."""
    created_at: datetime
    archived_at: datetime | None
    """Of the pipeline: since when it takes no new runs."""

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionEntry:
    """One version of a pipeline, as its history lists it."""

    pipeline: str
    version: int
    active: bool
    content_hash: str
    author: str
    note: str
    previous_version: int | None
    created_at: datetime

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class BlocRow:
    """A bloc that pipelines name."""

    name: str
    bloc_type: str
    config: JsonObject
    description: str
    revision: int
    """Counts its changes, for those who must know whether it is still what they saw."""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerRow:
    """What starts runs of a pipeline, which need not be there yet."""

    name: str
    pipeline: str
    kind: str
    expression: str | None
    config: JsonObject
    enabled: bool
    from_document: bool
    """Its pipeline's document lists it, and changes it along."""
    revision: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerRow:
    """What ties a cron trigger to a pipeline, with the policies for its ticks."""

    name: str
    pipeline: str
    trigger_name: str
    parameters: Mapping[str, Any]
    timezone: str
    dst_gap: DstGap
    catchup: Catchup
    catchup_window_s: float
    max_catchup_runs: int
    overlap: Overlap | None
    """None: as the pipeline says."""
    jitter_s: float
    starts_at: datetime | None
    ends_at: datetime | None
    paused: bool
    pause_note: str
    pause_after_failures: int | None
    from_document: bool
    revision: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BlocTypeRow:
    """A bloc type as its code described itself when it was published."""

    name: str
    description: JsonObject
    version: str
    """Of the distribution that brings it."""
    content_hash: str
    published_at: datetime


def read_runs(
    *, pipeline: str | None = None, state: RunState | None = None, limit: int = 20
) -> Steps[tuple[RunRow, ...]]:
    """The newest runs first, at most *limit* of them."""
    rows = yield Step("runs", {"pipeline": pipeline, "state": state, "limit": min(limit, MOST_ROWS)})
    return tuple(_run(row) for row in rows)


def read_run(run_id: str) -> Steps[RunDetails]:
    """A run with its attempts and stages. Raise `UnknownRunError` where there is none of this id."""
    rows = (yield Step("run", {"run_id": run_id})) if is_id(run_id) else []
    if not rows:
        raise UnknownRunError(f"no run {storable_text(run_id)[:80]!r}")
    attempts = yield Step("attempts", {"run_id": run_id})
    stages = yield Step("stages", {"run_id": run_id})
    return RunDetails(
        run=_run(rows[0]),
        attempts=tuple(AttemptRow(**row) for row in attempts),
        stages=tuple(StageRecord(**row) for row in stages),
    )


def read_dead_letters(run_id: str, *, limit: int = MOST_ROWS) -> Steps[tuple[DeadLetterRow, ...]]:
    """A run's dead letters, oldest first."""
    rows = (yield Step("dead_letters", {"run_id": run_id, "limit": min(limit, MOST_ROWS)})) if is_id(run_id) else []
    return tuple(DeadLetterRow(**row) for row in rows)


def read_spans(run_id: str) -> Steps[tuple[SpanRow, ...]]:
    """The spans that were kept of a run, by their start."""
    rows = (yield Step("spans", {"run_id": run_id})) if is_id(run_id) else []
    return tuple(SpanRow(**row) for row in rows)


def read_pipelines() -> Steps[tuple[PipelineRow, ...]]:
    """Every pipeline by name, archived ones included."""
    rows = yield Step("pipelines", {})
    return tuple(PipelineRow(**row) for row in rows)


def read_version(pipeline: str, version: int | None = None) -> Steps[VersionRow]:
    """A version of a pipeline, by default the active one. Raise `UnknownPipelineError` where there is none."""
    rows = yield Step("version", {"pipeline": storable_text(pipeline), "version": version})
    if not rows:
        raise _no_pipeline(pipeline, version)
    row = dict(rows[0])
    return VersionRow(definition=PipelineDefinition.restore(row.pop("document")), **row)


def read_versions(pipeline: str) -> Steps[tuple[VersionEntry, ...]]:
    """A pipeline's history, newest first. Raise `UnknownPipelineError` where there is none."""
    rows = yield Step("versions", {"pipeline": storable_text(pipeline)})
    if not rows:
        raise _no_pipeline(pipeline, None)
    return tuple(VersionEntry(**row) for row in rows)


def read_blocs(name: str | None = None) -> Steps[tuple[BlocRow, ...]]:
    """Every bloc by name, or the one of this name."""
    rows = yield Step("blocs", {"name": _text(name)})
    return tuple(BlocRow(**row) for row in rows)


def read_triggers(name: str | None = None) -> Steps[tuple[TriggerRow, ...]]:
    """Every trigger by name, or the one of this name."""
    rows = yield Step("triggers", {"name": _text(name)})
    return tuple(TriggerRow(**row) for row in rows)


def read_schedulers(name: str | None = None, *, trigger: str | None = None) -> Steps[tuple[SchedulerRow, ...]]:
    """Every scheduler by name, or the one of this name, or those of a trigger."""
    rows = yield Step("schedulers", {"name": _text(name), "trigger": _text(trigger)})
    return tuple(SchedulerRow(**row) for row in rows)


def read_bloc_types(name: str | None = None) -> Steps[tuple[BlocTypeRow, ...]]:
    """Every published bloc type by name, or the one of this name."""
    rows = yield Step("bloc_types", {"name": _text(name)})
    return tuple(BlocTypeRow(**row) for row in rows)


def _text(name: str | None) -> str | None:
    return None if name is None else storable_text(name)


def _no_pipeline(name: str, version: int | None) -> UnknownPipelineError:
    which = "" if version is None else f"version {version} of "
    return UnknownPipelineError(f"no {which}pipeline {storable_text(name)[:80]!r}")


def _run(row: Row) -> RunRow:
    fields: Row = {**row, "state": RunState(row["state"])}
    return RunRow(**fields)

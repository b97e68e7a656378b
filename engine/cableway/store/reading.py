"""
What can be read of runs and definitions, as rows that do not change.

Each function gives the steps to read it, for either executor to drive: ``executor.drive(read_run(run_id))``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cableway.definition import JsonObject, PipelineDefinition
from cableway.errors import UnknownPipelineError, UnknownRunError
from cableway.store.executor import Row, Step, Steps
from cableway.store.ids import is_id
from cableway.store.port import RunState, SpanRow, StageRecord
from cableway.store.storable import storable_text

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
    """One version of a pipeline. ``checked``: against the code of its bloc types, when it was saved."""

    pipeline: str
    version: int
    definition: PipelineDefinition
    checked: bool
    content_hash: str
    source: Any
    author: str
    note: str
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
    created_at: datetime
    updated_at: datetime


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
        which = "" if version is None else f"version {version} of "
        raise UnknownPipelineError(f"no {which}pipeline {storable_text(pipeline)[:80]!r}")
    row = dict(rows[0])
    return VersionRow(definition=PipelineDefinition.restore(row.pop("document")), **row)


def read_blocs(name: str | None = None) -> Steps[tuple[BlocRow, ...]]:
    """Every bloc by name, or the one of this name."""
    rows = yield Step("blocs", {"name": name})
    return tuple(BlocRow(**row) for row in rows)


def read_triggers(name: str | None = None) -> Steps[tuple[TriggerRow, ...]]:
    """Every trigger by name, or the one of this name."""
    rows = yield Step("triggers", {"name": name})
    return tuple(TriggerRow(**row) for row in rows)


def _run(row: Row) -> RunRow:
    fields: Row = {**row, "state": RunState(row["state"])}
    return RunRow(**fields)

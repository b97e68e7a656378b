"""
Definitions, runs and what hangs on them, page by page: for the API, which never brings back everything at once.

Each function gives the steps of one page. ``pipelines`` are those that the caller may see, None for all;
``after`` is where the page before it ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from cableway.store.executor import Row, Step, Steps
from cableway.store.ids import is_id
from cableway.store.port import RunState
from cableway.store.reading import (
    BlocRow,
    DeadLetterRow,
    PipelineRow,
    RunRow,
    SchedulerRow,
    TriggerRow,
    VersionEntry,
)
from cableway.store.storable import storable_text

Seen: TypeAlias = Sequence[str] | None
"""Pipelines that a caller may see; None: all."""

MAX_BIGINT = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterRow(DeadLetterRow):
    """A dead letter with its run's pipeline."""

    pipeline: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRow:
    """The record of a webhook, without its body."""

    delivery_id: str
    trigger_name: str
    pipeline: str | None
    """Of the trigger as it is now; None where that is gone."""
    received_at: datetime
    verdict: str
    """``accepted``, ``replayed``, ``filtered`` or ``refused``."""
    status: int
    """What it was answered with."""
    step: str | None
    """At which it was refused: form, signature, rate, idempotency, mapping or overlap."""
    error: str | None
    """The code of the problem."""
    key: str | None
    run_id: str | None
    headers: Mapping[str, Any]
    """Masked where they may hold a secret."""
    body_bytes: int
    body_kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs are asked for; None does not narrow."""

    pipeline: str | None = None
    state: RunState | None = None
    scheduler: str | None = None
    trigger: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFilter:
    """Which dead letters are asked for; None does not narrow."""

    letter_id: int | None = None
    run_id: str | None = None
    pipeline: str | None = None
    state: str | None = None
    stage: str | None = None
    bloc: str | None = None
    error_type: str | None = None


def page_of_blocs(after: str | None, limit: int, *, bloc_type: str | None = None) -> Steps[tuple[BlocRow, ...]]:
    """Blocs by name."""
    rows = yield Step("page_of_blocs", _texts(after=after, bloc_type=bloc_type) | {"limit": limit})
    return tuple(BlocRow(**row) for row in rows)


def page_of_pipelines(
    after: str | None, limit: int, pipelines: Seen, *, archived: bool | None = None
) -> Steps[tuple[PipelineRow, ...]]:
    """Pipelines by name."""
    values = {**_texts(after=after), "archived": archived, "pipelines": _list(pipelines), "limit": limit}
    rows = yield Step("page_of_pipelines", values)
    return tuple(PipelineRow(**row) for row in rows)


def page_of_versions(pipeline: str, after: int | None, limit: int) -> Steps[tuple[VersionEntry, ...]]:
    """A pipeline's versions, newest first."""
    rows = yield Step("page_of_versions", {**_texts(pipeline=pipeline), "after": after, "limit": limit})
    return tuple(VersionEntry(**row) for row in rows)


def page_of_triggers(
    after: str | None, limit: int, pipelines: Seen, *, pipeline: str | None = None, kind: str | None = None
) -> Steps[tuple[TriggerRow, ...]]:
    """Triggers by name."""
    values = _texts(after=after, pipeline=pipeline, kind=kind)
    rows = yield Step("page_of_triggers", {**values, "pipelines": _list(pipelines), "limit": limit})
    return tuple(TriggerRow(**row) for row in rows)


def page_of_schedulers(
    after: str | None, limit: int, pipelines: Seen, *, pipeline: str | None = None, paused: bool | None = None
) -> Steps[tuple[SchedulerRow, ...]]:
    """Schedulers by name."""
    values = {**_texts(after=after, pipeline=pipeline), "paused": paused}
    rows = yield Step("page_of_schedulers", {**values, "pipelines": _list(pipelines), "limit": limit})
    return tuple(SchedulerRow(**row) for row in rows)


def page_of_runs(
    after: tuple[datetime, str] | None, limit: int, pipelines: Seen, wanted: RunFilter
) -> Steps[tuple[RunRow, ...]]:
    """Runs, newest first."""
    at, run_id = after or (None, None)
    values = _texts(pipeline=wanted.pipeline, scheduler=wanted.scheduler, trigger=wanted.trigger, state=wanted.state)
    values |= {"since": wanted.since, "until": wanted.until, "pipelines": _list(pipelines), "limit": limit}
    rows = yield Step("page_of_runs", {**values, "after_at": at, "after_id": run_id})
    return tuple(_run(row) for row in rows)


def page_of_dead_letters(
    after: int | None, limit: int, pipelines: Seen, wanted: LetterFilter
) -> Steps[tuple[LetterRow, ...]]:
    """Dead letters, newest first."""
    if wanted.run_id is not None and not is_id(wanted.run_id):
        return ()
    texts = {"pipeline": wanted.pipeline, "state": wanted.state, "stage": wanted.stage, "bloc": wanted.bloc}
    values = _texts(**texts, error_type=wanted.error_type)
    values |= {"run_id": wanted.run_id, "letter_id": wanted.letter_id, "pipelines": _list(pipelines)}
    rows = yield Step("page_of_dead_letters", {**values, "after": after, "limit": limit})
    return tuple(LetterRow(**row) for row in rows)


def page_of_deliveries(
    after: tuple[datetime, str] | None,
    limit: int,
    pipelines: Seen,
    *,
    trigger: str | None = None,
    verdict: str | None = None,
    delivery_id: str | None = None,
) -> Steps[tuple[DeliveryRow, ...]]:
    """Records of webhooks, newest first."""
    if delivery_id is not None and not is_id(delivery_id):
        return ()
    at, last_id = after or (None, None)
    values = {**_texts(trigger=trigger, verdict=verdict), "delivery_id": delivery_id, "pipelines": _list(pipelines)}
    rows = yield Step("page_of_deliveries", {**values, "after_at": at, "after_id": last_id, "limit": limit})
    return tuple(DeliveryRow(**row) for row in rows)


def _run(row: Row) -> RunRow:
    fields: Row = {**row, "state": RunState(row["state"])}
    return RunRow(**fields)


def _texts(**texts: str | None) -> dict[str, Any]:
    return {name: None if text is None else storable_text(text) for name, text in texts.items()}


def _list(pipelines: Seen) -> list[str] | None:
    return None if pipelines is None else list(pipelines)

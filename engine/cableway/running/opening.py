"""From what was asked for to a store with a run in it (recorded already, recorded now, or of a file), and the claim."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from cableway import failpoints
from cableway.errors import InterruptedRunError, UsageError
from cableway.store.port import Claimed, Ended, Full, Held

if TYPE_CHECKING:
    from cableway.catalog import Catalog
    from cableway.definition import PipelineDefinition
    from cableway.running.excerpt import Excerpt
    from cableway.running.stopping import Signals, Stop
    from cableway.settings import Settings
    from cableway.store.port import RunStore

FULL_PAUSES_S = (0.5, 1, 2, 4, 8, 15, 15, 15)
"""Seconds between two looks whether a run may begin, before it is left to a sweep."""

log = logging.getLogger("cableway.job")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """What to run: a recorded run by its id, a pipeline by name (recorded first), or a file (no database)."""

    run_id: str | None = None
    pipeline: str | None = None
    file: str | None = None
    key: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    excerpt: Excerpt | None = None
    """A part of a pipeline or file to try out; such a run is recorded nowhere."""
    partial_ok: bool = False
    """Exit with 0 where items failed and some succeeded."""


@dataclass(slots=True)
class Opened:
    """A store with a run in it, and how to open another one like it for the heartbeat."""

    store: RunStore
    another: Callable[[], RunStore]
    run_id: str
    excerpt: Excerpt | None = None
    partial_ok: bool = False


def open_run(request: JobRequest, settings: Settings) -> Opened:
    """Find or record the run. Nothing is recorded where this raises (78, 69 or 77: their errors)."""
    if request.excerpt is not None and (request.run_id or request.key) is not None:
        raise UsageError("a part of a pipeline is tried out without a key, and is no recorded run")
    if request.file is not None or request.excerpt is not None:
        return _unrecorded(request, settings)
    from cableway.store.postgres import PostgresRunStore

    database = settings.state_database
    store = PostgresRunStore(database)
    run_id = request.run_id if request.run_id is not None else _recorded(request, store, settings.execution)
    return Opened(store, lambda: PostgresRunStore(database, patience_s=0), run_id, partial_ok=request.partial_ok)


def claim_run(
    opened: Opened, execution: str | None, wait: Callable[[float], object], signals: Signals, stop: Stop
) -> tuple[float, Claimed | Held | Full | Ended]:
    """The claim, and the monotonic time just before it; where the run is held or full, after *wait*ing for a while.

    Once it is claimed a signal asks *stop*.
    """
    pauses_s = iter(FULL_PAUSES_S)
    was_held = False
    while True:
        asked_at = time.monotonic()
        with signals.held_back():
            claim = opened.store.claim(opened.run_id, external_id=execution)
            if isinstance(claim, Claimed):
                failpoints.reach("claimed")
                signals.drain_by(partial(stop.ask, InterruptedRunError("the run was stopped by a signal")))
        if isinstance(claim, Held) and not was_held:
            log.info("run %s is held by another attempt; waiting %.0f s", opened.run_id, claim.expires_in_s)
            was_held, pause_s = True, claim.expires_in_s + 1
        elif isinstance(claim, Full) and (pause := next(pauses_s, None)) is not None:
            log.info("run %s waits for a place: others of its pipeline are at work", opened.run_id)
            pause_s = pause
        else:
            return asked_at, claim
        wait(pause_s)


def _recorded(request: JobRequest, store: object, execution: str | None) -> str:
    from cableway.runs import RunRequest, record_run
    from cableway.store.postgres import PostgresRunStore

    if request.pipeline is None or not isinstance(store, PostgresRunStore):
        raise UsageError("which run? Give a run id, or the name of a pipeline")
    # What the platform repeats is the same run, unless somebody says otherwise.
    key = request.key or (None if execution is None else f"execution:{execution}")
    wanted = RunRequest(pipeline=request.pipeline, texts=request.parameters, key=key)
    return record_run(store.session, wanted).run_id


def _unrecorded(request: JobRequest, settings: Settings) -> Opened:
    """A run in memory, of a file or of an excerpt."""
    from cableway.catalog import Catalog
    from cableway.store.memory import MemoryRunStore

    catalog, excerpt = Catalog(settings.blocs), request.excerpt
    whole = _definition(request, settings, catalog)
    store = MemoryRunStore()
    definition = whole if excerpt is None else excerpt.of(whole, catalog)
    run_id = store.add_run(definition, texts=request.parameters, key=request.key)
    return Opened(store, lambda: store, run_id, excerpt, partial_ok=request.partial_ok)


def _definition(request: JobRequest, settings: Settings, catalog: Catalog) -> PipelineDefinition:
    from cableway.checks import check_definition, check_document, read_document

    if request.file is not None:
        return check_document(read_document(request.file), catalog=catalog)
    if request.pipeline is None:
        raise UsageError("a part of what? Give the name of a pipeline, or a file")
    from cableway.store.reading import read_version
    from cableway.store.session import Session

    with closing(Session(settings.state_database)) as session:
        version = session.drive(read_version(request.pipeline))
    return version.definition if version.checked else check_definition(version.definition, catalog=catalog)

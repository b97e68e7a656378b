"""
`DatabaseStorage`: blocs, pipelines, triggers and schedulers in Postgres, and what became of runs.

Saving checks first: what is faulty is not stored, and every fault is named at once. A pipeline is stored
with its blocs resolved, as an immutable numbered version; saving what has not changed makes none. Each
call is one transaction, so that it has happened whole or not at all.

Above 400 lines, because each thing that can be done is a method of its own, and none is longer than its docstring.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from cableway.catalog import Catalog
from cableway.definition import PipelineDefinition
from cableway.definitions.difference import Change, differences
from cableway.errors import CablewayError, UnknownNameError
from cableway.partitions import RecordedParts, recording_parts
from cableway.replays import LetterWish, Replayed, redo, replay, retry
from cableway.runs import RecordedRun, RunRequest, cancel_run, record_run
from cableway.settings import DatabaseSettings, Settings
from cableway.store.executor import Result, Steps
from cableway.store.reading import (
    BlocRow,
    BlocTypeRow,
    DeadLetterRow,
    Overlap,
    PipelineRow,
    RunDetails,
    RunRow,
    SchedulerRow,
    TriggerRow,
    VersionEntry,
    VersionRow,
    read_bloc_types,
    read_blocs,
    read_dead_letters,
    read_pipelines,
    read_run,
    read_runs,
    read_schedulers,
    read_spans,
    read_triggers,
    read_version,
    read_versions,
)
from cableway.store.session import Session
from cableway.stored import bloc_types, blocs, limits, schedulers, triggers, versions
from cableway.stored.backfills import MOST_TICKS, Backfill, backfill, request_now
from cableway.stored.bloc_types import Publication
from cableway.stored.blocs import ChangedBloc
from cableway.stored.changes import TriggerChange, noting
from cableway.stored.limits import LimitRow
from cableway.stored.lines import LineRow, open_epoch, read_lines
from cableway.stored.names import only
from cableway.stored.ticks import TickRow, read_ticks
from cableway.stored.versions import SavedVersion, Signature

if TYPE_CHECKING:
    from types import TracebackType

    from cableway.store.port import RunState, SpanRow

__all__ = ["Backfill", "ChangedBloc", "DatabaseStorage", "Publication", "SavedVersion", "TickRow", "TriggerChange"]

log = logging.getLogger("cableway.storage")


class DatabaseStorage:
    """Definitions and runs in one database. To be closed, or used as a context manager; serves one thread at a time.

    Its ``session`` drives what `cableway.store.reading` has beside it.
    """

    def __init__(self, database: DatabaseSettings, *, catalog: Catalog | None = None) -> None:
        self.session = Session(database)
        self._catalog = Catalog() if catalog is None else catalog
        self._listeners: list[Callable[[TriggerChange], object]] = []

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The storage that *settings* name. Raise `SettingsError` where they name none."""
        return cls(settings.state_database, catalog=Catalog(settings.blocs))

    def __enter__(self) -> Self:
        """Connect, and create the schema where there is none. Raise `SchemaVersionError` on another version's."""
        self.session.ensure_schema()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self.session.close()

    def check_connection(self) -> bool:
        """Whether the database answers, at once, and its schema is this version's."""
        session = Session(self.session.settings, patience_s=0)
        try:
            session.ensure_schema()
        except CablewayError:
            return False
        finally:
            session.close()
        return True

    def create_bloc(
        self, name: str, bloc_type: str, config: Mapping[str, Any] | None = None, *, description: str = ""
    ) -> BlocRow:
        """Store a bloc for pipelines to name. Raise `DefinitionError` where it is faulty or the name is taken."""
        return self._write(blocs.create(name, bloc_type, config or {}, description, self._catalog))

    def get_bloc(self, name: str) -> BlocRow:
        """The bloc of this name. Raise `UnknownNameError` where there is none."""
        return only("bloc", name, self.session.drive(read_blocs(name)))

    def list_blocs(self) -> tuple[BlocRow, ...]:
        """Every bloc by name."""
        return self.session.drive(read_blocs())

    def update_bloc(
        self,
        name: str,
        *,
        bloc_type: str | None = None,
        config: Mapping[str, Any] | None = None,
        description: str | None = None,
        expected_revision: int | None = None,
        author: str = "",
        note: str = "",
    ) -> ChangedBloc:
        """Change what is given, and make a new version of each pipeline that names the bloc.

        Raise `UnknownNameError`; `ConflictError` where it is not at *expected_revision* any more; `DefinitionError`
        with every fault, in the bloc or in any of those pipelines. Then nothing has changed.
        """
        steps = blocs.update(
            name,
            self._catalog,
            Signature(author=author, note=note),
            bloc_type=bloc_type,
            config=config,
            description=description,
            expected_revision=expected_revision,
        )
        return self._write(steps)

    def delete_bloc(self, name: str, *, expected_revision: int | None = None) -> None:
        """Delete a bloc that no pipeline names. Raise `InUseError` with those that do, else as `update_bloc`."""
        self._write(blocs.delete(name, expected_revision=expected_revision))

    def create_pipeline(
        self, name: str, stages: Sequence[Any], *, author: str = "", note: str = "", **document: Any
    ) -> SavedVersion:
        """Store a new pipeline; *stages* as in a document, or as lists of the names of stored blocs.

        More keys of a document (``parameters``, ``settings``, ``description``) may be given by name. One that was
        deleted comes back by it, with its history. Raise `DefinitionError` with every fault, `TakenError` where the
        name is taken: `update_pipeline` and `save_pipeline` change one.
        """
        source = {"name": name, "stages": stages, **document}
        return self._write(versions.save(source, self._catalog, Signature(author=author, note=note), only_new=True))

    def save_pipeline(
        self,
        document: Mapping[str, Any] | PipelineDefinition,
        *,
        expected_version: int | None = None,
        author: str = "",
        note: str = "",
    ) -> SavedVersion:
        """Check *document* and store it as the active version of its pipeline, unless that says the same.

        Blocs that it names are resolved now, and the triggers that it lists are made, changed and deleted with it.
        Raise `DefinitionError` with every fault, `ConflictError` where *expected_version* is no longer the active one.
        """
        signature = Signature(author=author, note=note)
        return self._write(versions.save(document, self._catalog, signature, expected_version=expected_version))

    def apply(
        self, documents: Sequence[Mapping[str, Any]], *, archive: Sequence[str] = (), author: str = "", note: str = ""
    ) -> tuple[SavedVersion, ...]:
        """Save all of *documents* and archive the pipelines named, or, where that raises, do nothing of it."""
        return self._write(versions.save_all(documents, archive, self._catalog, Signature(author=author, note=note)))

    def update_pipeline(
        self,
        name: str,
        *,
        expected_version: int | None = None,
        author: str = "",
        note: str = "",
        **changes: Any,
    ) -> SavedVersion:
        """Save the pipeline with *changes* to keys of its document; None takes a key away.

        Raise `UnknownPipelineError` where there is none or it was deleted, else as `save_pipeline`.
        """
        signature = Signature(author=author, note=note)
        return self._write(versions.change(name, changes, self._catalog, signature, expected_version=expected_version))

    def delete_pipeline(self, name: str, *, expected_version: int | None = None) -> None:
        """Archive the pipeline: it takes no new runs and its triggers do nothing; versions and runs stay.

        Raise `UnknownPipelineError`, or `ConflictError` as `save_pipeline` does.
        """
        self._write(versions.archive(name, expected_version=expected_version))

    def get_pipeline(self, name: str, version: int | None = None) -> VersionRow:
        """A version of the pipeline, by default the active one. Raise `UnknownPipelineError` where there is none."""
        return self.session.drive(read_version(name, version))

    def list_pipelines(self) -> tuple[PipelineRow, ...]:
        """Every pipeline by name, archived ones included."""
        return self.session.drive(read_pipelines())

    def list_versions(self, name: str) -> tuple[VersionEntry, ...]:
        """The pipeline's versions, newest first. Raise `UnknownPipelineError` where there is none."""
        return self.session.drive(read_versions(name))

    def activate(self, name: str, version: int, *, expected_version: int | None = None) -> SavedVersion:
        """Pin new runs to *version*; those that are there keep theirs. A deleted pipeline comes back by it.

        Raise `UnknownPipelineError`, or `ConflictError` as `save_pipeline` does.
        """
        return self._write(versions.activate(name, version, expected_version=expected_version))

    def roll_back(self, name: str, *, expected_version: int | None = None) -> SavedVersion:
        """Activate the version that was active when the present one was made, which never leads back to a bad one.

        Raise `DefinitionError` where there was none before, else as `activate`.
        """
        return self._write(versions.roll_back(name, expected_version=expected_version))

    def diff(self, name: str, a: int, b: int | None = None) -> tuple[Change, ...]:
        """What version *b* (by default the active one) says otherwise than version *a*, place by place.

        Raise `UnknownPipelineError` where one of them is not there.
        """
        before, after = self.get_pipeline(name, a), self.get_pipeline(name, b)
        return tuple(differences(before.definition.document(), after.definition.document()))

    def create_trigger(
        self,
        name: str,
        pipeline: str,
        expression: str | None = None,
        *,
        kind: str = "cron",
        config: Mapping[str, Any] | None = None,
        enabled: bool = True,
    ) -> TriggerRow:
        """Store what starts runs of *pipeline*, which need not be there yet: without it the trigger does nothing.

        A trigger of kind ``cron`` has an *expression*; others (``webhook``, ``event``, ``person``) have none.
        Raise `DefinitionError` where it is faulty or the name is taken.
        """
        values = {
            "name": name,
            "pipeline": pipeline,
            "kind": kind,
            "expression": expression,
            "config": dict(config or {}),
            "enabled": enabled,
        }
        return self._write(triggers.create(values))

    def get_trigger(self, name: str) -> TriggerRow:
        """The trigger of this name. Raise `UnknownNameError` where there is none."""
        return only("trigger", name, self.session.drive(read_triggers(name)))

    def list_triggers(self) -> tuple[TriggerRow, ...]:
        """Every trigger by name."""
        return self.session.drive(read_triggers())

    def update_trigger(
        self,
        name: str,
        *,
        pipeline: str | None = None,
        expression: str | None = None,
        config: Mapping[str, Any] | None = None,
        enabled: bool | None = None,
        expected_revision: int | None = None,
    ) -> TriggerRow:
        """Change what is given. Raise `UnknownNameError`, `ConflictError` or `DefinitionError`."""
        changes = {
            "pipeline": pipeline,
            "expression": expression,
            "config": None if config is None else dict(config),
            "enabled": enabled,
        }
        return self._write(triggers.update(name, changes, expected_revision=expected_revision))

    def delete_trigger(self, name: str, *, expected_revision: int | None = None) -> None:
        """Delete a trigger that no scheduler names. Raise `InUseError` with those that do, else as `update_trigger`."""
        self._write(triggers.delete(name, expected_revision=expected_revision))

    def add_trigger_listener(self, callback: Callable[[TriggerChange], object]) -> Callable[[], None]:
        """Call *callback* after each change that this storage makes to a trigger or a scheduler; return how to stop it.

        The change holds whatever the callback does. `cableway.stored.watching.TriggerWatch` hears of others'.
        """
        self._listeners.append(callback)

        def stop() -> None:
            if callback in self._listeners:
                self._listeners.remove(callback)

        return stop

    def create_scheduler(self, name: str, pipeline: str, trigger: str, **policies: Any) -> SchedulerRow:
        """Tie the cron trigger *trigger* to *pipeline*, which need not be there yet: without it nothing runs.

        *policies* are those of `SchedulerRow` from ``parameters`` to ``pause_after_failures``. Raise `DefinitionError`
        with every fault, `TakenError` where the name is taken.
        """
        return self._write(schedulers.create(name, pipeline, trigger, policies))

    def get_scheduler(self, name: str) -> SchedulerRow:
        """The scheduler of this name. Raise `UnknownNameError` where there is none."""
        return only("scheduler", name, self.session.drive(read_schedulers(name)))

    def list_schedulers(self) -> tuple[SchedulerRow, ...]:
        """Every scheduler by name."""
        return self.session.drive(read_schedulers())

    def update_scheduler(
        self,
        name: str,
        *,
        pipeline: str | None = None,
        trigger: str | None = None,
        expected_revision: int | None = None,
        **policies: Any,
    ) -> SchedulerRow:
        """Change what is given. Raise `UnknownNameError`, `ConflictError`, or `DefinitionError` with every fault."""
        named = {"pipeline": pipeline, "trigger_name": trigger}
        changes = {key: value for key, value in named.items() if value is not None} | policies
        return self._write(schedulers.update(name, changes, expected_revision=expected_revision))

    def delete_scheduler(self, name: str, *, expected_revision: int | None = None) -> None:
        """Delete the scheduler; what it has run stays. Raise `UnknownNameError` or `ConflictError`."""
        self._write(schedulers.delete(name, expected_revision=expected_revision))

    def pause_scheduler(self, name: str, note: str = "") -> SchedulerRow:
        """Let it start no more runs until it is resumed; *note* says why. Raise `UnknownNameError`."""
        return self._write(schedulers.pause(name, note))

    def resume_scheduler(self, name: str) -> SchedulerRow:
        """Let it go on with its next tick; those in between stay on record without runs. Raise `UnknownNameError`."""
        return self._write(schedulers.resume(name))

    def trigger_scheduler(
        self, name: str, parameters: Mapping[str, Any] | None = None, *, texts: Mapping[str, str] | None = None
    ) -> RecordedRun:
        """Record the run that the scheduler would start, with *parameters* and *texts* over its own; for no tick.

        Raise `UnknownNameError`, or as `record_run`.
        """
        return record_run(self.session, self.session.drive(request_now(name, parameters, texts)))

    def backfill_scheduler(
        self,
        name: str,
        *,
        since: datetime,
        until: datetime,
        at_most: int = MOST_TICKS,
        overlap: Overlap = "queue_all",
        dry_run: bool = False,
    ) -> Backfill:
        """Record a run for each tick from *since* up to *until* that has none, by the rule as it is now.

        Raise as `cableway.stored.backfills.backfill`.
        """
        steps = backfill(name, since=since, until=until, at_most=at_most, overlap=overlap, dry_run=dry_run)
        return self._write(steps)

    def list_ticks(self, name: str, *, limit: int = 100) -> tuple[TickRow, ...]:
        """What was decided about the scheduler's ticks, the latest first."""
        return self.session.drive(read_ticks(name, limit=limit))

    def publish_bloc_types(self, catalog: Catalog | None = None, *, prune: bool = False) -> Publication:
        """Store what each type of *catalog* (by default this storage's own) says of itself.

        From then on definitions with them can be saved where their code is not installed. With *prune* those that
        the catalog does not have are forgotten.
        """
        return self._write(bloc_types.publish(self._catalog if catalog is None else catalog, prune=prune))

    def list_bloc_types(self) -> tuple[BlocTypeRow, ...]:
        """Every published bloc type by name."""
        return self.session.drive(read_bloc_types())

    def catalog(self) -> Catalog:
        """This storage's bloc types and those that are published, as definitions are checked against them."""
        return self.session.drive(bloc_types.catalog_of(self._catalog))

    def cancel_run(self, run_id: str, *, by: str | None = None) -> RunState:
        """As `cableway.runs.cancel_run`."""
        return cancel_run(self.session, run_id, by=by)

    def replay(self, wish: LetterWish) -> tuple[Replayed, ...]:
        """Have open dead letters worked on again, by one run for each run and stage. As `cableway.replays.replay`."""
        return self.session.drive(replay(wish, self._catalog))

    def retry_run(self, run_id: str) -> RunState:
        """Give a run that ended without success one more attempt. As `cableway.replays.retry`."""
        return self.session.drive(retry(run_id))

    def redo_run(self, run_id: str, stage: str) -> Replayed:
        """Have everything of a run worked on again, and written from *stage* on. As `cableway.replays.redo`."""
        return self.session.drive(redo(run_id, stage, self._catalog))

    def list_lines(self, pipeline: str) -> tuple[LineRow, ...]:
        """How far the sources of *pipeline* were read, the newest line of each loader first."""
        return self.session.drive(read_lines(pipeline))

    def set_state(self, pipeline: str, last: Any, *, loader: str | None = None) -> LineRow:
        """Let the next run of *pipeline* load from the value *last* of its cursor field on; None: everything.

        *loader* is needed where several keep a cursor. Raise `UnknownNameError` where none does, or not that one.
        """
        state = {} if last is None else {"last": last}
        return self.session.drive(open_epoch(pipeline, state, loader=loader))

    def set_limit(
        self, name: str, *, concurrency: int | None = None, rate: float | None = None, period_s: float = 1.0
    ) -> LimitRow:
        """Store a limit that all runs share, or change it: units at a time, and units begun in each *period_s*.

        Raise `DefinitionError` with every fault. Runs at work learn of a change as they draw.
        """
        return self.session.drive(limits.save(name, concurrency, rate, period_s))

    def list_limits(self) -> tuple[LimitRow, ...]:
        """Every limit by name, with what runs have taken of it."""
        return self.session.drive(limits.read())

    def delete_limit(self, name: str) -> None:
        """Forget a limit. Raise `UnknownNameError` where there is none; a run whose stages name it cannot begin."""
        if not self.session.drive(limits.delete(name)):
            raise UnknownNameError(f"there is no limit {name[:80]!r}")

    def record_run(self, request: RunRequest) -> RecordedRun:
        """As `cableway.runs.record_run`."""
        return record_run(self.session, request)

    def record_parts(self, request: RunRequest, parts: int) -> RecordedParts:
        """Record a run whose source is shared out among so many *parts*, each a run of its own.

        As `cableway.partitions.recording_parts`.
        """
        with self.session.transaction():
            return self.session.drive(recording_parts(request, parts, self.session.settings))

    def list_runs(
        self, *, pipeline: str | None = None, state: RunState | None = None, limit: int = 20
    ) -> tuple[RunRow, ...]:
        """The newest runs first, at most *limit* of them."""
        return self.session.drive(read_runs(pipeline=pipeline, state=state, limit=limit))

    def get_run(self, run_id: str) -> RunDetails:
        """A run with its attempts and stages. Raise `UnknownRunError` where there is none of this id."""
        return self.session.drive(read_run(run_id))

    def list_dead_letters(self, run_id: str) -> tuple[DeadLetterRow, ...]:
        """A run's dead letters, oldest first."""
        return self.session.drive(read_dead_letters(run_id))

    def list_spans(self, run_id: str) -> tuple[SpanRow, ...]:
        """The spans that were kept of a run, by their start."""
        return self.session.drive(read_spans(run_id))

    def _write(self, steps: Steps[Result]) -> Result:
        """Do *steps* in one transaction, then tell the listeners."""
        changes: list[TriggerChange] = []
        with self.session.transaction():
            result = self.session.drive(noting(steps, changes))
        for change in changes:
            for listener in tuple(self._listeners):
                try:
                    listener(change)
                except Exception:
                    log.exception("a listener failed on %s %r", change.kind, change.name)
        return result

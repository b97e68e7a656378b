"""
`DatabaseStorage`: blocs, pipelines and triggers in Postgres, and what became of runs.

Saving checks first: what is faulty is not stored, and every fault is named at once. A pipeline is stored
with its blocs resolved, as an immutable numbered version; saving what has not changed makes none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar

from cableway.catalog import Catalog
from cableway.definition import DOCUMENT_FORMAT, BlocDefinition, JsonObject, PipelineDefinition
from cableway.errors import CablewayError, DefinitionError, Fault
from cableway.parameters import is_storable
from cableway.runs import RecordedRun, RunRequest, record_run
from cableway.settings import DatabaseSettings, Settings
from cableway.store.reading import (
    BlocRow,
    DeadLetterRow,
    PipelineRow,
    RunDetails,
    RunRow,
    TriggerRow,
    VersionRow,
    read_blocs,
    read_dead_letters,
    read_pipelines,
    read_run,
    read_runs,
    read_spans,
    read_triggers,
    read_version,
)
from cableway.store.session import Session
from cableway.store.storable import storable_text

if TYPE_CHECKING:
    from types import TracebackType

    from cableway.store.port import RunState, SpanRow

_Row = TypeVar("_Row")

MAX_NAME_LENGTH = 128
"""Characters of a name."""

UNCHECKED = 0
"""The document format of a version that was not checked against the code of its bloc types."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedVersion:
    """What a pipeline stands at after it was saved."""

    name: str
    version: int
    created: bool
    """False: it was the same as before."""


class DatabaseStorage:
    """Definitions and runs in one database. To be closed, or used as a context manager; serves one thread at a time.

    Its ``session`` drives what `cableway.store.reading` has beside it.
    """

    def __init__(self, database: DatabaseSettings, *, catalog: Catalog | None = None) -> None:
        self.session = Session(database)
        self._catalog = Catalog() if catalog is None else catalog

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
        given = dict(config or {})
        _check_name("bloc", name)
        _, faults = self._catalog.normalise(bloc_type, given)
        if faults:
            listed = "; ".join(f"{fault.pointer}: {fault.message}" for fault in faults)
            raise DefinitionError(f"bloc {name!r} ({bloc_type}): {listed}", faults)
        rows = self.session.rows(
            "insert_bloc", name=name, bloc_type=bloc_type, config=_json(given), description=storable_text(description)
        )
        return BlocRow(**_made("bloc", name, rows))

    def get_bloc(self, name: str) -> BlocRow:
        """The bloc of this name. Raise `DefinitionError` where there is none."""
        return _only("bloc", name, self.session.drive(read_blocs(storable_text(name))))

    def list_blocs(self) -> tuple[BlocRow, ...]:
        """Every bloc by name."""
        return self.session.drive(read_blocs())

    def create_pipeline(
        self, name: str, stages: Sequence[Any], *, author: str = "", note: str = "", **document: Any
    ) -> SavedVersion:
        """Store a new pipeline; *stages* as in a document, or as lists of the names of stored blocs.

        More keys of a document (``parameters``, ``settings``, ``description``) may be given by name. Raise
        `DefinitionError` with every fault, or where the name is taken: `save_pipeline` changes one.
        """
        if any(row.name == name for row in self.list_pipelines()):
            raise _taken("pipeline", name)
        return self.save_pipeline({"name": name, "stages": stages, **document}, author=author, note=note)

    def save_pipeline(
        self, document: Mapping[str, Any] | PipelineDefinition, *, author: str = "", note: str = ""
    ) -> SavedVersion:
        """Check *document* and store it as the active version of its pipeline, unless that says the same.

        Blocs that it names are resolved now. Raise `DefinitionError` with every fault at once.
        """
        # Loads pydantic, which a program that only reads can do without.
        from cableway.checks import check_document

        source: Mapping[str, Any] = document.document() if isinstance(document, PipelineDefinition) else document
        definition = check_document(source, catalog=self._catalog, blocs=self._bloc_definitions())
        _check_name("pipeline", definition.name)
        return self._save(definition, source, author=author, note=note)

    def get_pipeline(self, name: str, version: int | None = None) -> VersionRow:
        """A version of the pipeline, by default the active one. Raise `UnknownPipelineError` where there is none."""
        return self.session.drive(read_version(name, version))

    def list_pipelines(self) -> tuple[PipelineRow, ...]:
        """Every pipeline by name, archived ones included."""
        return self.session.drive(read_pipelines())

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
        _check_name("trigger", name)
        _check_name("pipeline", pipeline)
        if (kind == "cron") != (expression is not None) or kind not in {"cron", "webhook", "event", "person"}:
            message = "a trigger is of kind cron, with an expression, or webhook, event or person, without one"
            raise DefinitionError(f"trigger {name!r}: {message}", [Fault("/kind", "invalid", message)])
        rows = self.session.rows(
            "insert_trigger",
            name=name,
            pipeline=pipeline,
            kind=kind,
            expression=expression,
            config=_json(dict(config or {})),
            enabled=enabled,
        )
        return TriggerRow(**_made("trigger", name, rows))

    def get_trigger(self, name: str) -> TriggerRow:
        """The trigger of this name. Raise `DefinitionError` where there is none."""
        return _only("trigger", name, self.session.drive(read_triggers(storable_text(name))))

    def list_triggers(self) -> tuple[TriggerRow, ...]:
        """Every trigger by name."""
        return self.session.drive(read_triggers())

    def record_run(self, request: RunRequest) -> RecordedRun:
        """As `cableway.runs.record_run`."""
        return record_run(self.session, request)

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

    def _bloc_definitions(self) -> dict[str, BlocDefinition]:
        rows = self.list_blocs()
        return {row.name: BlocDefinition(name=row.name, bloc_type=row.bloc_type, config=row.config) for row in rows}

    def _save(
        self, definition: PipelineDefinition, source: Mapping[str, Any], *, author: str, note: str
    ) -> SavedVersion:
        session, name, content_hash = self.session, definition.name, definition.content_hash()
        with session.transaction():
            session.rows("lock_pipeline", schema=session.settings.schema, pipeline=name)
            before = session.row("latest_version", pipeline=name)
            if before is not None and before["content_hash"] == content_hash:
                version = before["active_version"]
                if before["document_format"] != DOCUMENT_FORMAT:
                    session.rows("mark_checked", pipeline=name, version=version, document_format=DOCUMENT_FORMAT)
                return SavedVersion(name=name, version=version, created=False)
            version = 1 if before is None else before["highest"] + 1
            session.rows(
                "insert_version",
                pipeline=name,
                version=version,
                document=_json(definition.document()),
                document_format=DOCUMENT_FORMAT,
                content_hash=content_hash,
                source=_json(source),
                author=storable_text(author),
                note=storable_text(note),
            )
        return SavedVersion(name=name, version=version, created=True)


def _check_name(kind: str, name: str) -> None:
    if not (name.strip() == name and 0 < len(name) <= MAX_NAME_LENGTH and name.isprintable()):
        message = f"a name has 1 to {MAX_NAME_LENGTH} printable characters and no space at its ends"
        raise DefinitionError(f"{kind}: {message}", [Fault("/name", "invalid", message)])


def _json(value: Any) -> str:
    """*value* as it is; what JSON or Postgres has no form for is a fault of the definition."""
    if not is_storable(value):
        message = (
            "holds what is not stored: NaN, an infinity, a NUL, half a character, a type of its own, or is too deep"
        )
        raise DefinitionError(f"the document {message}", [Fault("", "not_storable", message)])
    return json.dumps(value, ensure_ascii=False)


def _made(kind: str, name: str, rows: Sequence[JsonObject]) -> JsonObject:
    if not rows:
        raise _taken(kind, name)
    return rows[0]


def _taken(kind: str, name: str) -> DefinitionError:
    message = f"a {kind} of this name is there already"
    return DefinitionError(f"{kind} {name!r}: {message}", [Fault("/name", "taken", message)])


def _only(kind: str, name: str, rows: Sequence[_Row]) -> _Row:
    if not rows:
        raise DefinitionError(f"no {kind} {storable_text(name)[:80]!r}")
    return rows[0]

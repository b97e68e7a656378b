"""
Versions of pipelines: saved, activated, gone back on, archived.

A document is checked and its stored blocs are resolved where it is saved. What comes out is an immutable
numbered version; content that is the same makes none. Locks are taken in one order, blocs, pipeline,
triggers, so that two who save never wait for each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from cableway.catalog import Catalog
from cableway.definition import DOCUMENT_FORMAT, BlocDefinition, PipelineDefinition, TriggerDefinition
from cableway.errors import ConflictError, DefinitionError, Fault, UnknownPipelineError
from cableway.store.executor import Row, Step, Steps
from cableway.store.reading import read_blocs, read_version
from cableway.store.storable import storable_text
from cableway.stored.bloc_types import PublishedCatalog, catalog_of
from cableway.stored.names import json_text, taken, titled
from cableway.stored.triggers import follow_document

UNCHECKED = 0
"""The document format of a version that was not checked against the code of its bloc types."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedVersion:
    """What a pipeline stands at after it was saved."""

    name: str
    version: int
    created: bool
    """False: it was the same as before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """Who changes a pipeline, and why."""

    author: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a document may name."""

    catalog: PublishedCatalog
    blocs: Mapping[str, BlocDefinition]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A document that may be stored."""

    definition: PipelineDefinition
    source: Mapping[str, Any]
    document_format: int
    """`UNCHECKED` where a bloc type's code is not here, so that the job checks again."""
    bloc_names: list[str]
    triggers: Mapping[str, TriggerDefinition] | None = None
    """What the pipeline's document lists; None: that is not asked, and they stay as they are."""


def save(
    document: Mapping[str, Any] | PipelineDefinition,
    catalog: Catalog,
    signature: Signature,
    *,
    expected_version: int | None = None,
    only_new: bool = False,
) -> Steps[SavedVersion]:
    """Check *document* and make it the active version of its pipeline, unless that says the same.

    An archived pipeline comes back by it. Raise `DefinitionError` with every fault, `ConflictError` where another
    version than *expected_version* is active, `TakenError` where *only_new* and the pipeline is there.
    """
    yield Step("share_blocs", {})
    known = yield from surroundings(catalog)
    if isinstance(document, PipelineDefinition):
        # A definition that was read back has none of its triggers.
        listed = bool(document.triggers)
        checked = check(document.document(triggers=listed), known, with_triggers=listed)
    else:
        checked = check(document, known, with_triggers=True)
    name = checked.definition.name
    before = yield from _locked(name)
    if only_new and before is not None and not before["archived"]:
        raise taken("pipeline", name)
    check_version(name, before, expected_version)
    return (yield from store(checked, before, signature))


def save_all(
    documents: Sequence[Mapping[str, Any]], archived: Sequence[str], catalog: Catalog, signature: Signature
) -> Steps[tuple[SavedVersion, ...]]:
    """Save all of *documents* and archive the pipelines named. Raise as `save` and `archive`."""
    yield Step("share_blocs", {})
    names = {name for document in documents if isinstance(name := document.get("name"), str)}
    # All of them before the first one's triggers, which come last in the order of locks.
    for name in sorted(names.union(archived)):
        yield Step("lock_pipeline", {"pipeline": storable_text(name)})
    saved: tuple[SavedVersion, ...] = ()
    for document in documents:
        saved += ((yield from save(document, catalog, signature)),)
    for name in archived:
        yield from archive(name)
    return saved


def change(
    name: str,
    changes: Mapping[str, Any],
    catalog: Catalog,
    signature: Signature,
    *,
    expected_version: int | None = None,
) -> Steps[SavedVersion]:
    """Save the pipeline's document with *changes* to its keys; None takes a key away.

    Raise as `save`, or `UnknownPipelineError` where there is none or it is archived.
    """
    yield Step("share_blocs", {})
    before = yield from _locked(name)
    if before is None or before["archived"]:
        raise _archived(name) if before else _unknown(name)
    check_version(name, before, expected_version)
    written: Mapping[str, Any] = before["source"] or (yield from read_version(name)).definition.document()
    document = {key: value for key, value in {**written, **changes}.items() if value is not None}
    if document.get("name") != name:
        message = "stays as it is; create a pipeline of the other name and delete this one"
        raise DefinitionError(f"{titled('pipeline', name)}: its name {message}", [Fault("/name", "name", message)])
    known = yield from surroundings(catalog)
    checked = check(document, known, with_triggers="triggers" in changes)
    return (yield from store(checked, before, signature))


def activate(name: str, version: int, *, expected_version: int | None = None) -> Steps[SavedVersion]:
    """Make *version* what new runs are pinned to; an archived pipeline comes back.

    Raise `UnknownPipelineError` where it is not there, `ConflictError` as `save` does.
    """
    before = yield from _locked(name)
    target = yield from read_version(name, version)
    check_version(name, before, expected_version)
    yield Step("activate_version", {"pipeline": name, "version": target.version})
    return SavedVersion(name=name, version=target.version, created=False)


def roll_back(name: str, *, expected_version: int | None = None) -> Steps[SavedVersion]:
    """Activate the version that was active when the present one was made. Raise as `activate`."""
    before = yield from _locked(name)
    if before is None or before["archived"]:
        raise _archived(name) if before else _unknown(name)
    if before["previous_version"] is None:
        message = f"there was no version before version {before['active_version']}"
        raise DefinitionError(f"{titled('pipeline', name)}: {message}", [Fault("/version", "first", message)])
    return (yield from activate(name, before["previous_version"], expected_version=expected_version))


def archive(name: str, *, expected_version: int | None = None) -> Steps[None]:
    """Take no new runs of a pipeline; its versions and runs stay, and its triggers do nothing.

    Raise `UnknownPipelineError` where there is none, `ConflictError` as `save` does.
    """
    before = yield from _locked(name)
    if before is None:
        raise _unknown(name)
    check_version(name, before, expected_version)
    yield Step("archive_pipeline", {"pipeline": name})


def surroundings(catalog: Catalog) -> Steps[Surroundings]:
    """The bloc types of *catalog* and those published, and the stored blocs as they are now."""
    rows = yield from read_blocs()
    blocs = {row.name: BlocDefinition(name=row.name, bloc_type=row.bloc_type, config=row.config) for row in rows}
    return Surroundings((yield from catalog_of(catalog)), blocs)


def check(document: Mapping[str, Any], known: Surroundings, *, with_triggers: bool) -> Checked:
    """*document* with the stored blocs that it names. Raise `DefinitionError` with every fault."""
    # Loads pydantic, which a program that only reads can do without.
    from cableway.checks import check_document

    definition = check_document(document, catalog=known.catalog, blocs=known.blocs)
    types = {bloc.bloc_type for stage in definition.stages for bloc in stage.blocs}
    return Checked(
        definition=definition,
        source=document,
        document_format=DOCUMENT_FORMAT if all(map(known.catalog.has_code, types)) else UNCHECKED,
        bloc_names=named_blocs(document),
        triggers=definition.triggers if with_triggers else None,
    )


def store(checked: Checked, before: Row | None, signature: Signature) -> Steps[SavedVersion]:
    """Store what was checked, where it differs from what stood *before*; whoever calls holds the pipeline's lock."""
    name, content_hash = checked.definition.name, checked.definition.content_hash()
    if before is not None and before["content_hash"] == content_hash:
        yield from _take_over(checked, before)
        version, created = before["active_version"], False
    else:
        version, created = 1 if before is None else before["highest"] + 1, True
        yield Step(
            "insert_version",
            {
                "pipeline": name,
                "version": version,
                "document": json_text(checked.definition.document()),
                "document_format": checked.document_format,
                "content_hash": content_hash,
                "source": json_text(checked.source),
                "author": storable_text(signature.author),
                "note": storable_text(signature.note),
                "previous_version": None if before is None else before["active_version"],
                "bloc_names": checked.bloc_names,
            },
        )
    if checked.triggers is not None:
        yield from follow_document(name, checked.triggers)
    return SavedVersion(name=name, version=version, created=created)


def named_blocs(document: Mapping[str, Any]) -> list[str]:
    """The stored blocs that *document* names, sorted: those in its stages that it does not describe itself."""
    own = cast("Mapping[str, Any]", document.get("blocs") or {})
    found: set[str] = set()
    for stage in cast("list[Any]", document.get("stages") or ()):
        blocs: Any = cast("Mapping[str, Any]", stage).get("blocs", ()) if isinstance(stage, Mapping) else stage
        members = [blocs] if isinstance(blocs, str) else cast("list[Any]", blocs)
        found.update(bloc for bloc in members if isinstance(bloc, str))
    return sorted(found - own.keys())


def check_version(name: str, before: Row | None, expected: int | None) -> None:
    """Raise `ConflictError` unless the active version is the one that the caller has seen."""
    if expected is None or (before is not None and before["active_version"] == expected):
        return
    stands = "is not there" if before is None else f"is at version {before['active_version']} by now"
    raise ConflictError(f"{titled('pipeline', name)} {stands}, and version {expected} was expected")


def _locked(name: str) -> Steps[Row | None]:
    """What the pipeline stands at; nobody else changes it until the transaction ends."""
    yield Step("lock_pipeline", {"pipeline": storable_text(name)})
    rows = yield Step("latest_version", {"pipeline": storable_text(name)})
    return rows[0] if rows else None


def _take_over(checked: Checked, before: Row) -> Steps[None]:
    """Note what is new about a version whose content is the same."""
    where = {"pipeline": checked.definition.name, "version": before["active_version"]}
    if before["archived"]:
        yield Step("activate_version", where)
    if DOCUMENT_FORMAT == checked.document_format != before["document_format"]:
        yield Step("mark_checked", {**where, "document_format": DOCUMENT_FORMAT})
    # A definition that was read back has its blocs resolved, and would take the version from them.
    if checked.source != before["source"] and (checked.bloc_names or not before["bloc_names"]):
        source = json_text(checked.source)
        yield Step("take_source", {**where, "source": source, "bloc_names": checked.bloc_names})


def _unknown(name: str) -> UnknownPipelineError:
    return UnknownPipelineError(f"no {titled('pipeline', name)}")


def _archived(name: str) -> UnknownPipelineError:
    how = "create it again, or activate one of its versions, to bring it back"
    return UnknownPipelineError(f"the {titled('pipeline', name)} is archived: {how}")

"""``cableway validate``, ``plan``, ``apply``, ``show``, ``pipelines`` and ``schema``: what can run."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cableway.catalog import Catalog
from cableway.definition import BlocDefinition
from cableway.errors import UsageError
from cableway.settings import get_settings
from cableway_handlers.cli import screen, show_definitions
from cableway_handlers.cli.documents import SUFFIXES, Checked, checked_documents
from cableway_handlers.cli.planning import left_over, planned
from cableway_handlers.cli.workplace import workplace

if TYPE_CHECKING:
    from cableway.definition import PipelineDefinition
    from cableway.storage import DatabaseStorage


def validate(path: Path, *, json: bool) -> None:
    """Check documents without a database; every fault of all of them at once."""
    found = checked_documents(path, Catalog(get_settings().blocs), skip=_say_skipped)
    if json:
        screen.as_json([{"file": each.path, "name": each.definition.name, "valid": True} for each in found])
        return
    for each in found:
        screen.say(f"{show_definitions.definition(each.definition)}, valid")


def plan(path: Path, *, prune: bool, json: bool) -> None:
    """Show what `apply` would change, and change nothing."""
    with workplace() as place, place.storage() as storage:
        plans = planned(storage, _checked(path, storage), prune=prune)
    if json:
        screen.as_json(plans)
    else:
        show_definitions.plans(plans)


def apply(path: Path, *, prune: bool, author: str | None, note: str, json: bool) -> None:
    """Store every document that differs from its active version; nothing where one of them is faulty."""
    with workplace() as place, place.storage() as storage:
        found = _checked(path, storage)
        archived = left_over(storage, found) if prune else []
        documents = [each.document for each in found]
        saved = storage.apply(documents, archive=archived, author=_author(author), note=note)
    if json:
        screen.as_json(
            [
                *({"name": each.name, "version": each.version, "created": each.created} for each in saved),
                *({"name": name, "archived": True} for name in archived),
            ]
        )
        return
    for each in saved:
        screen.say(f"{each.name}: version {each.version} {'stored' if each.created else 'is the same, nothing stored'}")
    for name in archived:
        screen.say(f"{name}: archived")


def show_pipeline(what: str, *, normalized: bool, version: int | None, json: bool) -> None:
    """Print a pipeline out of the database or a file, as it was written or with every default."""
    if Path(what).suffix.lower() in SUFFIXES:
        if version is not None:
            raise UsageError("a file has no versions; --version goes with the name of a stored pipeline")
        (found,) = checked_documents(Path(what), Catalog(get_settings().blocs))
        document: Any = _document(found.definition) if normalized else dict(found.document)
        about: dict[str, Any] = {"name": found.definition.name, "file": what}
    else:
        with workplace() as place, place.storage() as storage:
            row = storage.get_pipeline(what, version)
        document = row.definition.document() if normalized or row.source is None else row.source
        about = {key: getattr(row, key) for key in ("name", "version", "author", "note", "created_at", "content_hash")}
    if json:
        screen.as_json({**about, "document": document})
    else:
        show_definitions.document(about, document)


def list_pipelines(*, archived: bool, json: bool) -> None:
    """Show every pipeline with its active version."""
    with workplace() as place, place.storage() as storage:
        rows = [row for row in storage.list_pipelines() if archived or row.archived_at is None]
    if json:
        screen.as_json(rows)
    else:
        show_definitions.pipelines_table(rows)


def schema(out: Path | None, *, json: bool) -> None:
    """Print the JSON Schema of a pipeline document, or write it to *out*."""
    from json import dumps

    from cableway.definitions.document_schema import pipeline_schema

    described = pipeline_schema(Catalog(get_settings().blocs))
    if out is None:
        screen.as_json(described)
        return
    try:
        out.write_text(dumps(described, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{out}: cannot be written: {error.strerror}") from None
    if json:
        screen.as_json({"file": out})
        return
    screen.say(
        f"{out}: written. In YAML, `# yaml-language-server: $schema={out}` on the first line lets editors use it"
    )


def _checked(path: Path, storage: DatabaseStorage) -> list[Checked]:
    blocs = {
        row.name: BlocDefinition(name=row.name, bloc_type=row.bloc_type, config=row.config)
        for row in storage.list_blocs()
    }
    return checked_documents(path, storage.catalog(), blocs, skip=_say_skipped)


def _document(definition: PipelineDefinition) -> dict[str, Any]:
    return definition.document(triggers=True)


def _author(given: str | None) -> str:
    if given is not None:
        return given
    import os
    import pwd

    with suppress(KeyError):
        return pwd.getpwuid(os.getuid()).pw_name
    return ""


def _say_skipped(file: Path) -> None:
    screen.say(f"{file}: skipped, it has no `stages`")

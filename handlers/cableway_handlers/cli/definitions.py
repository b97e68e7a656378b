"""``cableway validate``, ``apply``, ``pipelines`` and ``blocs``: what can run, and what it is made of."""

from __future__ import annotations

from pathlib import Path

from cableway.catalog import Catalog
from cableway.settings import get_settings
from cableway_handlers.cli import show
from cableway_handlers.cli.workplace import workplace


def validate(file: Path) -> None:
    """Check a pipeline document without a database; every fault at once."""
    from cableway.checks import check_document, read_document

    found = check_document(read_document(file), catalog=Catalog(get_settings().blocs))
    show.say(f"{show.definition(found)}, valid")


def apply(file: Path, note: str, *, json: bool) -> None:
    """Check a pipeline document and store it as the active version, unless that says the same already."""
    from cableway.documents import read_document

    document = read_document(file)
    with workplace() as place, place.storage() as storage:
        saved = storage.save_pipeline(document, note=note)
    if json:
        show.as_json(saved)
    else:
        show.say(
            f"{saved.name}: version {saved.version} {'stored' if saved.created else 'is the same, nothing stored'}"
        )


def list_pipelines(*, json: bool) -> None:
    """Show every pipeline with its active version."""
    with workplace() as place, place.storage() as storage:
        rows = storage.list_pipelines()
    if json:
        show.as_json(rows)
    else:
        show.pipelines_table(rows)


def list_bloc_types(*, json: bool) -> None:
    """Show the bloc types that this installation knows."""
    catalog = Catalog(get_settings().blocs)
    rows = [catalog.describe(name) for name in catalog.names()]
    if json:
        show.as_json(rows)
    else:
        show.bloc_types_table(rows)


def show_bloc_type(name: str, *, json: bool) -> None:
    """Show one bloc type: its config and an example."""
    described = Catalog(get_settings().blocs).describe(name)
    if json:
        show.as_json(described)
    else:
        show.bloc_type(described)

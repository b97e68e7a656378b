"""What is stored, and what it is made of: the commands for pipelines, versions and bloc types."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cableway_handlers.cli.completion import pipelines as stored_pipelines
from cableway_handlers.cli.options import Author, BlocType, Documents, Json, Note, Pipeline, Prune, Version

blocs_app = typer.Typer(help="Look at the bloc types that pipelines are made of.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Give *app* these commands."""
    for command in (validate, plan, apply, show, pipelines, versions, diff, activate, rollback, archive):
        app.command()(command)
    app.add_typer(blocs_app, name="blocs")
    app.command()(schema)


def validate(file: Documents, json: Json = False) -> None:
    """Check pipeline documents and list every fault. Needs no database.

    Example: cableway validate pipeline.yaml
    """
    from cableway_handlers.cli import definitions

    definitions.validate(file, json=json)


def plan(file: Documents, prune: Prune = False, json: Json = False) -> None:
    """Show what `apply` would change, and change nothing.

    Example: cableway plan pipelines/ --prune
    """
    from cableway_handlers.cli import definitions

    definitions.plan(file, prune=prune, json=json)


def apply(file: Documents, prune: Prune = False, author: Author = None, note: Note = "", json: Json = False) -> None:
    """Check pipeline documents and store what has changed.

    Each that says something new becomes the active version of its pipeline, with the triggers that it lists.
    Nothing is stored where one of them is faulty.

    Example: cableway apply pipeline.yaml --note "weather joined by hour"
    """
    from cableway_handlers.cli import definitions

    definitions.apply(file, prune=prune, author=author, note=note, json=json)


def show(
    what: Annotated[
        str,
        typer.Argument(metavar="NAME|FILE", help="A stored pipeline, or a document.", autocompletion=stored_pipelines),
    ],
    normalized: Annotated[
        bool, typer.Option("--normalized", help="With every default, and blocs where they are used.")
    ] = False,
    version: Annotated[
        int | None,
        typer.Option(metavar="VERSION", min=1, help="A version; by default the active one.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Print a pipeline as it was written, as YAML.

    Example: cableway show flights --version 2 > flights.yaml
    """
    from cableway_handlers.cli import definitions

    definitions.show_pipeline(what, normalized=normalized, version=version, json=json)


def pipelines(
    archived: Annotated[bool, typer.Option("--archived", help="Archived ones, too.")] = False, json: Json = False
) -> None:
    """List the stored pipelines.

    Example: cableway pipelines --json
    """
    from cableway_handlers.cli import definitions

    definitions.list_pipelines(archived=archived, json=json)


def diff(
    name: Pipeline,
    a: Annotated[int, typer.Argument(metavar="A", min=1, help="A version.")],
    b: Annotated[
        int | None, typer.Argument(metavar="B", min=1, help="Another; by default the active one.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Show what differs between two versions of a pipeline.

    Each place has its JSON pointer.

    Example: cableway diff flights 2 3
    """
    from cableway_handlers.cli import versions as stored

    stored.diff(name, a, b, json=json)


def versions(name: Pipeline, json: Json = False) -> None:
    """List a pipeline's versions, the newest first.

    Example: cableway versions flights
    """
    from cableway_handlers.cli import versions as stored

    stored.list_versions(name, json=json)


def activate(name: Pipeline, version: Version, json: Json = False) -> None:
    """Let new runs use this version. Those that were recorded keep theirs.

    Example: cableway activate flights 2
    """
    from cableway_handlers.cli import versions as stored

    stored.activate(name, version, json=json)


def rollback(name: Pipeline, json: Json = False) -> None:
    """Go back to the version before the active one.

    That is the one which was active when the present one was made. Runs that were recorded keep theirs.

    Example: cableway rollback flights
    """
    from cableway_handlers.cli import versions as stored

    stored.roll_back(name, json=json)


def archive(name: Pipeline, json: Json = False) -> None:
    """Let a pipeline start no more runs. Its versions and runs stay; `apply` brings it back.

    Example: cableway archive flights
    """
    from cableway_handlers.cli import versions as stored

    stored.archive(name, json=json)


def schema(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write it here.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Print the JSON Schema of a pipeline document, for editors. It knows the bloc types of this installation.

    Example: cableway schema -o pipeline.schema.json
    """
    from cableway_handlers.cli import definitions

    definitions.schema(out, json=json)


@blocs_app.command("list")
def blocs_list(
    published: Annotated[
        bool, typer.Option("--published", help="Those described in the database, and not those installed here.")
    ] = False,
    json: Json = False,
) -> None:
    """List the bloc types, with what each does.

    Example: cableway blocs list
    """
    from cableway_handlers.cli import bloc_types

    bloc_types.list_bloc_types(published=published, json=json)


@blocs_app.command("show")
def blocs_show(name: BlocType, json: Json = False) -> None:
    """Show a bloc type: its config, and an example.

    Example: cableway blocs show csv_loader
    """
    from cableway_handlers.cli import bloc_types

    bloc_types.show_bloc_type(name, json=json)


@blocs_app.command("publish")
def blocs_publish(
    prune: Annotated[bool, typer.Option("--prune", help="Forget those that are not installed here.")] = False,
    json: Json = False,
) -> None:
    """Describe the bloc types of this installation in the database.

    Definitions with them can then be saved where their code is not: over the API, say.

    Example: cableway blocs publish
    """
    from cableway_handlers.cli import bloc_types

    bloc_types.publish(prune=prune, json=json)

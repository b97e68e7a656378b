"""``cableway blocs``: what pipelines are made of."""

from __future__ import annotations

from cableway.catalog import Catalog
from cableway.settings import get_settings
from cableway_handlers.cli import screen, show_definitions
from cableway_handlers.cli.workplace import workplace


def list_bloc_types(*, published: bool, json: bool) -> None:
    """Show the bloc types that this installation knows, or those that are described in the database."""
    if published:
        with workplace() as place, place.storage() as storage:
            rows = [row.description for row in storage.list_bloc_types()]
    else:
        catalog = Catalog(get_settings().blocs)
        rows = [catalog.describe(name) for name in catalog.names()]
    if json:
        screen.as_json(rows)
    else:
        show_definitions.bloc_types_table(rows)


def publish(*, prune: bool, json: bool) -> None:
    """Describe this installation's bloc types in the database."""
    with workplace() as place, place.storage() as storage:
        changed = storage.publish_bloc_types(prune=prune)
    if json:
        screen.as_json(changed)
        return
    screen.say(f"published: {', '.join(changed.published) or 'nothing that was not there'}")
    if changed.withdrawn:
        screen.say(f"forgotten: {', '.join(changed.withdrawn)}")


def show_bloc_type(name: str, *, json: bool) -> None:
    """Show one bloc type: its config and an example."""
    described = Catalog(get_settings().blocs).describe(name)
    if json:
        screen.as_json(described)
    else:
        show_definitions.bloc_type(described)

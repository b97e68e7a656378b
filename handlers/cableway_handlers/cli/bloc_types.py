"""``cableway blocs``: what pipelines are made of."""

from __future__ import annotations

from cableway.catalog import Catalog
from cableway.settings import get_settings
from cableway_handlers.cli import screen, show_definitions


def list_bloc_types(*, json: bool) -> None:
    """Show the bloc types that this installation knows."""
    catalog = Catalog(get_settings().blocs)
    rows = [catalog.describe(name) for name in catalog.names()]
    if json:
        screen.as_json(rows)
    else:
        show_definitions.bloc_types_table(rows)


def show_bloc_type(name: str, *, json: bool) -> None:
    """Show one bloc type: its config and an example."""
    described = Catalog(get_settings().blocs).describe(name)
    if json:
        screen.as_json(described)
    else:
        show_definitions.bloc_type(described)

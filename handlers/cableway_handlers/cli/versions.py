"""``cableway versions``, ``diff``, ``activate``, ``rollback`` and ``archive``: a pipeline's history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cableway_handlers.cli import screen, show_definitions
from cableway_handlers.cli.workplace import workplace

if TYPE_CHECKING:
    from cableway.storage import SavedVersion


def list_versions(name: str, *, json: bool) -> None:
    """Show a pipeline's versions, the newest first."""
    with workplace() as place, place.storage() as storage:
        rows = storage.list_versions(name)
    if json:
        screen.as_json(rows)
    else:
        show_definitions.versions_table(rows)


def diff(name: str, a: int, b: int | None, *, json: bool) -> None:
    """Show what version *b*, by default the active one, says otherwise than version *a*."""
    with workplace() as place, place.storage() as storage:
        changes = storage.diff(name, a, b)
    if json:
        screen.as_json(changes)
    else:
        show_definitions.changes(changes)


def activate(name: str, version: int, *, json: bool) -> None:
    """Let new runs use *version*."""
    with workplace() as place, place.storage() as storage:
        saved = storage.activate(name, version)
    _say_active(saved, json=json)


def roll_back(name: str, *, json: bool) -> None:
    """Go back to the version that was active when the present one was made."""
    with workplace() as place, place.storage() as storage:
        saved = storage.roll_back(name)
    _say_active(saved, json=json)


def archive(name: str, *, json: bool) -> None:
    """Let a pipeline start no more runs."""
    with workplace() as place, place.storage() as storage:
        storage.delete_pipeline(name)
    if json:
        screen.as_json({"name": name, "archived": True})
    else:
        screen.say(f"{name}: archived")


def _say_active(saved: SavedVersion, *, json: bool) -> None:
    if json:
        screen.as_json({"name": saved.name, "version": saved.version})
    else:
        screen.say(f"{saved.name}: version {saved.version} is active")

"""What `cableway apply` would change: each document beside what is stored under its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from cableway.difference import Change, differences

if TYPE_CHECKING:
    from cableway.storage import DatabaseStorage
    from cableway.store.reading import PipelineRow
    from cableway_handlers.cli.documents import Checked


class Action(StrEnum):
    """What becomes of a pipeline."""

    CREATE = "create"
    UPDATE = "update"
    KEEP = "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What becomes of one pipeline. ``version`` is the active one as it stands, ``changes`` are those to it."""

    name: str
    file: Path
    action: Action
    version: int | None
    changes: tuple[Change, ...] = ()


def planned(storage: DatabaseStorage, found: Sequence[Checked]) -> list[Plan]:
    """A plan for each document."""
    stored = {row.name: row for row in storage.list_pipelines()}
    return [_plan(storage, each, stored.get(each.definition.name)) for each in found]


def _plan(storage: DatabaseStorage, found: Checked, stored: PipelineRow | None) -> Plan:
    definition = found.definition
    if stored is None:
        return Plan(name=definition.name, file=found.path, action=Action.CREATE, version=None)
    before = storage.get_pipeline(definition.name).definition.document()
    changes = tuple(differences(before, definition.document()))
    action = Action.UPDATE if changes else Action.KEEP
    return Plan(name=definition.name, file=found.path, action=action, version=stored.version, changes=changes)

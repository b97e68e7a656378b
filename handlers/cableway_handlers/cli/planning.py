"""What `cableway apply` would change: each document beside what is stored under its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cableway.definitions.difference import Change, differences

if TYPE_CHECKING:
    from cableway.definition import JsonObject, PipelineDefinition
    from cableway.storage import DatabaseStorage
    from cableway.store.reading import PipelineRow, TriggerRow
    from cableway_handlers.cli.documents import Checked


class Action(StrEnum):
    """What becomes of a pipeline."""

    CREATE = "create"
    UPDATE = "update"
    RESTORE = "restore"
    KEEP = "keep"
    ARCHIVE = "archive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What becomes of one pipeline. ``version`` is the active one as it stands, ``changes`` are those to it."""

    name: str
    file: Path | None
    action: Action
    version: int | None
    changes: tuple[Change, ...] = ()


def planned(storage: DatabaseStorage, found: Sequence[Checked], *, prune: bool) -> list[Plan]:
    """A plan for each document and, to *prune*, for each stored pipeline that none of them describes."""
    stored = {row.name: row for row in storage.list_pipelines()}
    triggers = storage.list_triggers()
    plans = [_plan(storage, each, stored.get(each.definition.name), triggers) for each in found]
    names = left_over(storage, found) if prune else []
    return plans + [Plan(name=name, file=None, action=Action.ARCHIVE, version=stored[name].version) for name in names]


def left_over(storage: DatabaseStorage, found: Sequence[Checked]) -> list[str]:
    """The stored pipelines that no document describes, but for those that are archived already."""
    described = {each.definition.name for each in found}
    return [row.name for row in storage.list_pipelines() if row.archived_at is None and row.name not in described]


def _plan(storage: DatabaseStorage, found: Checked, stored: PipelineRow | None, triggers: Sequence[TriggerRow]) -> Plan:
    definition = found.definition
    if stored is None:
        return Plan(name=definition.name, file=found.path, action=Action.CREATE, version=None)
    before = storage.get_pipeline(definition.name).definition.document()
    own = [row for row in triggers if row.pipeline == definition.name and row.from_document]
    before["triggers"] = {row.name: _trigger(row.kind, row.expression, row.config, row.enabled) for row in own}
    changes = tuple(differences(before, _after(definition)))
    action = Action.RESTORE if stored.archived_at is not None else Action.UPDATE if changes else Action.KEEP
    return Plan(name=definition.name, file=found.path, action=action, version=stored.version, changes=changes)


def _after(definition: PipelineDefinition) -> JsonObject:
    triggers = {
        name: _trigger(trigger.kind, trigger.expression, trigger.config(), trigger.enabled)
        for name, trigger in definition.triggers.items()
    }
    return {**definition.document(), "triggers": triggers}


def _trigger(kind: str, expression: str | None, config: JsonObject, enabled: bool) -> dict[str, Any]:
    return {"kind": kind, "expression": expression, "enabled": enabled, **config}

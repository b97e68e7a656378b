"""What changes about triggers and schedulers, noted as it is done: for those in this process and for others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cableway.store.executor import Result, Step, Steps

_NOTED: Mapping[str, tuple[Literal["trigger", "scheduler"], Literal["created", "updated", "deleted"]]] = {
    "insert_trigger": ("trigger", "created"),
    "update_trigger": ("trigger", "updated"),
    "delete_trigger": ("trigger", "deleted"),
    "insert_scheduler": ("scheduler", "created"),
    "update_scheduler": ("scheduler", "updated"),
    "delete_scheduler": ("scheduler", "deleted"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerChange:
    """A trigger or scheduler is not what it was."""

    kind: Literal["trigger", "scheduler"]
    name: str
    change: Literal["created", "updated", "deleted"]


def noting(steps: Steps[Result], changes: list[TriggerChange]) -> Steps[Result]:
    """Do *steps*, add what they do to triggers and schedulers to *changes*, and tell other processes.

    The changes hold, and the others hear of them, once the transaction around it is committed.
    """
    result = yield from _noted(steps, changes)
    if changes:
        yield Step("tell_change", {})
    return result


def _noted(steps: Steps[Result], changes: list[TriggerChange]) -> Steps[Result]:
    try:
        step = next(steps)
        while True:
            noted = _NOTED.get(step.name)
            if noted is not None:
                changes.append(TriggerChange(kind=noted[0], name=step.parameters["name"], change=noted[1]))
            rows = yield step
            step = steps.send(rows)
    except StopIteration as end:
        result: Result = end.value
        return result

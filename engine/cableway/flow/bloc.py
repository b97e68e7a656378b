"""The blocs of a stage as the flow sees them: a handler with its lane, and how its results are joined."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cableway.flow.config import ExecutionType
from cableway.flow.lanes.protocol import HandlerFactory
from cableway.flow.retry import Retry
from cableway.items import WorkItem

Handler = Callable[..., Any] | HandlerFactory

Merge = Callable[[WorkItem, Mapping[str, Any]], Any]
"""``merge(parent, results)``: the data of the item that goes on. A bloc that gave None has no key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """How a gathering stage takes items in: from ``initial()`` by ``add(state, item)`` to ``finish(state)``."""

    initial: Callable[[], Any]
    add: Callable[[Any, WorkItem], Any]
    finish: Callable[[Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageBloc:
    """One of the blocs that work side by side on each item of a stage.

    ``execution_type``, ``retry`` and ``timeout_s`` are the stage's where they are None. ``select`` says
    what the handler gets of an item; by default the item itself, and in a child its data. ``fold`` is
    for a gathering stage; by default a list of the items' data.
    """

    name: str
    handler: Handler
    execution_type: ExecutionType | None = None
    select: Callable[[WorkItem], Any] | None = None
    fold: Fold | None = None
    retry: Retry | None = None
    timeout_s: float | None = None

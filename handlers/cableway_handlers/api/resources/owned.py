"""What triggers and schedulers have in common: rows by name that belong to a pipeline, changed under one lock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from pydantic import TypeAdapter

from cableway.errors import UnknownNameError, UnknownPipelineError
from cableway.store.executor import Step, Steps
from cableway.stored.names import only
from cableway_handlers.api.etags import Precondition, Shown
from cableway_handlers.api.scopes import Caller


class OwnedRow(Protocol):
    """A row that belongs to a pipeline."""

    @property
    def name(self) -> str:
        """By which it is found."""
        ...

    @property
    def pipeline(self) -> str:
        """The pipeline's name, whether there is one or not."""
        ...

    @property
    def revision(self) -> int:
        """How often it was changed, and one."""
        ...


Row = TypeVar("Row", bound=OwnedRow)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Owned(Generic[Row]):
    """How a *kind* of such rows is found, shown, and changed; for a caller that may not see it, it is not there."""

    kind: str
    read: Callable[[str], Steps[tuple[Row, ...]]]
    adapter: TypeAdapter[Any]

    def shown(self, row: Row) -> Shown:
        """The row as it is answered."""
        return Shown.of(self.adapter, row, row.revision)

    def seen(self, name: str, caller: Caller) -> Steps[Row]:
        """The row of this name. Raise `UnknownNameError` (404) where the caller sees none."""
        row = only(self.kind, name, (yield from self.read(name)))
        if not caller.sees(row.pipeline):
            raise UnknownNameError(f"no {self.kind} {name!r}")
        return row

    def after(self, name: str, caller: Caller, steps: Steps[Result]) -> Steps[Result]:
        """Do *steps* where the caller may know of the row."""
        yield from self.seen(name, caller)
        return (yield from steps)

    def matched(self, name: str, caller: Caller, match: Precondition, steps: Steps[Result]) -> Steps[Result]:
        """Do *steps* where the row is as the caller has seen it, which holds until they are done."""
        yield Step("lock_triggers", {})
        match.check(self.shown((yield from self.seen(name, caller))))
        return (yield from steps)


def check_sees(caller: Caller, pipeline: str) -> None:
    """Raise `UnknownPipelineError` (404) where the caller may not know of *pipeline*."""
    if not caller.sees(pipeline):
        raise UnknownPipelineError("There is no such pipeline.")

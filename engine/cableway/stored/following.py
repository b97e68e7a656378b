"""What is asked of a run while it goes on, and what hangs together with it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from cableway.errors import UnknownRunError
from cableway.store.executor import Row, Step, Steps
from cableway.store.ids import is_id
from cableway.store.port import RunState
from cableway.store.storable import storable_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """Where a run stands at one moment."""

    state: RunState
    attempt: int
    exit_code: int | None
    not_before: datetime | None
    """Until then the next attempt waits."""
    dead_letters: int
    ended: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedRun:
    """Another run that this one came of, or that came of this one."""

    link: Literal["replays", "replayed_by", "part_of", "part"]
    run_id: str
    state: RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldPlaces:
    """Places that a run has taken of a limit."""

    name: str
    slots: int


def read_pulse(run_id: str) -> Steps[Pulse]:
    """Where the run stands now. Raise `UnknownRunError`."""
    rows = (yield Step("pulse", {"run_id": run_id})) if is_id(run_id) else []
    if not rows:
        raise UnknownRunError(f"no run {storable_text(run_id)[:80]!r}")
    fields: Row = {**rows[0], "state": RunState(rows[0]["state"])}
    return Pulse(**fields)


def read_links(run_id: str) -> Steps[tuple[LinkedRun, ...]]:
    """The runs that hang together with this one, oldest first."""
    rows = (yield Step("linked_runs", {"run_id": run_id})) if is_id(run_id) else []
    return tuple(LinkedRun(link=row["link"], run_id=row["run_id"], state=RunState(row["state"])) for row in rows)


def read_held_places(run_id: str) -> Steps[tuple[HeldPlaces, ...]]:
    """What the run has of each limit now, by name."""
    rows = (yield Step("held_places", {"run_id": run_id})) if is_id(run_id) else []
    return tuple(HeldPlaces(**row) for row in rows)

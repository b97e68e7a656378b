"""What every resource asks: the database through `Desk`, the launches, the scheduler. `create_app` puts them there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol, TypeVar

from fastapi import Depends, Request

from cableway.catalog import Catalog
from cableway.runs import RecordedRun, RunRequest
from cableway.store.executor import Steps
from cableway.store.port import RunState
from cableway_handlers.api.access import KeyDesk
from cableway_handlers.api.hooks import Register
from cableway_handlers.launch.protocol import Launch

Result = TypeVar("Result")

PartState = Literal["up", "down", "off"]


class Desk(KeyDesk, Protocol):
    """All that the API asks of the database. Each raises `UnavailableError` while Postgres is away."""

    @property
    def hooks(self) -> Register:
        """Where webhooks are recorded."""
        ...

    async def read(self, steps: Callable[[], Steps[Result]]) -> Result:
        """Do *steps* that change nothing; they may be done twice."""
        ...

    async def change(self, steps: Callable[[], Steps[Result]]) -> Result:
        """Do *steps* in one transaction, whole or not at all, and tell those who watch triggers."""
        ...

    async def record_run(self, request: RunRequest) -> RecordedRun:
        """As `cableway.runs.record_run`."""
        ...

    async def cancel_run(self, run_id: str, *, by: str | None = None) -> RunState:
        """As `cableway.runs.cancel_run`."""
        ...

    async def check(self) -> None:
        """Return if the database answers and its schema is this version's."""
        ...

    async def open(self) -> None:
        """Connect in the background; the database need not be there yet."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class Launches(Protocol):
    """Where the API leaves launches."""

    def add(self, launch: Launch) -> bool:
        """Launch soon, without blocking."""
        ...

    def close(self) -> None:
        """Finish the launches under way; may block."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """What the resources of one application share."""

    desk: Desk
    launches: Launches
    catalog: Catalog
    environment: Mapping[str, str] = field(repr=False)
    scheduler_state: Callable[[], PartState]
    """Of the scheduler in this process; ``off`` where it has none."""


def _office(request: Request) -> Office:
    office: Any = request.app.state.office
    found: Office = office
    return found


TheOffice = Annotated[Office, Depends(_office)]

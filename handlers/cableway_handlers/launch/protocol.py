"""
What every launcher promises: the same name is started once, whoever asks and how often.

A name is a run's id and the number of its attempt. Who launches again after a crash, a lost
reply or a restart gives the same name and gets the first launch's external id; a new container
needs a new attempt number. That the job itself works once is the lease's matter, not the launcher's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from cableway.errors import UnavailableError


class LaunchError(UnavailableError):
    """The container could not be started. With ``permanent``, asking again cannot help."""

    code = "launch_failed"
    title = "The container could not be started"

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


@dataclass(frozen=True, slots=True)
class Launch:
    """The wish for one container: this attempt of this run."""

    run_id: str
    attempt: int

    @property
    def name(self) -> str:
        """The launch's name on every platform: letters, digits and hyphens, 63 at most for a UUID."""
        return f"r-{self.run_id}-{self.attempt}"


class LaunchState(StrEnum):
    """Where a container stands, as far as its platform tells."""

    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class LaunchStatus:
    """A container's state; for an ended one its exit code and the platform's reason, where these are known."""

    state: LaunchState
    exit_code: int | None = None
    reason: str | None = None
    signal: str | None = None
    """What killed it, as ``SIGKILL``, where the launcher has seen that itself."""


@runtime_checkable
class Watchful(Protocol):
    """A launcher that sees at once when a container of its own has failed."""

    on_failure: Callable[[Launch], object]
    """Called, from any thread, when the container of a launch has ended with another code than 0. Must not raise."""


class Launcher(Protocol):
    """Starts containers that run ``python -m cableway RUN_ID``. Its methods block and may be called from any thread."""

    def launch(self, launch: Launch) -> str:
        """Start the container of *launch* unless it was started before, and return its external id.

        Raise `LaunchError` if it was not started; the run then stays as it is, for another try.
        """
        ...

    def status(self, external_id: str) -> LaunchStatus:
        """Tell where the container stands; ``UNKNOWN`` for an id that this launcher never gave."""
        ...

    def stop(self, external_id: str, *, grace_s: float = 30.0) -> None:
        """Ask the container to drain, and kill it after *grace_s* seconds; nothing happens to an ended one.

        Return without waiting.
        Raise `LaunchError` if the platform could not be asked.
        """
        ...

"""Where a command works: the database that the environment names, or else the embedded one."""

from __future__ import annotations

import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cableway.errors import UnknownNameError, UnknownPipelineError, UnknownRunError
from cableway.settings import Settings, get_environment, read_settings

if TYPE_CHECKING:
    from cableway.embedded import EmbeddedServer
    from cableway.storage import DatabaseStorage
    from cableway_handlers.launch.local import LocalLauncher

LAUNCHES = Path(".cableway") / "launches"
"""Where the local launcher keeps what it knows of its processes, and their logs."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """The settings, a database among them, and the environment that says the same to a child process."""

    settings: Settings
    environment: Mapping[str, str]
    held: tuple[int, ...] = ()
    """Descriptors that jobs hold as well: by them an embedded Postgres outlives the command that started a job."""

    def storage(self) -> DatabaseStorage:
        """The storage, to be used as a context manager."""
        from cableway.storage import DatabaseStorage

        return DatabaseStorage.from_settings(self.settings)

    def launcher(self, *, show_log: bool = False) -> LocalLauncher:
        """The launcher of this machine."""
        from cableway_handlers.launch.local import LocalLauncher

        return LocalLauncher(LAUNCHES, environment=self.environment, show_log=show_log, held=self.held)


@contextmanager
def workplace(extra: Mapping[str, str] | None = None) -> Generator[Workplace]:
    """The database that the environment or ``.env`` names; where there is none, an embedded Postgres.

    That is said in one line when it is made, and when something is not found in it. *extra* variables go before those.
    Raise `SettingsError`, or `UnavailableError` where the embedded one is not installed.
    """
    variables = {**get_environment(), **(extra or {})}
    settings = read_settings(variables)
    if settings.database is not None:
        yield Workplace(settings, variables)
        return
    with _embedded() as server:
        variables = {**variables, "DATABASE_URL": server.url}
        yield Workplace(read_settings(variables), variables, held=(server.use,))


@contextmanager
def _embedded() -> Generator[EmbeddedServer]:
    from cableway.embedded import FOLDER, embedded_server

    told: list[str] = []

    def say(line: str) -> None:
        told.append(line)
        _say(line)

    with embedded_server(say=say) as server:
        try:
            yield server
        except (UnknownNameError, UnknownPipelineError, UnknownRunError):
            if not told:
                _say(f"no database is named, so this looked in the embedded Postgres in {FOLDER}/")
            raise


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")

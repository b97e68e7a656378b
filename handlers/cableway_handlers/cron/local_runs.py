"""Runs of schedulers that live in a Python program: processes on this machine, as for ``cableway scheduler``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from psycopg.conninfo import make_conninfo

from cableway.settings import DatabaseSettings, Settings, get_environment, read_settings
from cableway_handlers.cron.service import SchedulerService
from cableway_handlers.launch.local import LocalLauncher
from cableway_handlers.launch.sweep import Sweep
from cableway_handlers.launch.sweep_loop import SweepLoop

if TYPE_CHECKING:
    from cableway.storage import DatabaseStorage
    from cableway.store.reading import RunDetails

LAUNCHES = Path(".cableway") / "launches"
"""Where the launcher keeps what it knows of its processes, and their logs."""
LOOK_S = 0.25
"""Seconds between two looks at a run that is waited for."""


def service_on_this_machine(database: DatabaseSettings, names: Sequence[str] | None) -> SchedulerService:
    """A scheduler of *database* whose runs are processes on this machine."""
    settings, variables = _surroundings(database)
    sweep = Sweep.from_settings(settings, LocalLauncher(LAUNCHES, environment=variables))
    return SchedulerService(settings, SweepLoop(sweep), variables=variables, names=names)


def run_to_its_end(storage: DatabaseStorage, run_id: str) -> RunDetails:
    """Have a recorded run started here, after those that it must wait for, and return it when it has ended."""
    settings, variables = _surroundings(storage.session.settings)
    sweep = Sweep.from_settings(settings, LocalLauncher(LAUNCHES, environment=variables))
    try:
        while (details := storage.get_run(run_id)).run.ended_at is None:
            sweep.once()
            Event().wait(LOOK_S)
    finally:
        sweep.close()
    return details


def _surroundings(database: DatabaseSettings) -> tuple[Settings, Mapping[str, str]]:
    """The settings and the environment of this process, naming *database*, however it came to be known here."""
    variables = {
        **get_environment(),
        "DATABASE_URL": make_conninfo(**database.parameters()),
        "DATABASE_SCHEMA": database.schema,
    }
    return read_settings(variables), variables

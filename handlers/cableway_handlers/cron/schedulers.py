"""
Schedules as Python objects: a pipeline, a cron rule, and what runs the one by the other.

What is started stands in the database like any other scheduler: its pipeline as a version, its rule as a trigger, its
ticks decided once, whoever else runs beside. Each run is a process of its own, so the blocs must be importable by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cableway.definition import PipelineDefinition
from cableway.definitions.cron_grammar import CronError
from cableway.definitions.timetable import timetable
from cableway.errors import DefinitionError, Fault, UnknownNameError
from cableway.settings import DatabaseSettings, get_settings
from cableway.storage import DatabaseStorage
from cableway_handlers.cron.local_runs import run_to_its_end, service_on_this_machine
from cableway_handlers.cron.service import SchedulerService

if TYPE_CHECKING:
    from cableway.store.reading import RunDetails


class CronTrigger:
    """A cron rule in a time zone. Raise `DefinitionError` where the rule is none, or is never due."""

    def __init__(self, expression: str, timezone: str = "UTC") -> None:
        try:
            self._table = timetable(expression, timezone)
        except CronError as error:
            pointer = "/timezone" if "time zone" in str(error) else "/expression"
            message = f"the cron rule {expression[:60]!r}: {error}"
            raise DefinitionError(message, [Fault(pointer, "cron", str(error))]) from None
        self.expression = expression
        self.timezone = timezone

    def __repr__(self) -> str:
        return f"CronTrigger({self.expression!r}, {self.timezone!r})"

    def next_run(self, after: datetime | None = None) -> datetime | None:
        """The first instant after *after*, by default after now, at which it is due, in UTC."""
        return self._table.after(datetime.now(UTC) if after is None else after)


class CronScheduler:
    """Runs a pipeline by a cron rule, under a name, by default the pipeline's.

    *definition* is saved as a version where it says anything new; None: the scheduler of this name is in the
    database already, with its pipeline and its rule. *database* is by default the one that the environment names.
    """

    def __init__(
        self,
        definition: PipelineDefinition | None,
        trigger: CronTrigger | None = None,
        name: str | None = None,
        *,
        database: DatabaseSettings | None = None,
    ) -> None:
        if definition is None and name is None:
            raise ValueError("a scheduler without a definition is known by its name alone, which is missing")
        if definition is not None and trigger is None:
            raise ValueError("a definition is run by a trigger, which is missing")
        self.definition = definition
        self.trigger = trigger
        self.name = name or (definition.name if definition is not None else "")
        self._database = database
        self._manager: SchedulerManager | None = None

    def start(self) -> None:
        """Save what is new and run it in the background, until `stop`; the process lives as long. Raise as `save`."""
        if self._manager is None:
            self._manager = SchedulerManager([self], database=self._database)
            self._manager.start()

    def stop(self) -> None:
        """Start no more runs; those that run go on."""
        manager, self._manager = self._manager, None
        if manager is not None:
            manager.stop()

    def run_once(self) -> RunDetails:
        """Run the pipeline now, whenever it is due, and return its run when that has ended. Raise as `save`."""
        database = self._database or get_settings().state_database
        with DatabaseStorage(database) as storage:
            self.save(storage)
            return run_to_its_end(storage, storage.trigger_scheduler(self.name).run_id)

    def save(self, storage: DatabaseStorage) -> None:
        """Store pipeline, trigger and scheduler where they differ from what is stored.

        Raise `DefinitionError` with every fault, or `UnknownNameError` for a stored scheduler that is not there.
        """
        if self.definition is None or self.trigger is None:
            storage.get_scheduler(self.name)
            return
        storage.save_pipeline(self.definition)
        try:
            storage.update_trigger(self.name, pipeline=self.definition.name, expression=self.trigger.expression)
        except UnknownNameError:
            storage.create_trigger(self.name, self.definition.name, self.trigger.expression)
        try:
            storage.update_scheduler(
                self.name, pipeline=self.definition.name, trigger=self.name, timezone=self.trigger.timezone
            )
        except UnknownNameError:
            storage.create_scheduler(self.name, self.definition.name, self.name, timezone=self.trigger.timezone)


class SchedulerManager:
    """Runs several schedulers side by side, each by its own rule; with *others* also those that are stored later."""

    def __init__(
        self, schedulers: Sequence[CronScheduler], *, database: DatabaseSettings | None = None, others: bool = False
    ) -> None:
        self.schedulers = list(schedulers)
        self._database = database
        self._others = others
        self._service: SchedulerService | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._service is not None

    def start(self) -> None:
        """Save what is new and begin; the process lives until `stop`. Raise as `CronScheduler.save`."""
        if self._service is not None:
            return
        database = self._database or get_settings().state_database
        with DatabaseStorage(database) as storage:
            for scheduler in self.schedulers:
                scheduler.save(storage)
        names = None if self._others else [scheduler.name for scheduler in self.schedulers]
        self._service = service_on_this_machine(database, names)
        self._service.start()

    def stop(self) -> None:
        """Start no more runs; those that run go on."""
        service, self._service = self._service, None
        if service is not None:
            service.close()


def load_scheduler_manager(storage: DatabaseStorage, names: Sequence[str] | None = None) -> SchedulerManager:
    """A manager of the stored schedulers, by default of all, those that come later too; it needs *storage* no more.

    Raise `UnknownNameError` where one of *names* is not there.
    """
    database = storage.session.settings
    wanted = [row.name for row in storage.list_schedulers()] if names is None else list(names)
    for name in () if names is None else wanted:
        storage.get_scheduler(name)
    loaded = [CronScheduler(None, name=name, database=database) for name in wanted]
    return SchedulerManager(loaded, database=database, others=names is None)


def schedule_pipeline(definition: PipelineDefinition, expression: str, name: str | None = None) -> CronScheduler:
    """The scheduler of a pipeline by a cron expression, to be started. Raise `DefinitionError` as `CronTrigger`."""
    return CronScheduler(definition, CronTrigger(expression), name)

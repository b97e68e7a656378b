"""What can be asked of definitions: blocs, pipelines with their versions, triggers, schedulers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Unpack
from urllib.parse import quote

from cableway_handlers.client import calls
from cableway_handlers.client.asking import Asking, asked, many, member, one
from cableway_handlers.client.options import BackfillOptions, Policies
from cableway_handlers.client.shapes import (
    Backfill,
    Bloc,
    Pipeline,
    PipelineEntry,
    Preview,
    Run,
    Scheduler,
    Tick,
    Trigger,
    VersionEntry,
)


class Definitions:
    """Methods of both clients."""

    @asked
    def list_blocs(self, *, bloc_type: str | None = None) -> Asking[list[Bloc]]:
        """Every bloc by name."""
        return many("/blocs", {"bloc_type": bloc_type})

    @asked
    def get_bloc(self, name: str) -> Asking[Bloc]:
        """The bloc of this name."""
        return one(calls.get("blocs", name))

    @asked
    def create_bloc(
        self, name: str, bloc_type: str, config: Mapping[str, Any] | None = None, *, description: str = ""
    ) -> Asking[Bloc]:
        """Store a bloc for pipelines to name."""
        return one(calls.create("blocs", {"name": name, **calls.bloc(bloc_type, config, description)}))

    @asked
    def update_bloc(
        self,
        name: str,
        bloc_type: str,
        config: Mapping[str, Any] | None = None,
        *,
        description: str = "",
        expected_revision: int | None = None,
    ) -> Asking[Bloc]:
        """Make the bloc what is given, and a new version of each pipeline that names it."""
        return one(calls.change("blocs", name, calls.bloc(bloc_type, config, description), expected_revision))

    @asked
    def delete_bloc(self, name: str, *, expected_revision: int | None = None) -> Asking[None]:
        """Delete a bloc that no pipeline names."""
        return one(calls.delete("blocs", name, expected_revision))

    @asked
    def list_pipelines(self, *, archived: bool = False) -> Asking[list[PipelineEntry]]:
        """Every pipeline by name, or every archived one."""
        return many("/pipelines", {"archived": archived})

    @asked
    def get_pipeline(self, name: str, version: int | None = None) -> Asking[Pipeline]:
        """A version of the pipeline, by default the active one."""
        return one(calls.get("pipelines", name, *(() if version is None else ("versions", version))))

    @asked
    def create_pipeline(
        self, /, name: str, stages: Sequence[Any], *, note: str = "", **document: Any
    ) -> Asking[Pipeline]:
        """Store a new pipeline; *stages* and *document* as `DatabaseStorage.create_pipeline` takes them."""
        return one(calls.create("pipelines", {"name": name, "stages": list(stages), **document}, note=note))

    @asked
    def update_pipeline(
        self, document: Mapping[str, Any], *, expected_version: int | None = None, note: str = ""
    ) -> Asking[Pipeline]:
        """Save the whole *document* as the next version of the pipeline that it names."""
        return one(calls.change("pipelines", document["name"], document, expected_version, note=note))

    @asked
    def delete_pipeline(self, name: str, *, expected_version: int | None = None) -> Asking[None]:
        """Archive the pipeline."""
        return one(calls.delete("pipelines", name, expected_version))

    @asked
    def list_versions(self, name: str) -> Asking[list[VersionEntry]]:
        """The pipeline's versions, newest first."""
        return many(f"/pipelines/{quote(name, safe='')}/versions", {})

    @asked
    def activate(self, name: str, version: int, *, expected_version: int | None = None) -> Asking[Pipeline]:
        """Pin new runs to *version*."""
        return one(calls.do("pipelines", name, "versions", version, "activate", expected=expected_version))

    @asked
    def roll_back(self, name: str, *, expected_version: int | None = None) -> Asking[Pipeline]:
        """Activate the version that was active when the present one was made."""
        return one(calls.do("pipelines", name, "rollback", expected=expected_version))

    @asked
    def list_triggers(self, *, pipeline: str | None = None, kind: str | None = None) -> Asking[list[Trigger]]:
        """Every trigger by name."""
        return many("/triggers", {"pipeline": pipeline, "kind": kind})

    @asked
    def get_trigger(self, name: str) -> Asking[Trigger]:
        """The trigger of this name."""
        return one(calls.get("triggers", name))

    @asked
    def create_trigger(
        self,
        name: str,
        pipeline: str,
        expression: str | None = None,
        *,
        kind: str = "cron",
        config: Mapping[str, Any] | None = None,
        enabled: bool = True,
    ) -> Asking[Trigger]:
        """Store what starts runs of *pipeline*."""
        return one(
            calls.create(
                "triggers", {"name": name, "kind": kind, **calls.trigger(pipeline, expression, config, enabled=enabled)}
            )
        )

    @asked
    def update_trigger(
        self,
        name: str,
        pipeline: str,
        expression: str | None = None,
        *,
        config: Mapping[str, Any] | None = None,
        enabled: bool = True,
        expected_revision: int | None = None,
    ) -> Asking[Trigger]:
        """Make the trigger what is given; its kind stays."""
        return one(
            calls.change(
                "triggers", name, calls.trigger(pipeline, expression, config, enabled=enabled), expected_revision
            )
        )

    @asked
    def delete_trigger(self, name: str, *, expected_revision: int | None = None) -> Asking[None]:
        """Delete a trigger that no scheduler names."""
        return one(calls.delete("triggers", name, expected_revision))

    @asked
    def list_schedulers(self, *, pipeline: str | None = None, paused: bool | None = None) -> Asking[list[Scheduler]]:
        """Every scheduler by name."""
        return many("/schedulers", {"pipeline": pipeline, "paused": paused})

    @asked
    def get_scheduler(self, name: str) -> Asking[Scheduler]:
        """The scheduler of this name."""
        return one(calls.get("schedulers", name))

    @asked
    def create_scheduler(
        self, name: str, pipeline: str, trigger: str, **policies: Unpack[Policies]
    ) -> Asking[Scheduler]:
        """Tie the cron trigger *trigger* to *pipeline*."""
        return one(calls.create("schedulers", {"name": name, **calls.scheduler(pipeline, trigger, policies)}))

    @asked
    def update_scheduler(
        self,
        name: str,
        pipeline: str,
        trigger: str,
        *,
        expected_revision: int | None = None,
        **policies: Unpack[Policies],
    ) -> Asking[Scheduler]:
        """Make the scheduler what is given; policies that are not take their defaults."""
        return one(calls.change("schedulers", name, calls.scheduler(pipeline, trigger, policies), expected_revision))

    @asked
    def delete_scheduler(self, name: str, *, expected_revision: int | None = None) -> Asking[None]:
        """Delete the scheduler; what it has run stays."""
        return one(calls.delete("schedulers", name, expected_revision))

    @asked
    def pause_scheduler(self, name: str, note: str = "") -> Asking[Scheduler]:
        """Let it start no more runs until it is resumed."""
        return one(calls.do("schedulers", name, "pause", body={"note": note}))

    @asked
    def resume_scheduler(self, name: str) -> Asking[Scheduler]:
        """Let it go on with its next tick."""
        return one(calls.do("schedulers", name, "resume"))

    @asked
    def trigger_scheduler(self, name: str, parameters: Mapping[str, Any] | None = None) -> Asking[Run]:
        """Start the run that it would start, out of turn."""
        return one(calls.do("schedulers", name, "trigger", body={"parameters": dict(parameters or {})}))

    @asked
    def backfill_scheduler(
        self, name: str, since: datetime, until: datetime, *, dry_run: bool = False, **options: Unpack[BackfillOptions]
    ) -> Asking[Backfill]:
        """Start a run for each tick from *since* up to *until* that has none."""
        body = {"since": since.isoformat(), "until": until.isoformat(), "dry_run": dry_run, **options}
        return one(calls.do("schedulers", name, "backfill", body=body))

    @asked
    def preview_scheduler(self, name: str, *, limit: int = 10) -> Asking[Preview]:
        """When it is due next."""
        return one(calls.get("schedulers", name, "preview", limit=limit))

    @asked
    def list_ticks(self, name: str, *, limit: int = 100) -> Asking[list[Tick]]:
        """What became of its ticks, the latest first."""
        return member(calls.get("schedulers", name, "ticks", limit=limit), "items")

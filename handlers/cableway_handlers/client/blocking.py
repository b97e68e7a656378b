"""
The API's client for programs that wait for each answer.

Above 400 lines: one method for each address, so that a reader finds them all in one place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from cableway_handlers.client import calls
from cableway_handlers.client.exchange import TIMEOUT_S, Call
from cableway_handlers.client.http import HttpClient
from cableway_handlers.client.shapes import (
    Attempt,
    Backfill,
    Bloc,
    BlocType,
    DeadLetter,
    Delivery,
    Explanation,
    Health,
    Hook,
    Limit,
    Pipeline,
    PipelineEntry,
    Preview,
    Replayed,
    Run,
    RunEntry,
    Scheduler,
    Span,
    Stage,
    Tick,
    Trigger,
    VersionEntry,
)


class CablewayClient:
    """Asks the API at *base_url*; *auth_token* is an API key. To be closed, or used in a ``with``.

    What did not get through is sent again, and nothing is done twice by it. Each method raises `ClientError` for a
    refusal (its ``body`` is the problem, fault by fault) and `ServiceUnavailableError` where no answer came.
    """

    def __init__(
        self,
        base_url: str = calls.DEFAULT_URL,
        auth_token: str | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = HttpClient(base_url, auth_token, timeout_s=timeout_s, transport=transport)

    def close(self) -> None:
        """Let go of connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def health_check(self) -> Health:
        """How the service is; raises only where it does not answer at all."""
        shown: Health = self._one(calls.HEALTH)
        return shown

    def list_blocs(self, *, bloc_type: str | None = None) -> list[Bloc]:
        """Every bloc by name."""
        shown: list[Bloc] = self._many("/blocs", {"bloc_type": bloc_type})
        return shown

    def get_bloc(self, name: str) -> Bloc:
        """The bloc of this name."""
        shown: Bloc = self._one(calls.get("blocs", name))
        return shown

    def create_bloc(
        self, name: str, bloc_type: str, config: Mapping[str, Any] | None = None, *, description: str = ""
    ) -> Bloc:
        """Store a bloc for pipelines to name."""
        shown: Bloc = self._one(calls.create("blocs", {"name": name, **calls.bloc(bloc_type, config, description)}))
        return shown

    def update_bloc(
        self,
        name: str,
        bloc_type: str,
        config: Mapping[str, Any] | None = None,
        *,
        description: str = "",
        expected_revision: int | None = None,
    ) -> Bloc:
        """Make the bloc what is given, and a new version of each pipeline that names it."""
        shown: Bloc = self._one(
            calls.change("blocs", name, calls.bloc(bloc_type, config, description), expected_revision)
        )
        return shown

    def delete_bloc(self, name: str, *, expected_revision: int | None = None) -> None:
        """Delete a bloc that no pipeline names."""
        self._one(calls.delete("blocs", name, expected_revision))

    def list_pipelines(self, *, archived: bool = False) -> list[PipelineEntry]:
        """Every pipeline by name, or every archived one."""
        shown: list[PipelineEntry] = self._many("/pipelines", {"archived": archived})
        return shown

    def get_pipeline(self, name: str, version: int | None = None) -> Pipeline:
        """A version of the pipeline, by default the active one."""
        shown: Pipeline = self._one(calls.get("pipelines", name, *(() if version is None else ("versions", version))))
        return shown

    def create_pipeline(self, name: str, stages: Sequence[Any], *, note: str = "", **document: Any) -> Pipeline:
        """Store a new pipeline; *stages* and *document* as `DatabaseStorage.create_pipeline` takes them."""
        shown: Pipeline = self._one(
            calls.create("pipelines", {"name": name, "stages": list(stages), **document}, note=note)
        )
        return shown

    def update_pipeline(
        self, document: Mapping[str, Any], *, expected_version: int | None = None, note: str = ""
    ) -> Pipeline:
        """Save the whole *document* as the next version of the pipeline that it names."""
        shown: Pipeline = self._one(calls.change("pipelines", document["name"], document, expected_version, note=note))
        return shown

    def delete_pipeline(self, name: str, *, expected_version: int | None = None) -> None:
        """Archive the pipeline."""
        self._one(calls.delete("pipelines", name, expected_version))

    def list_versions(self, name: str) -> list[VersionEntry]:
        """The pipeline's versions, newest first."""
        shown: list[VersionEntry] = self._many(f"/pipelines/{quote(name, safe='')}/versions", {})
        return shown

    def activate(self, name: str, version: int, *, expected_version: int | None = None) -> Pipeline:
        """Pin new runs to *version*."""
        shown: Pipeline = self._one(
            calls.do("pipelines", name, "versions", version, "activate", expected=expected_version)
        )
        return shown

    def roll_back(self, name: str, *, expected_version: int | None = None) -> Pipeline:
        """Activate the version that was active when the present one was made."""
        shown: Pipeline = self._one(calls.do("pipelines", name, "rollback", expected=expected_version))
        return shown

    def list_triggers(self, *, pipeline: str | None = None, kind: str | None = None) -> list[Trigger]:
        """Every trigger by name."""
        shown: list[Trigger] = self._many("/triggers", {"pipeline": pipeline, "kind": kind})
        return shown

    def get_trigger(self, name: str) -> Trigger:
        """The trigger of this name."""
        shown: Trigger = self._one(calls.get("triggers", name))
        return shown

    def create_trigger(
        self,
        name: str,
        pipeline: str,
        expression: str | None = None,
        *,
        kind: str = "cron",
        config: Mapping[str, Any] | None = None,
        enabled: bool = True,
    ) -> Trigger:
        """Store what starts runs of *pipeline*."""
        shown: Trigger = self._one(
            calls.create(
                "triggers", {"name": name, "kind": kind, **calls.trigger(pipeline, expression, config, enabled=enabled)}
            )
        )
        return shown

    def update_trigger(
        self,
        name: str,
        pipeline: str,
        expression: str | None = None,
        *,
        config: Mapping[str, Any] | None = None,
        enabled: bool = True,
        expected_revision: int | None = None,
    ) -> Trigger:
        """Make the trigger what is given; its kind stays."""
        shown: Trigger = self._one(
            calls.change(
                "triggers", name, calls.trigger(pipeline, expression, config, enabled=enabled), expected_revision
            )
        )
        return shown

    def delete_trigger(self, name: str, *, expected_revision: int | None = None) -> None:
        """Delete a trigger that no scheduler names."""
        self._one(calls.delete("triggers", name, expected_revision))

    def list_schedulers(self, *, pipeline: str | None = None, paused: bool | None = None) -> list[Scheduler]:
        """Every scheduler by name."""
        shown: list[Scheduler] = self._many("/schedulers", {"pipeline": pipeline, "paused": paused})
        return shown

    def get_scheduler(self, name: str) -> Scheduler:
        """The scheduler of this name."""
        shown: Scheduler = self._one(calls.get("schedulers", name))
        return shown

    def create_scheduler(self, name: str, pipeline: str, trigger: str, **policies: Any) -> Scheduler:
        """Tie the cron trigger *trigger* to *pipeline*."""
        shown: Scheduler = self._one(
            calls.create("schedulers", {"name": name, "pipeline": pipeline, "trigger_name": trigger, **policies})
        )
        return shown

    def update_scheduler(
        self, name: str, pipeline: str, trigger: str, *, expected_revision: int | None = None, **policies: Any
    ) -> Scheduler:
        """Make the scheduler what is given; policies that are not take their defaults."""
        shown: Scheduler = self._one(
            calls.change(
                "schedulers", name, {"pipeline": pipeline, "trigger_name": trigger, **policies}, expected_revision
            )
        )
        return shown

    def delete_scheduler(self, name: str, *, expected_revision: int | None = None) -> None:
        """Delete the scheduler; what it has run stays."""
        self._one(calls.delete("schedulers", name, expected_revision))

    def pause_scheduler(self, name: str, note: str = "") -> Scheduler:
        """Let it start no more runs until it is resumed."""
        shown: Scheduler = self._one(calls.do("schedulers", name, "pause", body={"note": note}))
        return shown

    def resume_scheduler(self, name: str) -> Scheduler:
        """Let it go on with its next tick."""
        shown: Scheduler = self._one(calls.do("schedulers", name, "resume"))
        return shown

    def trigger_scheduler(self, name: str, parameters: Mapping[str, Any] | None = None) -> Run:
        """Start the run that it would start, out of turn."""
        shown: Run = self._one(calls.do("schedulers", name, "trigger", body={"parameters": dict(parameters or {})}))
        return shown

    def backfill_scheduler(
        self, name: str, since: datetime, until: datetime, *, dry_run: bool = False, **options: Any
    ) -> Backfill:
        """Start a run for each tick from *since* up to *until* that has none; *options*: ``at_most``, ``overlap``."""
        body = {"since": since.isoformat(), "until": until.isoformat(), "dry_run": dry_run, **options}
        shown: Backfill = self._one(calls.do("schedulers", name, "backfill", body=body))
        return shown

    def preview_scheduler(self, name: str, *, limit: int = 10) -> Preview:
        """When it is due next."""
        shown: Preview = self._one(calls.get("schedulers", name, "preview", limit=limit))
        return shown

    def list_ticks(self, name: str, *, limit: int = 100) -> list[Tick]:
        """What became of its ticks, the latest first."""
        shown: list[Tick] = (self._one(calls.get("schedulers", name, "ticks", limit=limit)))["items"]
        return shown

    def list_runs(self, *, limit: int | None = 100, **filters: Any) -> list[RunEntry]:
        """The newest runs, *limit* of them at most (None: all).

        *filters* are ``pipeline``, ``state``, ``scheduler``, ``trigger``, ``since`` and ``until``.
        """
        shown: list[RunEntry] = self._many("/runs", filters, limit)
        return shown

    def get_run(self, run_id: str) -> Run:
        """The run with its attempts and stages."""
        shown: Run = self._one(calls.get("runs", run_id))
        return shown

    def create_run(
        self, pipeline: str, parameters: Mapping[str, Any] | None = None, *, idempotency_key: str | None = None
    ) -> Run:
        """Start a run now: one, however often the request has to be sent."""
        shown: Run = self._one(calls.create_run(pipeline, parameters, idempotency_key))
        return shown

    def cancel_run(self, run_id: str) -> Run:
        """Ask for the run's end."""
        shown: Run = self._one(calls.do("runs", run_id, "cancel"))
        return shown

    def retry_run(self, run_id: str, *, from_stage: str | None = None) -> Run:
        """One more attempt at a run that ended without success; with a stage, a new run that reads all again."""
        shown: Run = self._one(calls.do("runs", run_id, "retry", body={"from_stage": from_stage}))
        return shown

    def replay_run(self, run_id: str, **which: Any) -> list[Replayed]:
        """Have what failed in the run worked on again: one new run for each stage.

        *which* are ``stage``, ``bloc``, ``error_type``, ``limit``, ``version`` and ``latest``.
        """
        shown: list[Replayed] = (self._one(calls.do("runs", run_id, "replay", body=which)))["runs"]
        return shown

    def replay_dead_letters(self, **which: Any) -> list[Replayed]:
        """Have dead letters worked on again: *which* as for a run, and ``letters``, ``run_id`` and ``pipeline``."""
        shown: list[Replayed] = (self._one(calls.do("dead-letters", "replay", body=which)))["runs"]
        return shown

    def list_attempts(self, run_id: str) -> list[Attempt]:
        """The containers that have worked on the run, in order."""
        shown: list[Attempt] = (self._one(calls.get("runs", run_id, "attempts")))["items"]
        return shown

    def list_stages(self, run_id: str) -> list[Stage]:
        """What each stage of the run's last attempt did."""
        shown: list[Stage] = (self._one(calls.get("runs", run_id, "stages")))["items"]
        return shown

    def explain_run(self, run_id: str) -> Explanation:
        """Which stage held the run up, and what more workers there would have given."""
        shown: Explanation = self._one(calls.get("runs", run_id, "explanation"))
        return shown

    def list_spans(self, run_id: str) -> list[Span]:
        """The sample of the run's trace that is kept."""
        shown: list[Span] = (self._one(calls.get("runs", run_id, "spans")))["items"]
        return shown

    def list_dead_letters(self, *, limit: int | None = 100, **filters: Any) -> list[DeadLetter]:
        """The newest dead letters, *limit* of them at most (None: all).

        *filters* are ``run_id``, ``pipeline``, ``state``, ``stage``, ``bloc`` and ``error_type``.
        """
        shown: list[DeadLetter] = self._many("/dead-letters", filters, limit)
        return shown

    def get_dead_letter(self, letter_id: int) -> DeadLetter:
        """The dead letter with this id."""
        shown: DeadLetter = self._one(calls.get("dead-letters", letter_id))
        return shown

    def list_hooks(self) -> list[Hook]:
        """Every webhook by name."""
        shown: list[Hook] = self._many("/hooks", {})
        return shown

    def list_deliveries(self, *, limit: int | None = 100, **filters: Any) -> list[Delivery]:
        """The newest records of webhooks, *limit* of them at most (None: all).

        *filters* are ``trigger`` and ``verdict``.
        """
        shown: list[Delivery] = self._many("/deliveries", filters, limit)
        return shown

    def get_delivery(self, delivery_id: str) -> Delivery:
        """The record of one webhook."""
        shown: Delivery = self._one(calls.get("deliveries", delivery_id))
        return shown

    def list_limits(self) -> list[Limit]:
        """Every limit by name, with what runs have taken of it."""
        shown: list[Limit] = self._many("/limits", {})
        return shown

    def get_limit(self, name: str) -> Limit:
        """The limit of this name."""
        shown: Limit = self._one(calls.get("limits", name))
        return shown

    def set_limit(
        self, name: str, *, concurrency: int | None = None, rate: float | None = None, period_s: float = 1.0
    ) -> Limit:
        """Make the limit, or change it: units at a time, and units begun in each *period_s*."""
        body = {"concurrency": concurrency, "rate": rate, "period_s": period_s}
        shown: Limit = self._one(calls.change("limits", name, body, None))
        return shown

    def delete_limit(self, name: str) -> None:
        """Forget the limit."""
        self._one(calls.delete("limits", name, None))

    def list_bloc_types(self) -> list[BlocType]:
        """Every bloc type by name."""
        shown: list[BlocType] = self._many("/bloc-types", {})
        return shown

    def get_bloc_type(self, name: str) -> BlocType:
        """What the bloc type is and how it is configured."""
        shown: BlocType = self._one(calls.get("bloc-types", name))
        return shown

    def _one(self, call: Call) -> Any:
        return self._http.send(call)

    def _many(self, path: str, query: Mapping[str, Any], wanted: int | None = None) -> list[Any]:
        found: list[Any] = []
        cursor: str | None = None
        while wanted is None or len(found) < wanted:
            page = self._http.send(calls.page(path, query, cursor, None if wanted is None else wanted - len(found)))
            found += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        return found

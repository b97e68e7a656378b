"""Schedulers: what ties a cron trigger to a pipeline."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field, TypeAdapter

from cableway.definitions.timetable import Fire
from cableway.store.executor import Steps
from cableway.store.pages import page_of_schedulers
from cableway.store.reading import Catchup, DstGap, Overlap, SchedulerRow, read_schedulers
from cableway.stored import schedulers
from cableway.stored.backfills import CEILING, MOST_TICKS, Backfill, backfill, request_now
from cableway.stored.outlook import SchedulerState, read_outlook
from cableway.stored.ticks import TickRow, read_ticks
from cableway_handlers.api.access import Needs
from cableway_handlers.api.bodies import Addressed, Body, Instant, JsonObject, Name, StrictRoute, Whole
from cableway_handlers.api.etags import Precondition, answered, if_match, if_match_needed
from cableway_handlers.api.openapi import refuses
from cableway_handlers.api.paging import MAX_PAGE, PAGE, Asked, Page, asked, same, text_after
from cableway_handlers.api.resources.desk import TheOffice
from cableway_handlers.api.resources.owned import Owned, check_sees
from cableway_handlers.api.resources.runs import RunView, started
from cableway_handlers.api.scopes import Caller
from cableway_handlers.launch.protocol import Launch

router = APIRouter(prefix="/schedulers", tags=["schedulers"], route_class=StrictRoute)

SCHEDULERS = Owned("scheduler", read_schedulers, TypeAdapter(SchedulerRow))

Reads = Annotated[Caller, Depends(Needs("read", "schedulers"))]
Writes = Annotated[Caller, Depends(Needs("write", "schedulers"))]


class SchedulerSettings(Body):
    """What a scheduler is, beside its name."""

    pipeline: Name = Field(description="It need not be there yet; without it nothing runs.")
    trigger_name: Name = Field(description="A stored trigger of kind `cron`.")
    parameters: JsonObject = Field(default_factory=dict[str, Any], description="What every run is given.")
    timezone: str = Field(default="UTC", max_length=100, description="An IANA name, such as `Europe/Berlin`.")
    dst_gap: DstGap = Field(default="run", description="What becomes of a time that a change of clocks leaves out.")
    catchup: Catchup = Field(default="latest", description="Which of the ticks that were missed run late.")
    catchup_window_s: float = Field(default=3600.0, ge=0, le=366 * 86_400, description="How late they may run.")
    max_catchup_runs: int = Field(default=10, ge=1, le=100)
    overlap: Overlap | None = Field(default=None, description="While an earlier run is there; null: the pipeline's.")
    jitter_s: float = Field(default=0.0, ge=0, le=86_400, description="A tick starts up to so much later.")
    starts_at: Instant | None = None
    ends_at: Instant | None = None
    paused: bool = False
    pause_note: str = Field(default="", max_length=1000)
    pause_after_failures: int | None = Field(default=None, ge=1, le=1_000_000)


class ChangedScheduler(SchedulerSettings, Addressed):
    """A scheduler as it shall be."""


class NewScheduler(SchedulerSettings):
    """A scheduler to be stored."""

    name: Name


class Preview(BaseModel):
    """When a scheduler is due."""

    name: str
    state: SchedulerState
    note: str
    fires: list[Fire]


@router.get("", summary="List schedulers")
async def list_schedulers(
    office: TheOffice,
    caller: Reads,
    page: Annotated[Asked, Depends(asked)],
    pipeline: Annotated[str | None, Query(max_length=100)] = None,
    paused: bool | None = None,
) -> Page[SchedulerRow]:
    """Schedulers by name."""
    after = page.after(text_after)
    rows = await office.desk.read(
        lambda: page_of_schedulers(after, page.limit + 1, caller.pipelines, pipeline=pipeline, paused=paused)
    )
    return page.page(rows, lambda row: [row.name], same)


@router.post("", summary="Store a scheduler", status_code=201, response_model=SchedulerRow, responses=refuses(409))
async def create_scheduler(office: TheOffice, caller: Writes, body: NewScheduler) -> Response:
    """Check it, and keep it."""
    check_sees(caller, body.pipeline)
    policies = body.model_dump(exclude={"name", "pipeline", "trigger_name"})
    row = await office.desk.change(lambda: schedulers.create(body.name, body.pipeline, body.trigger_name, policies))
    return SCHEDULERS.shown(row).response(201, location=f"/schedulers/{row.name}")


@router.get("/{name}", summary="A scheduler", response_model=SchedulerRow)
async def get_scheduler(request: Request, office: TheOffice, caller: Reads, name: Name) -> Response:
    """The scheduler as it stands."""
    return answered(request, SCHEDULERS.shown(await office.desk.read(lambda: SCHEDULERS.seen(name, caller))))


@router.put("/{name}", summary="Change a scheduler", response_model=SchedulerRow, responses=refuses(412, 428))
async def update_scheduler(
    office: TheOffice,
    caller: Writes,
    name: Name,
    body: ChangedScheduler,
    match: Annotated[Precondition, Depends(if_match_needed)],
) -> Response:
    """Make it what the body says. What has run stays, and no tick that is past runs again."""
    body.check_name(name)
    check_sees(caller, body.pipeline)
    changes = body.model_dump(exclude={"name"})

    def change() -> Steps[SchedulerRow]:
        return SCHEDULERS.matched(name, caller, match, schedulers.update(name, changes, expected_revision=None))

    return SCHEDULERS.shown(await office.desk.change(change)).response()


@router.delete("/{name}", summary="Delete a scheduler", status_code=204, responses=refuses(412))
async def delete_scheduler(
    office: TheOffice, caller: Writes, name: Name, match: Annotated[Precondition, Depends(if_match)]
) -> Response:
    """Delete it; what it has run stays."""
    await office.desk.change(
        lambda: SCHEDULERS.matched(name, caller, match, schedulers.delete(name, expected_revision=None))
    )
    return Response(status_code=204)


class Pause(Body):
    """Why somebody pauses a scheduler."""

    note: str = Field(default="", max_length=1000)


class TriggerNow(Body):
    """What a run out of turn is given."""

    parameters: JsonObject = Field(default_factory=dict[str, Any], description="They go before the scheduler's own.")


class NewBackfill(Body):
    """Which ticks are to be run, and how."""

    since: Instant = Field(description="From this instant on,")
    until: Instant = Field(description="up to this one, which is not in the future.")
    at_most: int = Field(default=MOST_TICKS, ge=1, le=CEILING, description="More ticks than that are refused.")
    overlap: Overlap = "queue_all"
    dry_run: bool = Field(default=False, description="Record nothing, and tell what would be.")


@router.post("/{name}/pause", summary="Pause a scheduler", response_model=SchedulerRow)
async def pause_scheduler(office: TheOffice, caller: Writes, name: Name, body: Pause | None = None) -> Response:
    """Let it start no more runs until it is resumed."""
    note = "" if body is None else body.note
    return SCHEDULERS.shown(
        await office.desk.change(lambda: SCHEDULERS.after(name, caller, schedulers.pause(name, note)))
    ).response()


@router.post("/{name}/resume", summary="Resume a scheduler", response_model=SchedulerRow)
async def resume_scheduler(office: TheOffice, caller: Writes, name: Name) -> Response:
    """Let it go on with its next tick; those in between stay on record without runs."""
    return SCHEDULERS.shown(
        await office.desk.change(lambda: SCHEDULERS.after(name, caller, schedulers.resume(name)))
    ).response()


@router.post(
    "/{name}/trigger", summary="Run a scheduler now", status_code=202, response_model=RunView, responses=refuses(409)
)
async def trigger_scheduler(
    office: TheOffice,
    caller: Annotated[Caller, Depends(Needs("run", "schedulers"))],
    name: Name,
    body: TriggerNow | None = None,
) -> Response:
    """Start the run that it would start, out of turn; it belongs to no tick."""
    parameters = {} if body is None else body.parameters
    return await started(
        office, await office.desk.read(lambda: SCHEDULERS.after(name, caller, request_now(name, parameters)))
    )


@router.post("/{name}/backfill", summary="Run the ticks of a time that has gone by")
async def backfill_scheduler(
    office: TheOffice,
    caller: Annotated[Caller, Depends(Needs("run", "schedulers"))],
    name: Name,
    body: NewBackfill,
) -> Backfill:
    """Record a run for each tick of it that has none, the oldest first, by the rule as it is now."""
    made = await office.desk.change(lambda: SCHEDULERS.after(name, caller, backfill(name, **body.model_dump())))
    if made.run_ids:
        office.launches.add(Launch(made.run_ids[0], 1))
    return made


@router.get("/{name}/preview", summary="When a scheduler is due next")
async def preview_scheduler(
    office: TheOffice, caller: Reads, name: Name, limit: Annotated[Whole, Query(ge=1, le=100)] = 10
) -> Preview:
    """Its next ticks from now on, were it not paused."""
    outlook = await office.desk.read(lambda: SCHEDULERS.after(name, caller, read_outlook(name)))
    fires: list[Fire] = []
    if outlook.state != "error":
        fires = await asyncio.to_thread(lambda: list(islice(outlook.fires(), limit)))
    return Preview(name=name, state=outlook.state, note=outlook.note, fires=fires)


@router.get("/{name}/ticks", summary="What became of a scheduler's ticks")
async def list_ticks(
    office: TheOffice, caller: Reads, name: Name, limit: Annotated[Whole, Query(ge=1, le=MAX_PAGE)] = PAGE
) -> Page[TickRow]:
    """The latest first: each tick that made a run, and those in a row that made none, with the reason."""
    rows = await office.desk.read(lambda: SCHEDULERS.after(name, caller, read_ticks(name, limit=limit)))
    return Page(items=list(rows), next_cursor=None)

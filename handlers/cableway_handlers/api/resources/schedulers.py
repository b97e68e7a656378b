"""Schedulers: what ties a cron trigger to a pipeline."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field, TypeAdapter

from cableway.errors import UnknownNameError, UnknownPipelineError
from cableway.store.executor import Step, Steps
from cableway.store.pages import page_of_schedulers
from cableway.store.reading import Catchup, DstGap, Overlap, SchedulerRow, read_schedulers
from cableway.stored import schedulers
from cableway.stored.names import only
from cableway_handlers.api.access import Needs
from cableway_handlers.api.bodies import Body, Instant, JsonObject, Name, StrictRoute
from cableway_handlers.api.etags import Precondition, Shown, answered, if_match, if_match_needed
from cableway_handlers.api.openapi import refuses
from cableway_handlers.api.paging import Asked, Page, asked, same, text_after
from cableway_handlers.api.resources.desk import TheOffice
from cableway_handlers.api.scopes import Caller

router = APIRouter(prefix="/schedulers", tags=["schedulers"], route_class=StrictRoute)

SCHEDULER: TypeAdapter[Any] = TypeAdapter(SchedulerRow)

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


class NewScheduler(SchedulerSettings):
    """A scheduler to be stored."""

    name: Name


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
    _see(caller, body.pipeline)
    policies = body.model_dump(exclude={"name", "pipeline", "trigger_name"})
    row = await office.desk.change(lambda: schedulers.create(body.name, body.pipeline, body.trigger_name, policies))
    return shown(row).response(201, location=f"/schedulers/{row.name}")


@router.get("/{name}", summary="A scheduler", response_model=SchedulerRow)
async def get_scheduler(request: Request, office: TheOffice, caller: Reads, name: Name) -> Response:
    """The scheduler as it stands."""
    return answered(request, shown(await office.desk.read(lambda: _seen(name, caller))))


@router.put("/{name}", summary="Change a scheduler", response_model=SchedulerRow, responses=refuses(412, 428))
async def update_scheduler(
    office: TheOffice,
    caller: Writes,
    name: Name,
    body: SchedulerSettings,
    match: Annotated[Precondition, Depends(if_match_needed)],
) -> Response:
    """Make it what the body says. What has run stays, and no tick that is past runs again."""
    _see(caller, body.pipeline)
    return shown(await office.desk.change(lambda: _update(name, caller, body.model_dump(), match))).response()


@router.delete("/{name}", summary="Delete a scheduler", status_code=204, responses=refuses(412))
async def delete_scheduler(
    office: TheOffice, caller: Writes, name: Name, match: Annotated[Precondition, Depends(if_match)]
) -> Response:
    """Delete it; what it has run stays."""
    await office.desk.change(lambda: _delete(name, caller, match))
    return Response(status_code=204)


def shown(row: SchedulerRow) -> Shown:
    """The scheduler as it is answered."""
    return Shown.of(SCHEDULER, row, row.revision)


def _see(caller: Caller, pipeline: str) -> None:
    if not caller.sees(pipeline):
        raise UnknownPipelineError("There is no such pipeline.")


def _seen(name: str, caller: Caller) -> Steps[SchedulerRow]:
    row = only("scheduler", name, (yield from read_schedulers(name)))
    if not caller.sees(row.pipeline):
        raise UnknownNameError(f"no scheduler {name!r}")
    return row


def _matched(name: str, caller: Caller, match: Precondition) -> Steps[None]:
    yield Step("lock_triggers", {})
    match.check(shown((yield from _seen(name, caller))))


def _update(name: str, caller: Caller, changes: dict[str, Any], match: Precondition) -> Steps[SchedulerRow]:
    yield from _matched(name, caller, match)
    return (yield from schedulers.update(name, changes, expected_revision=None))


def _delete(name: str, caller: Caller, match: Precondition) -> Steps[None]:
    yield from _matched(name, caller, match)
    yield from schedulers.delete(name, expected_revision=None)

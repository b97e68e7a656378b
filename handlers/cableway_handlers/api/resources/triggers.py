"""Triggers: what starts runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field, TypeAdapter

from cableway.errors import UnknownNameError, UnknownPipelineError
from cableway.store.executor import Step, Steps
from cableway.store.pages import page_of_triggers
from cableway.store.reading import TriggerRow, read_triggers
from cableway.stored import triggers
from cableway.stored.names import only
from cableway_handlers.api.access import Needs
from cableway_handlers.api.bodies import Body, JsonObject, Name, StrictRoute
from cableway_handlers.api.etags import Precondition, Shown, answered, if_match, if_match_needed
from cableway_handlers.api.openapi import refuses
from cableway_handlers.api.paging import Asked, Page, asked, same, text_after
from cableway_handlers.api.resources.desk import TheOffice
from cableway_handlers.api.scopes import Caller

router = APIRouter(prefix="/triggers", tags=["triggers"], route_class=StrictRoute)

TRIGGER: TypeAdapter[Any] = TypeAdapter(TriggerRow)

Kind = Literal["cron", "webhook", "event", "person"]
Reads = Annotated[Caller, Depends(Needs("read", "triggers"))]
Writes = Annotated[Caller, Depends(Needs("write", "triggers"))]


class TriggerSettings(Body):
    """What a trigger is, beside its name and its kind."""

    pipeline: Name = Field(description="It need not be there yet; without it the trigger does nothing.")
    expression: str | None = Field(default=None, max_length=200, description="The rule of a cron trigger.")
    config: JsonObject = Field(default_factory=dict[str, Any], description="As its kind has it.")
    enabled: bool = True


class NewTrigger(TriggerSettings):
    """A trigger to be stored."""

    name: Name
    kind: Kind = "cron"


@router.get("", summary="List triggers")
async def list_triggers(
    office: TheOffice,
    caller: Reads,
    page: Annotated[Asked, Depends(asked)],
    pipeline: Annotated[str | None, Query(max_length=100)] = None,
    kind: Kind | None = None,
) -> Page[TriggerRow]:
    """Triggers by name."""
    after = page.after(text_after)
    rows = await office.desk.read(
        lambda: page_of_triggers(after, page.limit + 1, caller.pipelines, pipeline=pipeline, kind=kind)
    )
    return page.page(rows, lambda row: [row.name], same)


@router.post("", summary="Store a trigger", status_code=201, response_model=TriggerRow, responses=refuses(409))
async def create_trigger(office: TheOffice, caller: Writes, body: NewTrigger) -> Response:
    """Check it, and keep it."""
    _see(caller, body.pipeline)
    row = await office.desk.change(lambda: triggers.create(body.model_dump()))
    return shown(row).response(201, location=f"/triggers/{row.name}")


@router.get("/{name}", summary="A trigger", response_model=TriggerRow)
async def get_trigger(request: Request, office: TheOffice, caller: Reads, name: Name) -> Response:
    """The trigger as it stands."""
    return answered(request, shown(await office.desk.read(lambda: _seen(name, caller))))


@router.put("/{name}", summary="Change a trigger", response_model=TriggerRow, responses=refuses(412, 428))
async def update_trigger(
    office: TheOffice,
    caller: Writes,
    name: Name,
    body: TriggerSettings,
    match: Annotated[Precondition, Depends(if_match_needed)],
) -> Response:
    """Make it what the body says; its kind stays."""
    _see(caller, body.pipeline)
    return shown(await office.desk.change(lambda: _update(name, caller, body, match))).response()


@router.delete("/{name}", summary="Delete a trigger", status_code=204, responses=refuses(409, 412))
async def delete_trigger(
    office: TheOffice, caller: Writes, name: Name, match: Annotated[Precondition, Depends(if_match)]
) -> Response:
    """Delete it, where no scheduler names it."""
    await office.desk.change(lambda: _delete(name, caller, match))
    return Response(status_code=204)


def shown(row: TriggerRow) -> Shown:
    """The trigger as it is answered."""
    return Shown.of(TRIGGER, row, row.revision)


def _see(caller: Caller, pipeline: str) -> None:
    if not caller.sees(pipeline):
        raise UnknownPipelineError("There is no such pipeline.")


def _seen(name: str, caller: Caller) -> Steps[TriggerRow]:
    row = only("trigger", name, (yield from read_triggers(name)))
    if not caller.sees(row.pipeline):
        raise UnknownNameError(f"no trigger {name!r}")
    return row


def _matched(name: str, caller: Caller, match: Precondition) -> Steps[None]:
    yield Step("lock_triggers", {})
    match.check(shown((yield from _seen(name, caller))))


def _update(name: str, caller: Caller, body: TriggerSettings, match: Precondition) -> Steps[TriggerRow]:
    yield from _matched(name, caller, match)
    return (yield from triggers.update(name, body.model_dump(), expected_revision=None))


def _delete(name: str, caller: Caller, match: Precondition) -> Steps[None]:
    yield from _matched(name, caller, match)
    yield from triggers.delete(name, expected_revision=None)

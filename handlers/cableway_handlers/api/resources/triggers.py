"""Triggers: what starts runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field, TypeAdapter

from cableway.store.executor import Steps
from cableway.store.pages import page_of_triggers
from cableway.store.reading import TriggerRow, read_triggers
from cableway.stored import triggers
from cableway_handlers.api.access import Needs
from cableway_handlers.api.bodies import Addressed, Body, JsonObject, Name, StrictRoute
from cableway_handlers.api.etags import Precondition, answered, if_match, if_match_needed
from cableway_handlers.api.openapi import refuses
from cableway_handlers.api.paging import Asked, Page, asked, same, text_after
from cableway_handlers.api.resources.desk import TheOffice
from cableway_handlers.api.resources.owned import Owned, check_sees
from cableway_handlers.api.scopes import Caller

router = APIRouter(prefix="/triggers", tags=["triggers"], route_class=StrictRoute)

TRIGGERS = Owned("trigger", read_triggers, TypeAdapter(TriggerRow))

Kind = Literal["cron", "webhook", "event", "person"]
Reads = Annotated[Caller, Depends(Needs("read", "triggers"))]
Writes = Annotated[Caller, Depends(Needs("write", "triggers"))]


class TriggerSettings(Body):
    """What a trigger is, beside its name and its kind."""

    pipeline: Name = Field(description="It need not be there yet; without it the trigger does nothing.")
    expression: str | None = Field(default=None, max_length=200, description="The rule of a cron trigger.")
    config: JsonObject = Field(default_factory=dict[str, Any], description="As its kind has it.")
    enabled: bool = True


class ChangedTrigger(TriggerSettings, Addressed):
    """A trigger as it shall be."""


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
    check_sees(caller, body.pipeline)
    row = await office.desk.change(lambda: triggers.create(body.model_dump()))
    return TRIGGERS.shown(row).response(201, location=f"/triggers/{row.name}")


@router.get("/{name}", summary="A trigger", response_model=TriggerRow)
async def get_trigger(request: Request, office: TheOffice, caller: Reads, name: Name) -> Response:
    """The trigger as it stands."""
    return answered(request, TRIGGERS.shown(await office.desk.read(lambda: TRIGGERS.seen(name, caller))))


@router.put("/{name}", summary="Change a trigger", response_model=TriggerRow, responses=refuses(412, 428))
async def update_trigger(
    office: TheOffice,
    caller: Writes,
    name: Name,
    body: ChangedTrigger,
    match: Annotated[Precondition, Depends(if_match_needed)],
) -> Response:
    """Make it what the body says; its kind stays."""
    body.check_name(name)
    check_sees(caller, body.pipeline)
    changes = body.model_dump(exclude={"name"})

    def change() -> Steps[TriggerRow]:
        return TRIGGERS.matched(name, caller, match, triggers.update(name, changes, expected_revision=None))

    return TRIGGERS.shown(await office.desk.change(change)).response()


@router.delete("/{name}", summary="Delete a trigger", status_code=204, responses=refuses(409, 412))
async def delete_trigger(
    office: TheOffice, caller: Writes, name: Name, match: Annotated[Precondition, Depends(if_match)]
) -> Response:
    """Delete it, where no scheduler names it."""
    await office.desk.change(
        lambda: TRIGGERS.matched(name, caller, match, triggers.delete(name, expected_revision=None))
    )
    return Response(status_code=204)

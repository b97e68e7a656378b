"""Limits that all runs share."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import Field

from cableway.errors import UnknownNameError
from cableway.stored import limits
from cableway.stored.limits import LimitRow
from cableway_handlers.api.access import Needs
from cableway_handlers.api.bodies import Addressed, Name, StrictRoute
from cableway_handlers.api.paging import Asked, Page, asked, same, text_after
from cableway_handlers.api.resources.desk import TheOffice
from cableway_handlers.api.scopes import Caller

router = APIRouter(prefix="/limits", tags=["limits"], route_class=StrictRoute)

Reads = Annotated[Caller, Depends(Needs("read", "limits", shared=True))]
Writes = Annotated[Caller, Depends(Needs("write", "limits", shared=True))]


class LimitSettings(Addressed):
    """What a limit is: a concurrency, a rate, or both."""

    concurrency: int | None = Field(default=None, ge=1, le=2**31 - 1, description="Units at work at a time.")
    rate: float | None = Field(default=None, gt=0, le=1_000_000_000, description="Units begun in each period.")
    period_s: float = Field(default=1.0, gt=0, le=1_000_000_000)


@router.get("", summary="List limits")
async def list_limits(office: TheOffice, caller: Reads, page: Annotated[Asked, Depends(asked)]) -> Page[LimitRow]:
    """Limits by name, with what runs have taken of them."""
    after = page.after(text_after)
    # There are few, for people make them.
    rows = sorted(await office.desk.read(limits.read), key=lambda row: row.name)
    shown = [row for row in rows if after is None or row.name > after]
    return page.page(shown[: page.limit + 1], lambda row: [row.name], same)


@router.get("/{name}", summary="A limit")
async def get_limit(office: TheOffice, caller: Reads, name: Name) -> LimitRow:
    """The limit, with what runs have taken of it."""
    for row in await office.desk.read(limits.read):
        if row.name == name:
            return row
    raise UnknownNameError("There is no limit of this name.")


@router.put("/{name}", summary="Set a limit")
async def set_limit(office: TheOffice, caller: Writes, name: Name, body: LimitSettings) -> LimitRow:
    """Make the limit, or change it; runs at work learn of it as they draw."""
    body.check_name(name)
    return await office.desk.change(lambda: limits.save(name, body.concurrency, body.rate, body.period_s))


@router.delete("/{name}", summary="Delete a limit", status_code=204)
async def delete_limit(office: TheOffice, caller: Writes, name: Name) -> Response:
    """Forget it; a run whose stages name it cannot begin."""
    if not await office.desk.change(lambda: limits.delete(name)):
        raise UnknownNameError("There is no limit of this name.")
    return Response(status_code=204)

"""Records of webhooks: what came, and what was made of it."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query

from cableway.errors import UnknownNameError
from cableway.store.pages import DeliveryRow, page_of_deliveries
from cableway_handlers.api.access import Needs
from cableway_handlers.api.paging import Asked, Page, asked, run_after, same
from cableway_handlers.api.resources.desk import TheOffice
from cableway_handlers.api.scopes import Caller

router = APIRouter(prefix="/deliveries", tags=["hooks"])

Reads = Annotated[Caller, Depends(Needs("read", "deliveries"))]
Verdict = Literal["accepted", "replayed", "filtered", "refused"]


@router.get("", summary="List deliveries")
async def list_deliveries(
    office: TheOffice,
    caller: Reads,
    page: Annotated[Asked, Depends(asked)],
    trigger: Annotated[str | None, Query(max_length=100)] = None,
    verdict: Verdict | None = None,
) -> Page[DeliveryRow]:
    """Webhooks as far as their triggers keep records of them, newest first."""
    after = page.after(run_after)
    rows = await office.desk.read(
        lambda: page_of_deliveries(after, page.limit + 1, caller.pipelines, trigger=trigger, verdict=verdict)
    )
    return page.page(rows, lambda row: [row.received_at.isoformat(), row.delivery_id], same)


@router.get("/{delivery_id}", summary="A delivery")
async def get_delivery(office: TheOffice, caller: Reads, delivery_id: str) -> DeliveryRow:
    """The record of one webhook."""
    rows = await office.desk.read(lambda: page_of_deliveries(None, 1, caller.pipelines, delivery_id=delivery_id))
    if not rows:
        raise UnknownNameError("There is no delivery with this id.")
    return rows[0]

"""Webhooks to be looked at; what they are sent to stands beside FastAPI."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from cableway.store.pages import page_of_triggers
from cableway.store.reading import TriggerRow
from cableway_handlers.api.access import Needs
from cableway_handlers.api.paging import Asked, Page, asked, text_after
from cableway_handlers.api.resources.desk import TheOffice
from cableway_handlers.api.scopes import Caller

router = APIRouter(prefix="/hooks", tags=["hooks"])


class Hook(BaseModel):
    """A webhook trigger as its sender must know it."""

    name: str
    pipeline: str
    enabled: bool
    auth: str
    """How its senders are known."""
    path: str
    """Where it is sent, with POST."""


@router.get("", summary="List hooks")
async def list_hooks(
    office: TheOffice,
    caller: Annotated[Caller, Depends(Needs("read", "hooks"))],
    page: Annotated[Asked, Depends(asked)],
) -> Page[Hook]:
    """Webhook triggers by name, without what they hold of secrets."""
    after = page.after(text_after)
    rows = await office.desk.read(lambda: page_of_triggers(after, page.limit + 1, caller.pipelines, kind="webhook"))
    return page.page(rows, lambda row: [row.name], _hook)


def _hook(row: TriggerRow) -> Hook:
    auth = str(row.config.get("auth", "standard"))
    return Hook(name=row.name, pipeline=row.pipeline, enabled=row.enabled, auth=auth, path=f"/hooks/{row.name}")

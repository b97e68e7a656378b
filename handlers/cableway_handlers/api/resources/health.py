"""Whether the service is up: for load balancers, for people, and for whoever has no key."""

from __future__ import annotations

import logging
from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from cableway.errors import CablewayError
from cableway_handlers.api.access import signed_in
from cableway_handlers.api.resources.desk import Desk, PartState, TheOffice
from cableway_handlers.api.scopes import Caller

log = logging.getLogger("cableway.api")

State = Literal["up", "down"]

router = APIRouter(tags=["health"])


class Bare(BaseModel):
    """Up or down, and no more."""

    status: State


class Health(Bare):
    """Which part is up and which is down; without a key, where one is needed, the status alone."""

    database: State | None = None
    scheduler: PartState | None = Field(default=None, description="Of this process; `off` where it has none.")


@router.get("/healthz", summary="Whether the process answers", response_model=Bare)
async def healthz() -> dict[str, str]:
    """Answer at once, whatever else is down."""
    return {"status": "up"}


@router.get(
    "/readyz",
    summary="Whether it can work",
    response_model=Bare,
    responses={503: {"model": Bare, "description": "It cannot"}},
)
async def readyz(office: TheOffice) -> JSONResponse:
    """Answer 503 until the database is there with the schema of this version."""
    state = await database_state(office.desk)
    return JSONResponse({"status": state}, 200 if state == "up" else 503)


@router.get(
    "/health",
    summary="Which part is up and which is down",
    response_model=Health,
    response_model_exclude_none=True,
    responses={503: {"model": Health, "description": "A part is down"}},
)
async def health(office: TheOffice, caller: Annotated[Caller, Depends(signed_in)]) -> JSONResponse:
    """Answer 503 if a part is down."""
    database, scheduler = await database_state(office.desk), office.scheduler_state()
    status = "down" if "down" in {database, scheduler} else "up"
    parts = {"database": database, "scheduler": scheduler} if caller.scopes else {}
    return JSONResponse({"status": status, **parts}, 200 if status == "up" else 503)


async def database_state(desk: Desk) -> State:
    """Whether the database answers."""
    try:
        await desk.check()
    except CablewayError as error:
        log.warning("not ready: %s", error)
        return "down"
    return "up"

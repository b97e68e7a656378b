"""Bloc types, as they describe themselves."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from cableway.catalog import Catalog
from cableway.errors import DefinitionError, UnknownNameError
from cableway.stored.bloc_types import catalog_of
from cableway_handlers.api.access import Needs
from cableway_handlers.api.bodies import Name
from cableway_handlers.api.paging import Asked, Page, asked, same, text_after
from cableway_handlers.api.resources.desk import TheOffice
from cableway_handlers.api.scopes import Caller

router = APIRouter(prefix="/bloc-types", tags=["bloc types"])

Reads = Annotated[Caller, Depends(Needs("read", "bloc-types"))]


class BlocType(BaseModel):
    """A bloc type, built in, plugged in or published."""

    name: str
    kind: str
    summary: str
    lanes: list[str]
    config: dict[str, Any] = Field(description="The JSON Schema of its config.")
    example: dict[str, Any]


@router.get("", summary="List bloc types")
async def list_bloc_types(office: TheOffice, caller: Reads, page: Annotated[Asked, Depends(asked)]) -> Page[BlocType]:
    """Bloc types by name."""
    after = page.after(text_after)
    catalog = await office.desk.read(lambda: catalog_of(office.catalog))
    names = [name for name in catalog.names() if after is None or name > after][: page.limit + 1]
    # Describing one loads its code.
    found = await asyncio.to_thread(lambda: [_described(catalog, name) for name in names])
    return page.page(found, lambda kind: [kind.name], same)


@router.get("/{name}", summary="A bloc type")
async def get_bloc_type(office: TheOffice, caller: Reads, name: Name) -> BlocType:
    """What it is and how it is configured."""
    catalog = await office.desk.read(lambda: catalog_of(office.catalog))
    try:
        return await asyncio.to_thread(_described, catalog, name)
    except DefinitionError as error:
        raise UnknownNameError(str(error)) from None


def _described(catalog: Catalog, name: str) -> BlocType:
    description = catalog.describe(name)
    return BlocType.model_validate({field: description.get(field) for field in BlocType.model_fields})

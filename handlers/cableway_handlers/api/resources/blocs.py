"""Stored blocs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field, TypeAdapter

from cableway.store.executor import Step, Steps
from cableway.store.pages import page_of_blocs
from cableway.store.reading import BlocRow, read_blocs
from cableway.stored import blocs
from cableway.stored.blocs import ChangedBloc
from cableway.stored.names import only
from cableway.stored.versions import SavedVersion, Signature
from cableway_handlers.api.access import Needs
from cableway_handlers.api.bodies import Addressed, Body, JsonObject, Name, StrictRoute
from cableway_handlers.api.etags import Precondition, Shown, answered, if_match, if_match_needed
from cableway_handlers.api.openapi import refuses
from cableway_handlers.api.paging import Asked, Page, asked, same, text_after
from cableway_handlers.api.resources.desk import TheOffice
from cableway_handlers.api.scopes import Caller

router = APIRouter(prefix="/blocs", tags=["blocs"], route_class=StrictRoute)

BLOC: TypeAdapter[Any] = TypeAdapter(BlocRow)

Reads = Annotated[Caller, Depends(Needs("read", "blocs", shared=True))]
Writes = Annotated[Caller, Depends(Needs("write", "blocs", shared=True))]


class BlocSettings(Body):
    """What a bloc is, beside its name."""

    bloc_type: str = Field(min_length=1, max_length=100, description="As `/bloc-types` lists it.")
    config: JsonObject = Field(default_factory=dict[str, Any], description="As the bloc type describes it.")
    description: str = Field(default="", max_length=10_000)


class ChangedSettings(BlocSettings, Addressed):
    """A bloc as it shall be."""


class NewBloc(BlocSettings):
    """A bloc to be stored."""

    name: Name


@router.get("", summary="List blocs")
async def list_blocs(
    office: TheOffice,
    caller: Reads,
    page: Annotated[Asked, Depends(asked)],
    bloc_type: Annotated[str | None, Query(max_length=100)] = None,
) -> Page[BlocRow]:
    """Blocs by name."""
    after = page.after(text_after)
    rows = await office.desk.read(lambda: page_of_blocs(after, page.limit + 1, bloc_type=bloc_type))
    return page.page(rows, lambda row: [row.name], same)


@router.post("", summary="Store a bloc", status_code=201, response_model=BlocRow, responses=refuses(409))
async def create_bloc(office: TheOffice, caller: Writes, body: NewBloc) -> Response:
    """Check the config against its bloc type, and keep it for pipelines to name."""
    row = await office.desk.change(
        lambda: blocs.create(body.name, body.bloc_type, body.config, body.description, office.catalog)
    )
    return shown(row).response(201, location=f"/blocs/{row.name}")


@router.get("/{name}", summary="A bloc", response_model=BlocRow)
async def get_bloc(request: Request, office: TheOffice, caller: Reads, name: Name) -> Response:
    """The bloc as it stands."""
    return answered(request, shown(only("bloc", name, await office.desk.read(lambda: read_blocs(name)))))


@router.put("/{name}", summary="Change a bloc", response_model=BlocRow, responses=refuses(412, 428))
async def update_bloc(
    office: TheOffice,
    caller: Writes,
    name: Name,
    body: ChangedSettings,
    match: Annotated[Precondition, Depends(if_match_needed)],
) -> Response:
    """Make it what the body says, and a new version of each pipeline that names it; nothing where one would break."""
    body.check_name(name)
    signature = Signature(author=caller.name)
    changed = await office.desk.change(lambda: _update(name, body, match, office.catalog, signature))
    return shown(changed.bloc).response(200, **_versions(changed.versions))


@router.delete("/{name}", summary="Delete a bloc", status_code=204, responses=refuses(409, 412))
async def delete_bloc(
    office: TheOffice, caller: Writes, name: Name, match: Annotated[Precondition, Depends(if_match)]
) -> Response:
    """Delete it, where no pipeline names it."""
    await office.desk.change(lambda: _delete(name, match))
    return Response(status_code=204)


def shown(row: BlocRow) -> Shown:
    """The bloc as it is answered."""
    return Shown.of(BLOC, row, row.revision)


def _update(
    name: str, body: BlocSettings, match: Precondition, catalog: Any, signature: Signature
) -> Steps[ChangedBloc]:
    yield from _matched(name, match)
    return (
        yield from blocs.update(
            name,
            catalog,
            signature,
            bloc_type=body.bloc_type,
            config=body.config,
            description=body.description,
            expected_revision=None,
        )
    )


def _delete(name: str, match: Precondition) -> Steps[None]:
    yield from _matched(name, match)
    yield from blocs.delete(name, expected_revision=None)


def _matched(name: str, match: Precondition) -> Steps[None]:
    yield Step("lock_blocs", {})
    match.check(shown(only("bloc", name, (yield from read_blocs(name)))))


def _versions(versions: tuple[SavedVersion, ...]) -> dict[str, str]:
    """How many pipelines have a new version by it."""
    return {"cableway-new-versions": str(sum(version.created for version in versions))}

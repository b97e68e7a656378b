"""Pipelines and their versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import ConfigDict, Field, TypeAdapter

from cableway.definition import JsonObject
from cableway.errors import DefinitionError, Fault, UnknownPipelineError
from cableway.store.executor import Step, Steps
from cableway.store.pages import page_of_pipelines, page_of_versions
from cableway.store.reading import PipelineRow, VersionEntry, VersionRow, read_version
from cableway.store.storable import storable_text
from cableway.stored import versions
from cableway.stored.versions import SavedVersion, Signature
from cableway_handlers.api.access import Needs
from cableway_handlers.api.bodies import Body, Name, StrictRoute
from cableway_handlers.api.etags import Precondition, Shown, answered, if_match, if_match_needed
from cableway_handlers.api.openapi import refuses
from cableway_handlers.api.paging import Asked, Page, asked, number_after, same, text_after
from cableway_handlers.api.resources.desk import Office, TheOffice
from cableway_handlers.api.scopes import Caller

router = APIRouter(prefix="/pipelines", tags=["pipelines"], route_class=StrictRoute)

Reads = Annotated[Caller, Depends(Needs("read", "pipelines"))]
Writes = Annotated[Caller, Depends(Needs("write", "pipelines"))]
Note = Annotated[str, Query(max_length=1000, description="Why, kept with the version.")]
Match = Annotated[Precondition, Depends(if_match)]
MatchNeeded = Annotated[Precondition, Depends(if_match_needed)]
VersionNumber = Annotated[int, Field(ge=1, le=2**31 - 1)]


class Document(Body):
    """A pipeline document; `docs/pipelines.md` has all that may stand in it."""

    model_config = ConfigDict(extra="allow", strict=True)

    name: Name
    stages: list[Any] = Field(min_length=1, description="Stages, or lists of the names of stored blocs.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineView:
    """A version of a pipeline, by default the active one."""

    name: str
    version: int
    description: str
    document: JsonObject
    """As it was written."""
    definition: JsonObject
    """With every default and every stored bloc written out."""
    checked: bool
    """Against the code of its bloc types."""
    content_hash: str
    author: str
    note: str
    previous_version: int | None
    archived_at: datetime | None
    created_at: datetime


PIPELINE: TypeAdapter[Any] = TypeAdapter(PipelineView)


@router.get("", summary="List pipelines")
async def list_pipelines(
    office: TheOffice,
    caller: Reads,
    page: Annotated[Asked, Depends(asked)],
    archived: Annotated[bool, Query(description="Those that are, instead of those that are not.")] = False,
) -> Page[PipelineRow]:
    """Pipelines by name."""
    after = page.after(text_after)
    rows = await office.desk.read(lambda: page_of_pipelines(after, page.limit + 1, caller.pipelines, archived=archived))
    return page.page(rows, lambda row: [row.name], same)


@router.post("", summary="Store a pipeline", status_code=201, response_model=PipelineView, responses=refuses(409))
async def create_pipeline(office: TheOffice, caller: Writes, body: Document, note: Note = "") -> Response:
    """Check the document with all that it names, and keep it as version 1; an archived one comes back with its next."""
    _see(caller, body.name)
    signature = Signature(author=caller.name, note=note)
    row = await office.desk.change(
        lambda: _then_read(versions.save(_document(body), office.catalog, signature, only_new=True))
    )
    return shown(row).response(201, location=f"/pipelines/{row.name}")


@router.get("/{name}", summary="A pipeline", response_model=PipelineView)
async def get_pipeline(
    request: Request,
    office: TheOffice,
    caller: Reads,
    name: Name,
    archived: Annotated[bool, Query(description="An archived one, too.")] = False,
) -> Response:
    """The version that is active."""
    row = await _read(office, caller, name, None)
    if row.archived_at is not None and not archived:
        raise _archived()
    return answered(request, shown(row))


@router.put("/{name}", summary="Change a pipeline", response_model=PipelineView, responses=refuses(409, 412, 428))
async def update_pipeline(
    office: TheOffice, caller: Writes, name: Name, body: Document, match: MatchNeeded, note: Note = ""
) -> Response:
    """Check the document and keep it as the next version, which is active at once; none where it says the same."""
    _see(caller, name)
    if body.name != name:
        message = "stays as it is: the address has it"
        raise DefinitionError(f"the pipeline's name {message}", [Fault("/name", "name", message)])
    signature = Signature(author=caller.name, note=note)

    def change() -> Steps[VersionRow]:
        saving = versions.save(_document(body), office.catalog, signature)
        return _matched(name, match, saving, shared=True)

    return shown(await office.desk.change(change)).response()


@router.delete("/{name}", summary="Archive a pipeline", status_code=204, responses=refuses(412))
async def delete_pipeline(office: TheOffice, caller: Writes, name: Name, match: Match) -> Response:
    """Take no new runs of it; its versions and runs stay."""
    _see(caller, name)
    await office.desk.change(lambda: _archive(name, match))
    return Response(status_code=204)


@router.get("/{name}/versions", summary="List a pipeline's versions")
async def list_versions(
    office: TheOffice, caller: Reads, name: Name, page: Annotated[Asked, Depends(asked)]
) -> Page[VersionEntry]:
    """Its versions, newest first."""
    _see(caller, name)
    after = page.after(number_after)
    rows = await office.desk.read(lambda: page_of_versions(name, after, page.limit + 1))
    if not rows and after is None:
        raise UnknownPipelineError("There is no such pipeline.")
    return page.page(rows, lambda row: [row.version], same)


@router.get("/{name}/versions/{version}", summary="A version of a pipeline", response_model=PipelineView)
async def get_version(
    request: Request, office: TheOffice, caller: Reads, name: Name, version: VersionNumber
) -> Response:
    """One version, active or not."""
    return answered(request, shown(await _read(office, caller, name, version)))


@router.post(
    "/{name}/versions/{version}/activate",
    summary="Activate a version",
    response_model=PipelineView,
    responses=refuses(412),
)
async def activate_version(
    office: TheOffice, caller: Writes, name: Name, version: VersionNumber, match: Match
) -> Response:
    """Pin new runs to it; an archived pipeline comes back by it."""
    _see(caller, name)
    return shown(await office.desk.change(lambda: _matched(name, match, versions.activate(name, version)))).response()


@router.post("/{name}/rollback", summary="Go back a version", response_model=PipelineView, responses=refuses(412))
async def roll_back(office: TheOffice, caller: Writes, name: Name, match: Match) -> Response:
    """Activate the version that was active when the present one was made."""
    _see(caller, name)
    return shown(await office.desk.change(lambda: _matched(name, match, versions.roll_back(name)))).response()


def shown(row: VersionRow) -> Shown:
    """The version as it is answered."""
    view = PipelineView(
        name=row.pipeline,
        version=row.version,
        description=row.definition.description,
        document=row.source or row.definition.document(),
        definition=row.definition.document(),
        checked=row.checked,
        content_hash=row.content_hash,
        author=row.author,
        note=row.note,
        previous_version=row.previous_version,
        archived_at=row.archived_at,
        created_at=row.created_at,
    )
    return Shown.of(PIPELINE, view, row.version)


def _document(body: Document) -> Mapping[str, Any]:
    return body.model_dump()


async def _read(office: Office, caller: Caller, name: str, version: int | None) -> VersionRow:
    _see(caller, name)
    row = await office.desk.read(lambda: read_version(name, version))
    # Asked for by a name that Postgres has no form for, it may have found another's.
    if row.pipeline != name:
        raise UnknownPipelineError("There is no such pipeline.")
    return row


def _see(caller: Caller, name: str) -> None:
    if not caller.sees(name) or name != storable_text(name):
        raise UnknownPipelineError("There is no such pipeline.")


def _then_read(saving: Steps[SavedVersion]) -> Steps[VersionRow]:
    saved = yield from saving
    return (yield from read_version(saved.name))


def _matched(name: str, match: Precondition, change: Steps[SavedVersion], *, shared: bool = False) -> Steps[VersionRow]:
    """Do *change* to the pipeline as the caller has seen it. *shared*: the change resolves blocs."""
    if shared:
        # Always before the pipeline's own lock.
        yield Step("share_blocs", {})
    yield from _check(name, match)
    return (yield from _then_read(change))


def _archive(name: str, match: Precondition) -> Steps[None]:
    row = yield from _check(name, match)
    if row.archived_at is not None:
        raise _archived()
    yield from versions.archive(name)


def _check(name: str, match: Precondition) -> Steps[VersionRow]:
    yield Step("lock_pipeline", {"pipeline": name})
    row = yield from read_version(name)
    match.check(shown(row))
    return row


def _archived() -> UnknownPipelineError:
    how = "ask for ?archived=true to see it, or activate one of its versions to bring it back"
    return UnknownPipelineError(f"The pipeline is archived: {how}.")

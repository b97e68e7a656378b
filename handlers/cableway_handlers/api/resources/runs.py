"""Runs: listed, looked at, started, cancelled."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import Field, TypeAdapter

from cableway.errors import NotExplainedError, UnknownPipelineError, UnknownRunError
from cableway.explaining.recorded import RunExplanation, explanation_of, read_profile
from cableway.runs import RunRequest
from cableway.store.executor import Steps
from cableway.store.pages import RunFilter, page_of_runs
from cableway.store.port import RunState, SpanRow, StageRecord
from cableway.store.reading import AttemptRow, RunDetails, RunRow, read_run, read_spans
from cableway.telemetry.propagation import parse_remote
from cableway_handlers.api.access import Needs
from cableway_handlers.api.bodies import Body, Instant, JsonObject, Name, StrictRoute
from cableway_handlers.api.etags import Shown, answered
from cableway_handlers.api.openapi import refuses
from cableway_handlers.api.paging import Asked, Page, asked, run_after, same
from cableway_handlers.api.problems import KeyReusedError
from cableway_handlers.api.resources.desk import Office, TheOffice
from cableway_handlers.api.scopes import Caller
from cableway_handlers.launch.protocol import Launch

router = APIRouter(prefix="/runs", tags=["runs"], route_class=StrictRoute)

Reads = Annotated[Caller, Depends(Needs("read", "runs"))]
Runs = Annotated[Caller, Depends(Needs("run", "runs"))]
RunId = Annotated[str, Field(min_length=32, max_length=36, pattern="^[0-9a-fA-F-]{32,36}$")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Sent again with the same key and body, the request leads to the run that it has made.",
    ),
]


class NewRun(Body):
    """A run that somebody wants now."""

    pipeline: Name
    parameters: JsonObject = Field(default_factory=dict[str, Any], description="By name; defaults are filled in.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView(RunRow):
    """A run with its attempts, and the stages of the last one that recorded any."""

    attempts: tuple[AttemptRow, ...]
    stages: tuple[StageRecord, ...]


RUN: TypeAdapter[Any] = TypeAdapter(RunView)


@router.get("", summary="List runs")
async def list_runs(  # noqa: PLR0913 - each is a parameter of the query
    office: TheOffice,
    caller: Reads,
    page: Annotated[Asked, Depends(asked)],
    pipeline: Annotated[str | None, Query(max_length=100)] = None,
    state: RunState | None = None,
    scheduler: Annotated[str | None, Query(max_length=100)] = None,
    trigger: Annotated[str | None, Query(max_length=100)] = None,
    since: Annotated[Instant | None, Query(description="Made at this instant or later.")] = None,
    until: Annotated[Instant | None, Query(description="Made before this instant.")] = None,
) -> Page[RunRow]:
    """Runs, newest first."""
    after = page.after(run_after)
    wanted = RunFilter(pipeline=pipeline, state=state, scheduler=scheduler, trigger=trigger, since=since, until=until)
    rows = await office.desk.read(lambda: page_of_runs(after, page.limit + 1, caller.pipelines, wanted))
    return page.page(rows, lambda row: [row.created_at.isoformat(), row.run_id], same)


@router.post(
    "",
    summary="Start a run",
    status_code=202,
    response_model=RunView,
    responses={200: {"model": RunView, "description": "The run that the same key has made before"}, **refuses(409)},
)
async def create_run(
    request: Request, office: TheOffice, caller: Runs, body: NewRun, idempotency_key: IdempotencyKey = None
) -> Response:
    """Record the run, pinned to the active version, and start its container soon after."""
    if not caller.sees(body.pipeline):
        raise UnknownPipelineError("There is no such pipeline.")
    return await started(office, _wanted(request, caller, body, idempotency_key))


@router.get("/{run_id}", summary="A run", response_model=RunView)
async def get_run(request: Request, office: TheOffice, caller: Reads, run_id: str) -> Response:
    """The run as it stands; its error is a problem without input values."""
    return answered(request, shown_run(await _read(office, caller, run_id)))


@router.post("/{run_id}/cancel", summary="Cancel a run", status_code=202, response_model=RunView)
async def cancel_run(office: TheOffice, caller: Runs, run_id: str) -> Response:
    """Ask for its end: at once where nobody works on it, else within its grace. One that has ended stays as it is."""
    await _read(office, caller, run_id)
    await office.desk.cancel_run(run_id, by=caller.name or None)
    return shown_run(await _read(office, caller, run_id)).response(202, location=f"/runs/{run_id}")


@router.get("/{run_id}/attempts", summary="A run's attempts")
async def list_attempts(office: TheOffice, caller: Reads, run_id: str) -> Page[AttemptRow]:
    """The containers that have worked on it, in order."""
    return Page(items=list((await _read(office, caller, run_id)).attempts), next_cursor=None)


@router.get("/{run_id}/stages", summary="A run's stages")
async def list_stages(office: TheOffice, caller: Reads, run_id: str) -> Page[StageRecord]:
    """What each stage of the last attempt did, in order."""
    return Page(items=list((await _read(office, caller, run_id)).stages), next_cursor=None)


@router.get("/{run_id}/spans", summary="A run's spans")
async def list_spans(office: TheOffice, caller: Reads, run_id: str) -> Page[SpanRow]:
    """The sample of its trace that is kept beside it, by start; their times are nanoseconds since 1970."""
    await _read(office, caller, run_id)
    return Page(items=list(await office.desk.read(lambda: read_spans(run_id))), next_cursor=None)


@router.get("/{run_id}/explanation", summary="Why a run took so long", responses=refuses(409))
async def explain_run(office: TheOffice, caller: Reads, run_id: str) -> RunExplanation:
    """Which stage held it up, and what it would have taken with more workers there, replayed from recorded times.

    409 until an attempt has left any.
    """
    await _read(office, caller, run_id)
    try:
        profile = await office.desk.read(lambda: read_profile(run_id))
    except NotExplainedError:
        raise NotExplainedError("No attempt of this run has left times: there is nothing to explain yet.") from None
    return await asyncio.to_thread(explanation_of, profile)


async def started(office: Office, wanted: RunRequest) -> Response:
    """The answer to a wish for a run: 202 with the one that is recorded now, 200 with the one that its key has made."""
    run_id, created = await _record(office, wanted)
    if created:
        office.launches.add(Launch(run_id, 1))
    shown = shown_run(await office.desk.read(lambda: read_run(run_id)))
    where = {"location": f"/runs/{run_id}"}
    if not created:
        return shown.response(200, **where, **{"idempotent-replayed": "true"})
    return shown.response(202, **where)


def _wanted(request: Request, caller: Caller, body: NewRun, key: str | None) -> RunRequest:
    parents = request.headers.getlist("traceparent")
    remote = parse_remote(parents[0], ",".join(request.headers.getlist("tracestate"))) if len(parents) == 1 else None
    return RunRequest(
        pipeline=body.pipeline,
        parameters=body.parameters,
        # One caller's keys are nothing to another.
        key=None if key is None else f"api:{caller.name}:{key}",
        traceparent=None if remote is None else f"00-{remote.trace_id}-{remote.span_id}-01",
        tracestate=None if remote is None else remote.tracestate or None,
    )


async def _record(office: Office, wanted: RunRequest) -> tuple[str, bool]:
    """The run that is recorded now, or that the same key has made. Raise `KeyReusedError` where that is another."""
    try:
        run = await office.desk.record_run(wanted)
    except UnknownPipelineError:
        # Its own words list the pipelines that there are.
        raise UnknownPipelineError("There is no such pipeline, or it is archived.") from None
    if not run.created:
        before = (await office.desk.read(lambda: read_run(run.run_id))).run.parameters
        if any(name not in before or before[name] != value for name, value in wanted.parameters.items()):
            raise KeyReusedError("A run was started with this Idempotency-Key before, with other parameters.")
    return run.run_id, run.created


async def _read(office: Office, caller: Caller, run_id: str) -> RunDetails:
    details = await office.desk.read(lambda: details_of(run_id))
    if not caller.sees(details.run.pipeline):
        raise unknown_run()
    return details


def details_of(run_id: str) -> Steps[RunDetails]:
    """The run as it stands. Raise `UnknownRunError` in words that repeat nothing."""
    try:
        return (yield from read_run(run_id))
    except UnknownRunError:
        raise unknown_run() from None


def unknown_run() -> UnknownRunError:
    """There is none, or none that the caller may know of."""
    return UnknownRunError("There is no run with this id.")


def shown_run(details: RunDetails) -> Shown:
    """The run as the API shows it."""
    view = RunView(**_fields(details.run), attempts=details.attempts, stages=details.stages)
    return Shown.of(RUN, view, details.run.attempt)


def _fields(run: RunRow) -> dict[str, Any]:
    return {name: getattr(run, name) for name in RunRow.__dataclass_fields__}

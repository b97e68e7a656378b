"""What failed is worked on again: dead letters by new runs, runs by one more attempt."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field

from cableway.replays import MOST_LETTERS, LetterWish, Replayed, redo, replay, retry
from cableway.store.pages import MAX_BIGINT
from cableway_handlers.api.access import Needs
from cableway_handlers.api.bodies import Body, StrictRoute
from cableway_handlers.api.openapi import refuses
from cableway_handlers.api.resources.desk import Office, TheOffice
from cableway_handlers.api.resources.runs import RunView, details_of, shown_run, unknown_run
from cableway_handlers.api.scopes import Caller
from cableway_handlers.launch.protocol import Launch

router = APIRouter(tags=["replays"], route_class=StrictRoute)

Runs = Annotated[Caller, Depends(Needs("run", "runs"))]
Text = Annotated[str, Field(min_length=1, max_length=200)]
Uuid = Annotated[str, Field(min_length=32, max_length=36, pattern="^[0-9a-fA-F-]{32,36}$")]
LetterId = Annotated[int, Field(ge=1, le=MAX_BIGINT)]


class Failed(Body):
    """What of a run's failures is meant; what is unset does not narrow."""

    stage: Text | None = None
    bloc: Text | None = None
    error_type: Text | None = None
    limit: int = Field(default=MOST_LETTERS, ge=1, le=MOST_LETTERS, description="Units at most, the oldest first.")
    version: int | None = Field(default=None, ge=1, le=2**31 - 1, description="Unset: the version that failed.")
    latest: bool = Field(default=False, description="By the active version.")


class FailedAnywhere(Failed):
    """Which dead letters are meant; one of the first three at least."""

    letters: list[LetterId] | None = Field(default=None, min_length=1, max_length=10_000)
    run_id: Uuid | None = None
    pipeline: Text | None = None


class Again(Body):
    """How a run is tried again."""

    from_stage: Text | None = Field(
        default=None, description="Read everything again, and write from this stage on, as a new run that is linked."
    )


class Replays(BaseModel):
    """The runs that were recorded, each linked to the one that it replays."""

    runs: list[Replayed]


@router.post("/runs/{run_id}/replay", summary="Replay what failed in a run", status_code=202, responses=refuses(409))
async def replay_run(office: TheOffice, caller: Runs, run_id: str, body: Failed) -> Replays:
    """Work on the run's open dead letters again: one new run for each stage, from that stage on."""
    await _seen(office, caller, run_id)
    return await _replayed(office, _wish(body, caller, run_id=run_id))


@router.post("/dead-letters/replay", summary="Replay dead letters", status_code=202, responses=refuses(409))
async def replay_letters(office: TheOffice, caller: Runs, body: FailedAnywhere) -> Replays:
    """Work on open dead letters again: one new run for each run and stage."""
    if body.run_id is not None:
        await _seen(office, caller, body.run_id)
    wish = _wish(body, caller, run_id=body.run_id, pipeline=body.pipeline, letters=body.letters)
    return await _replayed(office, wish)


@router.post(
    "/runs/{run_id}/retry",
    summary="Try a run again",
    status_code=202,
    response_model=RunView,
    responses=refuses(409),
)
async def retry_run(office: TheOffice, caller: Runs, run_id: str, body: Again) -> Response:
    """One more attempt at a run that ended without success; or a new run that reads everything again."""
    await _seen(office, caller, run_id)
    stage = body.from_stage
    if stage is None:
        await office.desk.change(lambda: retry(run_id))
    else:
        run_id = (await office.desk.change(lambda: redo(run_id, stage, office.catalog))).run_id
    details = await office.desk.read(lambda: details_of(run_id))
    office.launches.add(Launch(run_id, details.run.attempt + 1))
    return shown_run(details).response(202, location=f"/runs/{run_id}")


async def _seen(office: Office, caller: Caller, run_id: str) -> None:
    details = await office.desk.read(lambda: details_of(run_id))
    if not caller.sees(details.run.pipeline):
        raise unknown_run()


def _wish(
    body: Failed,
    caller: Caller,
    *,
    run_id: str | None,
    pipeline: str | None = None,
    letters: list[int] | None = None,
) -> LetterWish:
    return LetterWish(
        run_id=run_id,
        letters=letters,
        pipeline=pipeline,
        stage=body.stage,
        bloc=body.bloc,
        error_type=body.error_type,
        limit=body.limit,
        version=body.version,
        latest=body.latest,
        pipelines=caller.pipelines,
    )


async def _replayed(office: Office, wish: LetterWish) -> Replays:
    made = await office.desk.change(lambda: replay(wish, office.catalog))
    for each in made:
        office.launches.add(Launch(each.run_id, 1))
    return Replays(runs=list(made))

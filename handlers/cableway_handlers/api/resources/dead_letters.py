"""Dead letters: units that failed for good."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from cableway.errors import UnknownNameError
from cableway.store.pages import MAX_BIGINT, LetterFilter, LetterRow, page_of_dead_letters
from cableway_handlers.api.access import Needs
from cableway_handlers.api.bodies import StrictRoute
from cableway_handlers.api.paging import Asked, Page, asked, number_after
from cableway_handlers.api.resources.desk import TheOffice
from cableway_handlers.api.resources.runs import details_of, unknown_run
from cableway_handlers.api.scopes import Caller

router = APIRouter(tags=["dead letters"], route_class=StrictRoute)

Reads = Annotated[Caller, Depends(Needs("read", "dead-letters"))]
LetterState = Literal["open", "replaying", "resolved"]


@router.get("/dead-letters", summary="List dead letters")
async def list_dead_letters(  # noqa: PLR0913 - each is a parameter of the query
    office: TheOffice,
    caller: Reads,
    page: Annotated[Asked, Depends(asked)],
    run_id: Annotated[str | None, Query(max_length=36)] = None,
    pipeline: Annotated[str | None, Query(max_length=100)] = None,
    state: LetterState | None = None,
    stage: Annotated[str | None, Query(max_length=200)] = None,
    bloc: Annotated[str | None, Query(max_length=200)] = None,
    error_type: Annotated[str | None, Query(max_length=200)] = None,
) -> Page[LetterRow]:
    """Dead letters, newest first. Their stacks are there for the scope `read:stacks`, else null."""
    after = page.after(number_after)
    wanted = LetterFilter(run_id=run_id, pipeline=pipeline, state=state, stage=stage, bloc=bloc, error_type=error_type)
    rows = await office.desk.read(lambda: page_of_dead_letters(after, page.limit + 1, caller.pipelines, wanted))
    return page.page(rows, lambda row: [row.letter_id], lambda row: _for(caller, row))


@router.get("/runs/{run_id}/dead-letters", summary="List a run's dead letters")
async def list_dead_letters_of_run(
    office: TheOffice, caller: Reads, run_id: str, page: Annotated[Asked, Depends(asked)]
) -> Page[LetterRow]:
    """What failed for good in the run, newest first, as `/dead-letters` has it."""
    run = (await office.desk.read(lambda: details_of(run_id))).run
    if not caller.sees(run.pipeline):
        raise unknown_run()
    after = page.after(number_after)
    wanted = LetterFilter(run_id=run_id)
    rows = await office.desk.read(lambda: page_of_dead_letters(after, page.limit + 1, caller.pipelines, wanted))
    return page.page(rows, lambda row: [row.letter_id], lambda row: _for(caller, row))


@router.get("/dead-letters/{letter_id}", summary="A dead letter")
async def get_dead_letter(
    office: TheOffice, caller: Reads, letter_id: Annotated[int, Field(ge=1, le=MAX_BIGINT)]
) -> LetterRow:
    """The dead letter as it stands. Its stack is there for the scope `read:stacks`, else null."""
    wanted = LetterFilter(letter_id=letter_id)
    rows = await office.desk.read(lambda: page_of_dead_letters(None, 1, caller.pipelines, wanted))
    if not rows:
        raise UnknownNameError("There is no dead letter with this id.")
    return _for(caller, rows[0])


def _for(caller: Caller, row: LetterRow) -> LetterRow:
    return row if caller.may("read", "stacks") else replace(row, stack=None)

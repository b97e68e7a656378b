"""
The one decision that makes a run: whoever hears an event calls it, and acknowledges the event after it.

The key is unique within the pipeline, so the same event heard twice makes one run. The parameters are
checked against the version that is active now, and the run is pinned to that version. What becomes of a run
while others of its pipeline are open is the overlap policy's matter, and Postgres enforces it. Where several
statements are needed they hold together: `record_many` and `cancel_run` may stand in a caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence

from cableway.errors import EXIT_RUN_FAILED, OverlapError, RunCancelledError, UnknownRunError
from cableway.recording import MAX_KEY_LENGTH, Decision, NotRun, RecordedRun, Refused, RunRequest, recording
from cableway.store.executor import AsyncExecutor, Sender, Step, Steps, drive
from cableway.store.ids import is_id
from cableway.store.port import RunState
from cableway.store.storable import storable_json, storable_text

__all__ = [
    "MAX_KEY_LENGTH",
    "Decision",
    "NotRun",
    "RecordedRun",
    "Refused",
    "RunRequest",
    "cancel_run",
    "cancel_run_async",
    "record_many",
    "record_many_async",
    "record_run",
    "record_run_async",
]


def record_many(sender: Sender, requests: Sequence[RunRequest]) -> list[Decision]:
    """Record the runs that *requests* ask for, and say of each, in their order, what became of it.

    All are decided in one transaction and a fixed number of round trips. One that cannot be is `Refused` and
    keeps no other back; a key that made a run before leads to that run, whether its parameters fit today or not.
    A caller's own transaction must be READ COMMITTED and call this once, or two of them may wait for each other.
    """
    return drive(sender, recording(requests, sender.settings))


async def record_many_async(executor: AsyncExecutor, requests: Sequence[RunRequest]) -> list[Decision]:
    """The same for a program with an event loop."""
    return await executor.drive(recording(requests, executor.settings))


def record_run(sender: Sender, request: RunRequest) -> RecordedRun:
    """Record the run that *request* asks for, or find the one that its key has made.

    Raise `UnknownPipelineError`, `ParameterError`, or `OverlapError` where the pipeline's policy wants no
    further run now: then nothing is recorded.
    """
    return the_run(record_many(sender, [request]), request)


async def record_run_async(executor: AsyncExecutor, request: RunRequest) -> RecordedRun:
    """The same for a program with an event loop."""
    return the_run(await record_many_async(executor, [request]), request)


def cancel_run(sender: Sender, run_id: str, *, by: str | None = None) -> RunState:
    """Ask for the end of a run and its parts, for *by*, and return the state that it is in now.

    One that nobody works on is ``cancelled`` with this. Whoever works on one hears of it at once, drains within its
    grace and records it; until then it is ``cancelling``, and where nothing comes of that a sweep has its platform
    end the container. One that had ended stays as it was. Raise `UnknownRunError`.
    """
    return drive(sender, _cancelling(run_id, by))


async def cancel_run_async(executor: AsyncExecutor, run_id: str, *, by: str | None = None) -> RunState:
    """The same for a program with an event loop."""
    return await executor.drive(_cancelling(run_id, by))


def _cancelling(run_id: str, by: str | None) -> Steps[RunState]:
    problem = RunCancelledError("the run was cancelled before anybody worked on it").problem()
    rows = []
    if is_id(run_id):
        parameters = {
            "run_id": run_id,
            "cancelled_by": None if by is None else storable_text(by),
            "problem": storable_json(problem),
            "exit_code": EXIT_RUN_FAILED,
        }
        rows = yield Step("cancel_run", parameters)
    if not rows:
        raise UnknownRunError(f"no run {storable_text(run_id)[:80]!r}")
    return RunState(rows[0]["state"])


def the_run(decisions: Sequence[Decision], request: RunRequest) -> RecordedRun:
    """The only one of *decisions*, which is on *request*. Raise as `record_run`."""
    match decisions[0]:
        case RecordedRun() as run:
            return run
        case Refused(error):
            raise error
        case NotRun():
            raise OverlapError(
                f"pipeline {request.pipeline!r} has as many runs open as it may have, and its overlap policy "
                "wants no further one: wait for them, or cancel one"
            )

"""Runs whose source is shared out among parts, each of which is a run of its own with a container of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cableway.errors import UsageError
from cableway.recording import RunRequest, recording
from cableway.runs import the_run
from cableway.store.executor import Step, Steps
from cableway.store.ids import new_id

if TYPE_CHECKING:
    from cableway.settings import DatabaseSettings

MOST_PARTS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedParts:
    """A run in parts."""

    run_id: str
    """Of the whole, which nobody works on: it has ended when all parts have, as the worst of them did."""
    parts: Sequence[str]
    """The ids of the parts, in their order. Empty where the key had made a run without parts."""
    created: bool
    """False: the key had made this run before, with the parts that it has."""


def recording_parts(request: RunRequest, parts: int, settings: DatabaseSettings | None) -> Steps[RecordedParts]:
    """Record a run in so many *parts*; needs a transaction.

    Parts take places of the pipeline's ``concurrency`` as other runs do. What cannot be done in parts fails when it
    begins. Raise `UsageError` for a number out of bounds, else as `cableway.runs.record_run`.
    """
    if not 2 <= parts <= MOST_PARTS:
        raise UsageError(f"a run has 2 to {MOST_PARTS} parts, and not {parts}")
    wanted = replace(request, parts=parts)
    whole = the_run((yield from recording([wanted], settings)), wanted)
    if not whole.created:
        known = yield Step("parts_of", {"run_id": whole.run_id})
        return RecordedParts(run_id=whole.run_id, parts=[row["run_id"] for row in known], created=False)
    run_ids = [new_id() for _ in range(parts)]
    yield Step("record_parts", {"run_id": whole.run_id, "run_ids": run_ids})
    return RecordedParts(run_id=whole.run_id, parts=run_ids, created=True)

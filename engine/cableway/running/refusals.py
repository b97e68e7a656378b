"""Rows that blocs refused: dead letters, failures or a count, as their stage's ``on_error`` says."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cableway.errors import ItemsFailedError
from cableway.refused import RefusedRow, Sifted

if TYPE_CHECKING:
    from cableway.definition import OnError
    from cableway.items import WorkItem
    from cableway.running.letters import DeadLetterBox
    from cableway.running.stopping import Stop

log = logging.getLogger("cableway.job")


class Refusals:
    """Counts the rows that blocs refuse, by bloc, and passes them to the box of dead letters. On the loop alone."""

    def __init__(self, on_error: Mapping[str, OnError], box: DeadLetterBox, stop: Stop) -> None:
        self.failed = 0
        """Rows that count as errors of the run."""
        self.skipped = 0
        """Rows that their stage skips."""
        self._on_error = on_error
        self._box = box
        self._stop = stop

    def kept(self, stage: str, bloc: str, item: WorkItem, result: Any) -> Any:
        """*result* without the rows that were refused; those are dealt with now."""
        if not isinstance(result, Sifted):
            return result
        count = len(result.refused) + result.left_out
        if count:
            self._refuse(stage, bloc, item, result.refused, count)
        return result.kept

    def _refuse(self, stage: str, bloc: str, item: WorkItem, rows: Sequence[RefusedRow], count: int) -> None:
        policy = self._on_error[stage]
        if policy == "skip":
            self.skipped += count
            log.warning("stage %r, bloc %r, item %r: %d rows refused and skipped", stage, bloc, item.job_id, count)
            return
        self.failed += count
        self._box.rows_refused(item, stage, bloc, rows, left_out=count - len(rows))
        if policy == "fail_run":
            first = f": {rows[0].error}" if rows else ""
            self._stop.ask(ItemsFailedError(f"a row was refused, and stage {stage!r} fails the run for that{first}"))

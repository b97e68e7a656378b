"""How far a source is, and what was counted below that."""

from __future__ import annotations

from cableway.flow.observer import Outcome
from cableway.items import WorkItem
from cableway.running.cursor import CursorKeeper
from cableway.running.gate import Gate
from cableway.running.recovery import Recovered

ROOT = WorkItem(None, job_id="root")


def test_items_that_were_passed_over_count_below_the_cursor_once_it_is_beyond_them() -> None:
    """Else an attempt after the next one would miss them: below the cursor nothing is read again."""
    gate = Gate()
    gate.recovered = Recovered({"out": ["0", "1", "3", "6"]}, {}, finishes=True)
    keeper = CursorKeeper("load", gate.passed_before)
    ids = [gate.item_id(str(number)) for number in range(8)]
    assert ids == [None, None, "2", None, "4", "5", None, "7"]
    items = [WorkItem(None, job_id=item_id) for item_id in ids if item_id is not None]
    for item in items:
        keeper.item_derived((ROOT,), (item,), "load", "fan_out")
    two, four, five, _ = items
    mark = keeper.mark()
    assert (mark.position, mark.counts["emitted"], mark.counts["succeeded"]) == ("2", 2, 2)
    keeper.item_ended(four, Outcome.SUCCEEDED, 0)
    assert keeper.mark().counts["emitted"] == 2
    keeper.item_ended(two, Outcome.SUCCEEDED, 0)
    mark = keeper.mark()
    assert (mark.position, mark.counts["emitted"]) == ("5", 5)
    keeper.item_ended(five, Outcome.FAILED, 0)
    mark = keeper.mark()
    assert (mark.position, mark.counts["emitted"], mark.counts["failed"]) == ("7", 7, 1)

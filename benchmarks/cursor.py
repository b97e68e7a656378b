"""What it costs to follow the items of a flow for the cursor."""

from __future__ import annotations

import time
from collections import deque
from statistics import median

from benchmarks import _verdict
from cableway.flow.observer import Outcome
from cableway.items import WorkItem
from cableway.running.cursor import CursorKeeper

ITEMS = 200_000
IN_FLIGHT = 200
ROUNDS = 5
LIMIT_NS = 1_000


def one_round() -> float:
    """Nanoseconds of the processor for each item that comes and ends, with so many on their way at once."""
    keeper, root = CursorKeeper("load"), WorkItem(None, job_id="root")
    waiting: deque[WorkItem] = deque()
    derived, ended, told = keeper.item_derived, keeper.item_ended, Outcome.SUCCEEDED
    took = 0
    for start in range(0, ITEMS, IN_FLIGHT):
        items = [WorkItem(None, job_id=f"0:{number}") for number in range(start, start + IN_FLIGHT)]
        began = time.process_time_ns()
        for item in items:
            derived((root,), (item,), "load", "fan_out")
        for item in waiting:
            ended(item, told, 0)
        took += time.process_time_ns() - began
        waiting = deque(items)
    mark = keeper.mark()
    if mark.position != f"0:{ITEMS - IN_FLIGHT}":
        raise SystemExit(f"the cursor stands at {mark.position}")
    return took / ITEMS


def main() -> None:
    """Measure, and say whether it is within the limit."""
    cost = median(one_round() for _ in range(ROUNDS))
    print(f"{cost:,.0f} ns for each source item, with {IN_FLIGHT} on their way")
    _verdict.say("cursor", {"ns_per_item": round(cost)}, {"ns_per_item": LIMIT_NS}, met=cost <= LIMIT_NS)


if __name__ == "__main__":
    main()

"""Who is on the way, and how those ended that are not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic_ns
from typing import Any

from cableway.flow.observer import Outcome
from cableway.items import Route, WorkItem, WorkItemResult, note_arrival

CompletionCallback = Callable[[WorkItemResult], Awaitable[Any] | None]


class ItemTracker:
    """Follows items through the stages and keeps their results.

    A pipeline with ``enable_tracking`` feeds one by itself, without locks or coroutines; the coroutine
    methods are for whoever follows items by hand.
    """

    def __init__(self, stage_names: list[str] | tuple[str, ...], *, keep_data: bool = False) -> None:
        self.stage_names = tuple(stage_names)
        self.keep_data = keep_data
        self.active: dict[WorkItem, None] = {}
        self.results: list[WorkItemResult] = []
        self.callbacks: list[CompletionCallback] = []
        self.routes = [Route(self.stage_names[index:]) for index in range(len(self.stage_names) + 1)]

    def follow(self, item: WorkItem, first_stage: int = 0) -> None:
        """Begin to follow *item*, which will enter at the stage with this index."""
        item.follow(self.routes[first_stage], [item.created_ns])
        self.active[item] = None

    def keep(self, item: WorkItem) -> None:
        """Keep that *item* succeeded: `complete` for the many, where nobody else wants to know."""
        del self.active[item]
        record = item.record
        if record is not None:
            item.trail = None
            record.succeed()
            self.results.append(record)

    def complete(self, item: WorkItem, outcome: Outcome, at_ns: int, error: BaseException | None) -> WorkItemResult:
        """Keep how *item* ended, and follow it no further."""
        self.active.pop(item, None)
        result = item.record
        if result is None:
            raise AssertionError("the item is not followed")
        item.trail = None
        result.end(outcome, at_ns, error, item.data)
        self.results.append(result)
        return result

    def add_completion_callback(self, callback: CompletionCallback) -> None:
        """Have *callback* called with the result of every item that ends."""
        self.callbacks.append(callback)

    async def register_item(self, item: WorkItem) -> None:
        """Begin to follow *item* from the first stage."""
        self.follow(item)

    async def update_item_stage(self, job_id: str, stage: str, transition_type: str = "started") -> None:
        """Note that the item with this id was queued, started or completed in *stage*, now; in the stages' order."""
        if transition_type not in {"queued", "started", "completed"}:
            raise ValueError(f"an item is queued, started or completed, not {transition_type!r}")
        for item in self.active:
            if item.job_id == job_id and item.trail is not None:
                if transition_type == "queued":
                    note_arrival(item.trail, monotonic_ns())
                else:
                    item.trail.append(monotonic_ns())

    async def complete_item(
        self,
        job_id: str,
        success: bool = True,  # noqa: FBT001, FBT002 - people call it that way
        error: BaseException | None = None,
    ) -> WorkItemResult:
        """End the item with this id. Raise `KeyError` when none such is on the way."""
        for item in self.active:
            if item.job_id == job_id:
                outcome = Outcome.SUCCEEDED if success else Outcome.FAILED
                result = self.complete(item, outcome, monotonic_ns(), error)
                for callback in self.callbacks:
                    callback(result)
                return result
        raise KeyError(f"no item {job_id!r} is on its way")

    async def get_active_items(self) -> list[WorkItem]:
        """The items that are on their way now."""
        return list(self.active)

    async def get_completed_results(self) -> list[WorkItemResult]:
        """The results so far, in the order in which items ended."""
        return list(self.results)

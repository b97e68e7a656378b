"""What the flow's tests share: short ways to a pipeline, and an observer that checks every item's life."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from cableway import ETLPipeline, ETLPipelineConfig, StageConfig, WorkItem, WorkItemResult
from cableway.flow.observer import Derivation, FlowEnded, FlowStarted, Observer, Outcome


def stage(name: str = "only", **settings: Any) -> StageConfig:
    """A stage with few workers and a short queue, unless told otherwise."""
    chosen: dict[str, Any] = {"name": name, "workers": 2, "queue_size": 4, **settings}
    return StageConfig(**chosen)


def pipeline(
    stages: Sequence[tuple[StageConfig, Any]], source: Any, *, observers: Sequence[Observer] = (), **settings: Any
) -> ETLPipeline:
    """A pipeline over *source* with a handler for each stage."""
    configs = [config for config, _ in stages]
    chosen: dict[str, Any] = {"stats_interval_seconds": 0, "keep_data": True, **settings}
    config = ETLPipelineConfig(stages=configs, **chosen)
    made = ETLPipeline(config, source, observers=observers)
    for one, handler in stages:
        made.register_stage_handler(one.name, handler)
    return made


async def run(
    stages: Sequence[tuple[StageConfig, Any]], source: Any, *, within_s: float = 10.0, **settings: Any
) -> list[WorkItemResult]:
    """Run such a pipeline to its end, which must come within *within_s*."""
    async with asyncio.timeout(within_s):
        return await pipeline(stages, source, **settings).run()


async def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    """Let the loop run until *condition* holds."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0)


def ended(made: ETLPipeline) -> int:
    """How many items of the run have ended."""
    return made._run.ledger.ended if made._run is not None else 0


def outcomes(results: Sequence[WorkItemResult]) -> Counter[str]:
    """How many ended in which way."""
    return Counter(str(result.outcome) for result in results)


def data_of(results: Sequence[WorkItemResult]) -> list[Any]:
    """What the succeeded ended with."""
    return [result.data for result in results if result.outcome == Outcome.SUCCEEDED]


async def same(item: WorkItem) -> WorkItem:
    """Hand the item on as it is."""
    return item


def each(function: Callable[[Any], Any]) -> Callable[[WorkItem], Any]:
    """An async handler that gives ``function(data)``."""

    async def handler(item: WorkItem) -> Any:
        return function(item.data)

    return handler


class Lives(Observer):
    """Follows every item and fails the test when one lives against the rules."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.states: dict[int, str] = {}
        self.items: list[WorkItem] = []
        self.ends: Counter[str] = Counter()
        self.told: list[str] = []
        self.ended: FlowEnded | None = None

    def check(self, condition: bool, message: str) -> None:
        if not condition:
            self.faults.append(message)

    def run_started(self, event: FlowStarted) -> None:
        self.told.append("run_started")

    def run_ended(self, event: FlowEnded) -> None:
        self.told.append("run_ended")
        self.ended = event
        self.check(event.emitted == sum(event.outcomes.values()), f"{event.emitted} emitted, {event.outcomes}")
        self.check(event.emitted == sum(self.ends.values()), f"{event.emitted} emitted, {self.ends} told")

    def item_queued(self, item: WorkItem, stage: str, at_ns: int) -> None:
        state = self.states.get(id(item), "new")
        self.check(state in {"new", "finished"}, f"queued at {stage} while {state}")
        if state == "new":
            self.items.append(item)  # keeps its id from being used again
        self.states[id(item)] = "queued"

    def item_started(self, item: WorkItem, stage: str, at_ns: int) -> None:
        self.check(self.states.get(id(item)) == "queued", f"started in {stage} while {self.states.get(id(item))}")
        self.states[id(item)] = "started"

    def item_finished(self, item: WorkItem, stage: str, at_ns: int) -> None:
        self.check(self.states.get(id(item)) == "started", f"finished in {stage} while {self.states.get(id(item))}")
        self.states[id(item)] = "finished"

    def item_derived(
        self, parents: Sequence[WorkItem], children: Sequence[WorkItem], stage: str, how: Derivation
    ) -> None:
        self.check(bool(parents) and bool(children), "a derivation without parents or children")

    def item_ended(self, item: WorkItem, outcome: Outcome, at_ns: int) -> None:
        self.check(self.states.get(id(item)) != "ended", f"ended twice, now {outcome}")
        if id(item) not in self.states:
            self.items.append(item)
        self.states[id(item)] = "ended"
        self.ends[str(outcome)] += 1

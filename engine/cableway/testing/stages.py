"""Handlers under test: give items to a stage or to several, and get what became of each."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from cableway.flow.config import ETLPipelineConfig, ExecutionType, StageConfig
from cableway.flow.observer import Derivation, Observer, Outcome
from cableway.flow.pipeline import ETLPipeline
from cableway.flow.statistics import StageStatistics

if TYPE_CHECKING:
    from cableway.items import WorkItem, WorkItemResult
    from cableway.testing.clock import FakeClock

T = TypeVar("T")

Handler = Callable[..., Any]
Items = Iterable[Any] | AsyncIterable[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemReport:
    """How one item ended: with its data, or with the error that it failed with.

    ``attempts`` counts the tries of the unit that was tried most. ``passed`` is whether the item came out
    behind the last stage as itself; one that became others, or a part of another, did not.
    """

    job_id: str
    outcome: Outcome
    data: Any
    error: BaseException | None
    attempts: int
    duration_s: float
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StagesReport:
    """What came of a run: its items in the order in which they ended, and the error that ended it, if one did."""

    items: tuple[ItemReport, ...]
    stages: tuple[StageStatistics, ...]
    error: BaseException | None

    @property
    def outputs(self) -> list[Any]:
        """The data of everything that came out behind the last stage, in the order in which it did."""
        return [item.data for item in self.items if item.passed]

    @property
    def errors(self) -> list[BaseException]:
        """What items failed with."""
        return [item.error for item in self.items if item.error is not None]

    @property
    def counts(self) -> Mapping[str, int]:
        """Items by outcome; those that did not occur are left out."""
        return Counter(str(item.outcome) for item in self.items)

    def item(self, job_id: str) -> ItemReport:
        """The item of this id. Raise `KeyError` naming those that there are."""
        for item in self.items:
            if item.job_id == job_id:
                return item
        raise KeyError(f"no item {job_id!r}; there are: {', '.join(item.job_id for item in self.items[:10])}")


def run_handler(
    handler: Handler,
    items: Items,
    *,
    clock: FakeClock | None = None,
    observers: Sequence[Observer] = (),
    **settings: Any,
) -> StagesReport:
    """Have *handler* work on *items* in a stage of its own, with one worker unless *settings* say more.

    *settings* are those of `StageConfig`. Without an ``execution_type`` an async handler runs async, one of two
    arguments or more in a process, any other in a thread. With *clock* waiting takes no time.
    """
    return run_stage(_stage_for(handler, settings), handler, items, clock=clock, observers=observers)


async def run_handler_async(
    handler: Handler,
    items: Items,
    *,
    clock: FakeClock | None = None,
    observers: Sequence[Observer] = (),
    **settings: Any,
) -> StagesReport:
    """`run_handler` for a test that is a coroutine; *clock* must be the one whose loop it runs on."""
    return await run_stages_async([(_stage_for(handler, settings), handler)], items, clock=clock, observers=observers)


def run_stage(
    stage: StageConfig,
    handler: Handler,
    items: Items,
    *,
    clock: FakeClock | None = None,
    observers: Sequence[Observer] = (),
) -> StagesReport:
    """Have *handler* work on *items* in *stage*."""
    return run_stages([(stage, handler)], items, clock=clock, observers=observers)


def run_stages(
    stages: Sequence[tuple[StageConfig, Handler]],
    items: Items,
    *,
    clock: FakeClock | None = None,
    observers: Sequence[Observer] = (),
) -> StagesReport:
    """Let *items* through *stages*, each with its handler, and report what became of them.

    What ends the run early is in the report's ``error`` and is not raised; what is wrong with the stages is.
    """
    return completed(run_stages_async(stages, items, clock=clock, observers=observers), clock)


async def run_stages_async(
    stages: Sequence[tuple[StageConfig, Handler]],
    items: Items,
    *,
    clock: FakeClock | None = None,
    observers: Sequence[Observer] = (),
) -> StagesReport:
    """`run_stages` for a test that is a coroutine; *clock* must be the one whose loop it runs on."""
    config = ETLPipelineConfig(stages=[stage for stage, _ in stages], stats_interval_seconds=0, keep_data=True)
    history = _History()
    pipeline = ETLPipeline(config, items, observers=[history, *observers], clock=clock)
    for stage, handler in stages:
        pipeline.register_stage_handler(stage.name, handler)
    ended: list[WorkItemResult] = []
    pipeline.add_completion_callback(ended.append)
    error: BaseException | None = None
    try:
        await pipeline.run()
    except Exception as raised:  # noqa: BLE001 - how the run ended is what the report is about
        error = raised
    return StagesReport(
        items=tuple(history.report(result) for result in ended), stages=pipeline.stage_statistics(), error=error
    )


def completed(main: Coroutine[Any, Any, T], clock: FakeClock | None) -> T:
    """Run *main* from a plain function, by *clock* where there is one. Raise `RuntimeError` within a running loop."""
    if _is_running():
        main.close()
        raise RuntimeError("an event loop is running; await the function whose name ends in _async")
    return asyncio.run(main) if clock is None else clock.run(main)


def _is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _stage_for(handler: Handler, settings: Mapping[str, Any]) -> StageConfig:
    chosen: dict[str, Any] = {"name": "handler", "execution_type": _lane(handler), "workers": 1, **settings}
    return StageConfig(**chosen)


def _lane(handler: Handler) -> ExecutionType:
    if inspect.iscoroutinefunction(handler) or inspect.isasyncgenfunction(handler):
        return ExecutionType.ASYNC
    wanted = [
        one
        for one in inspect.signature(handler).parameters.values()
        if one.default is one.empty and one.kind in {one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD}
    ]
    return ExecutionType.PROCESS if len(wanted) > 1 else ExecutionType.THREAD


class _History(Observer):
    """What an item's result does not say by itself."""

    def __init__(self) -> None:
        self._attempts: dict[str, Counter[str]] = {}
        self._became_others: set[str] = set()

    def item_retried(
        self, item: WorkItem, stage: str, bloc: str, error: BaseException, attempt: int, delay_s: float
    ) -> None:
        """Count the tries of each unit."""
        self._attempts.setdefault(item.job_id, Counter())[f"{stage}/{bloc}"] = attempt

    def item_derived(
        self, parents: Sequence[WorkItem], children: Sequence[WorkItem], stage: str, how: Derivation
    ) -> None:
        """Note who goes on as somebody else."""
        self._became_others.update(parent.job_id for parent in parents)

    def report(self, result: WorkItemResult) -> ItemReport:
        """All about one item."""
        tries = self._attempts.get(result.job_id, Counter())
        outcome = Outcome(str(result.outcome))
        return ItemReport(
            job_id=result.job_id,
            outcome=outcome,
            data=result.data,
            error=result.error,
            attempts=1 + max(tries.values(), default=0),
            duration_s=result.total_duration or 0.0,
            passed=outcome is Outcome.SUCCEEDED and result.job_id not in self._became_others,
        )

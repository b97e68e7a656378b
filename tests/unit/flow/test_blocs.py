"""Several blocs side by side on every item of a stage, as definition runs have them."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import pytest

from cableway import ETLPipeline, ExecutionType, WorkItem, WorkItemResult
from cableway.errors import ItemError
from cableway.flow.bloc import Fold, StageBloc
from cableway.flow.config import Retry
from cableway.flow.lanes.protocol import HandlerFactory
from cableway.items import DROP
from tests.unit.flow.harness import Lives, each, outcomes, pipeline, same, stage, until

THREAD = ExecutionType.THREAD


def together(parent: WorkItem, results: Mapping[str, Any]) -> dict[str, Any]:
    """What the blocs gave, by name."""
    return dict(results)


async def run_blocs(
    blocs: list[StageBloc], source: Any = (1,), *, merge: Any = together, observer: Any = None, **settings: Any
) -> tuple[list[WorkItemResult], ETLPipeline]:
    made = pipeline(
        [(stage(**settings), same), (stage("end"), same)], source, observers=(observer,) if observer else ()
    )
    made.register_stage_blocs("only", blocs, merge)
    async with asyncio.timeout(10):
        return await made.run(), made


def a(function: Callable[[Any], Any] = lambda data: data + 1, **settings: Any) -> StageBloc:
    return StageBloc(name="a", handler=each(function), **settings)


async def test_all_blocs_get_the_item_side_by_side() -> None:
    meet = asyncio.Barrier(2)

    async def one(item: WorkItem) -> str:
        await meet.wait()
        return f"one {item.data}"

    async def two(item: WorkItem) -> str:
        await meet.wait()
        return f"two {item.data}"

    lives = Lives()
    results, _ = await run_blocs(
        [StageBloc(name="one", handler=one), StageBloc(name="two", handler=two)], [1, 2], observer=lives
    )
    assert [result.data for result in results] == [{"one": f"one {n}", "two": f"two {n}"} for n in (1, 2)]
    assert lives.faults == []


async def test_each_bloc_has_its_own_lane() -> None:
    def where(item: WorkItem) -> bool:
        return threading.current_thread() is threading.main_thread()

    async def where_async(item: WorkItem) -> bool:
        return where(item)

    blocs = [
        StageBloc(name="loop", handler=where_async),
        StageBloc(name="thread", handler=where, execution_type=THREAD),
    ]
    results, _ = await run_blocs(blocs)
    assert results[0].data == {"loop": True, "thread": False}


async def test_select_says_what_a_handler_gets() -> None:
    async def act(data: Any) -> Any:
        return data * 2

    results, _ = await run_blocs([StageBloc(name="a", handler=act, select=lambda item: item.data["n"])], [{"n": 4}])
    assert results[0].data == {"a": 8}


async def test_a_bloc_that_gives_none_has_said_nothing() -> None:
    results, _ = await run_blocs([a(), StageBloc(name="silent", handler=each(lambda _: None))])
    assert outcomes(results) == {"succeeded": 1}
    assert results[0].data == {"a": 2}


async def test_one_silent_bloc_lets_the_item_go_on_too() -> None:
    results, _ = await run_blocs([StageBloc(name="silent", handler=each(lambda _: None))])
    assert [result.data for result in results] == [{}]


async def test_a_bloc_drops_the_item_with_drop() -> None:
    results, _ = await run_blocs([a(), StageBloc(name="b", handler=each(lambda _: DROP))])
    assert outcomes(results) == {"skipped": 1}


async def stream(item: WorkItem) -> AsyncIterator[int]:
    for number in range(3):
        yield number


def stream_in_thread(item: WorkItem) -> Iterator[int]:
    yield from range(3)


async def stream_inline(item: WorkItem) -> Iterator[int]:
    return stream_in_thread(item)


async def nothing(item: WorkItem) -> AsyncIterator[int]:
    if item.data is None:
        yield 1


@pytest.mark.parametrize(("handler", "lane"), [(stream, None), (stream_inline, None), (stream_in_thread, THREAD)])
async def test_each_value_of_a_stream_is_merged_with_what_the_others_gave(handler: Any, lane: Any) -> None:
    others_done = asyncio.Event()

    async def beside(item: WorkItem) -> str:
        await asyncio.sleep(0.01)
        others_done.set()
        return "side"

    def merge(parent: WorkItem, results: Mapping[str, Any]) -> dict[str, Any]:
        assert others_done.is_set()
        return {"parent": parent.data, **results}

    lives = Lives()
    blocs = [
        StageBloc(name="stream", handler=handler, execution_type=lane),
        StageBloc(name="side", handler=beside),
    ]
    results, _ = await run_blocs(blocs, [WorkItem("root", job_id="r")], merge=merge, observer=lives)
    children = {result.job_id: result.data for result in results if result.job_id != "r"}
    assert children == {f"r.{n + 1}": {"parent": "root", "side": "side", "stream": n} for n in range(3)}
    assert outcomes(results) == {"succeeded": 4}
    assert lives.faults == []


async def test_an_empty_stream_drops_the_item() -> None:
    results, _ = await run_blocs([a(), StageBloc(name="stream", handler=nothing)])
    assert outcomes(results) == {"skipped": 1}


async def test_two_streams_in_one_stage_fail_the_item() -> None:
    results, _ = await run_blocs([StageBloc(name="one", handler=stream), StageBloc(name="two", handler=stream)])
    (error,) = [result.error for result in results]
    assert isinstance(error, ItemError)
    assert error.item_code == "bad_result"
    assert "one, two" in str(error)


async def test_a_finished_bloc_is_not_run_again_while_its_neighbour_is() -> None:
    runs: list[str] = []

    async def good(item: WorkItem) -> str:
        runs.append("good")
        return "good"

    async def flaky(item: WorkItem) -> str:
        runs.append("flaky")
        if runs.count("flaky") < 3:
            raise ConnectionError
        return "flaky"

    blocs = [
        StageBloc(name="good", handler=good),
        StageBloc(name="flaky", handler=flaky, retry=Retry(attempts=3, initial_s=0.001)),
    ]
    results, made = await run_blocs(blocs)
    assert results[0].data == {"good": "good", "flaky": "flaky"}
    assert runs.count("good") == 1
    by_name = {bloc.name: bloc for bloc in made.stage_statistics()[0].blocs}
    assert (by_name["good"].attempts, by_name["flaky"].attempts, by_name["flaky"].retried) == (1, 3, 2)


async def test_a_bloc_is_tried_again_while_its_neighbour_still_works() -> None:
    tried_again = asyncio.Event()
    tries = 0

    async def slow(item: WorkItem) -> str:
        await tried_again.wait()
        return "slow"

    async def flaky(item: WorkItem) -> str:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ConnectionError
        tried_again.set()
        return "flaky"

    blocs = [
        StageBloc(name="slow", handler=slow),
        StageBloc(name="flaky", handler=flaky, retry=Retry(attempts=2, initial_s=0.001)),
    ]
    results, _ = await run_blocs(blocs)
    assert results[0].data == {"slow": "slow", "flaky": "flaky"}


class Failures(Lives):
    def __init__(self) -> None:
        super().__init__()
        self.failed: list[tuple[str, str, str, int]] = []
        self.retried: list[tuple[str, int]] = []
        self.blocs: list[str] = []

    def item_failed(
        self, item: WorkItem, stage: str, bloc: str, error: BaseException, attempts: int, at_ns: int
    ) -> None:
        self.failed.append((stage, bloc, str(error), attempts))

    def item_retried(
        self, item: WorkItem, stage: str, bloc: str, error: BaseException, attempt: int, delay_s: float
    ) -> None:
        self.retried.append((bloc, attempt))

    def bloc_started(self, item: WorkItem, stage: str, bloc: str, at_ns: int) -> None:
        self.blocs.append(f"+{bloc}")

    def bloc_finished(self, item: WorkItem, stage: str, bloc: str, error: BaseException | None, at_ns: int) -> None:
        self.blocs.append(f"-{bloc}{'!' if error else ''}")


async def test_a_bloc_that_fails_for_good_fails_the_item_and_is_named() -> None:
    observer = Failures()
    finished: list[int] = []

    async def slow(item: WorkItem) -> int:
        await asyncio.sleep(0.01)
        finished.append(item.data)
        return 1

    blocs = [
        a(lambda n: n // 0, retry=Retry(attempts=2, initial_s=0.001)),
        StageBloc(name="slow", handler=slow),
    ]
    results, _ = await run_blocs(blocs, observer=observer)
    assert outcomes(results) == {"failed": 1}
    assert [(one[0], one[1], one[3]) for one in observer.failed] == [("only", "a", 2)]
    assert observer.retried == [("a", 1)]
    assert finished == [1]  # a neighbour finishes what it is at
    assert sorted(observer.blocs) == ["+a", "+a", "+slow", "-a!", "-a!", "-slow"]
    assert observer.faults == []


async def test_a_merge_that_raises_fails_the_item() -> None:
    def merge(parent: WorkItem, results: Mapping[str, Any]) -> Any:
        return results["missing"]

    results, _ = await run_blocs([a()], merge=merge)
    assert outcomes(results) == {"failed": 1}
    assert isinstance(results[0].error, KeyError)


async def test_the_bloc_may_limit_its_own_time() -> None:
    async def hangs(item: WorkItem) -> None:
        await asyncio.sleep(3600)

    results, _ = await run_blocs([a(), StageBloc(name="hangs", handler=hangs, timeout_s=0.02)])
    assert isinstance(results[0].error, ItemError)
    assert results[0].error.item_code == "timeout"


async def test_cancelling_ends_all_neighbours() -> None:
    ended: list[str] = []

    def waits(name: str) -> Any:
        async def handler(item: WorkItem) -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                ended.append(name)

        return handler

    lives = Lives()
    made = pipeline([(stage(), same)], [1], observers=(lives,))
    made.register_stage_blocs("only", [StageBloc(name=name, handler=waits(name)) for name in "ab"], together)
    await made.start()
    await until(lambda: "started" in lives.states.values())
    await asyncio.sleep(0)
    await made.cancel()
    async with asyncio.timeout(5):
        assert outcomes(await made.run()) == {"cancelled": 1}
    assert sorted(ended) == ["a", "b"]
    assert lives.faults == []


def make_adder(amount: int, shared: Mapping[str, Any]) -> Callable[[WorkItem], int]:
    """A factory, as children get them."""
    return lambda item: item.data + amount + shared.get("more", 0)


async def test_a_factory_is_called_here_where_the_lane_is_in_this_process() -> None:
    factory = HandlerFactory(path=f"{__name__}:make_adder", args=(10,), shared=("more",))
    made = pipeline([(stage(), same)], [1])
    made.register_stage_blocs("only", [StageBloc(name="a", handler=factory, execution_type=THREAD)], together)
    made.share("more", 100)
    assert [result.data for result in await made.run()] == [{"a": 111}]


def test_blocs_are_checked_when_they_are_registered() -> None:
    made = pipeline([(stage(), same)], [1])
    with pytest.raises(ValueError, match="at least one bloc"):
        made.register_stage_blocs("only", [], together)
    with pytest.raises(ValueError, match="bloc names must differ"):
        made.register_stage_blocs("only", [a(), a()], together)
    with pytest.raises(TypeError, match="the thread lane needs a plain `def`"):
        made.register_stage_blocs("only", [a(execution_type=THREAD)], together)
    with pytest.raises(ValueError, match="has a fold, but the stage does not gather"):
        made.register_stage_blocs("only", [a(fold=Fold(initial=int, add=lambda s, _: s, finish=int))], together)

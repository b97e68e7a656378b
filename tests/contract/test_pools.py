"""What every lane that leaves the loop's process or interpreter keeps, one suite for all of them."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cableway.errors import DefinitionError
from cableway.flow.lanes.failure import WorkerStack
from cableway.flow.lanes.protocol import HandlerFactory, UnitCall
from tests import need
from tests.unit.lanes import handlers
from tests.unit.lanes.running import PROMPT_S, Fifo, Heard, config, failure, running, value, values

LANES = ["process", "interpreter", "dask"]
MADE = "tests.unit.lanes.handlers:made"


@pytest.fixture(params=LANES)
def lane(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "interpreter":
        need.python(3, 14)
    return name


@pytest.fixture
def settings(lane: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"options": {"address": request.getfixturevalue("cluster")}} if lane == "dask" else {}


async def test_a_unit_gives_its_value_and_its_times(lane: str, settings: dict[str, Any]) -> None:
    async with running(lane, handlers.named, **settings) as pool:
        before = time.monotonic_ns()
        result = await pool.run(UnitCall("a", 1))
        assert result.value == "a=1"
        assert before <= result.started_ns <= result.finished_ns <= time.monotonic_ns()


async def test_many_units_each_get_their_own_result(lane: str, settings: dict[str, Any]) -> None:
    async with running(lane, handlers.named, **settings) as pool:
        assert await values(pool, range(200)) == [f"j{n}={n}" for n in range(200)]


async def test_the_handlers_error_arrives_as_it_was_with_its_stack(lane: str, settings: dict[str, Any]) -> None:
    async with running(lane, handlers.misbehave, **settings) as pool:
        with pytest.raises(ValueError, match=r"^plain$") as caught:
            await value(pool, "value error")
        assert isinstance(caught.value.__cause__, WorkerStack)
        assert 'raise ValueError("plain")' in caught.value.__cause__.stack


@pytest.mark.promise("P12")
@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        ("unreadable", "handler", "UnreadableError: lost"),
        ("shy", "handler", "could not be made"),
        ("lock", "unpicklable_result", "lock"),
        ("sys.exit", "worker_exit", "sys.exit(7)"),
        ("keyboard", "handler", "KeyboardInterrupt"),
        ("stop iteration", "handler", "StopIteration"),
    ],
)
@pytest.mark.fault("A3", "A4")
async def test_what_cannot_cross_fails_that_unit_alone(
    lane: str, settings: dict[str, Any], fault: str, code: str, message: str
) -> None:
    async with running(lane, handlers.misbehave, **settings) as pool:
        error, neighbours = await asyncio.gather(failure(pool, fault), values(pool, range(20)))
        assert (error.item_code, neighbours) == (code, list(range(20)))
        assert message in str(error)


@pytest.mark.fault("A9")
@pytest.mark.parametrize(("fault", "kind"), [("recursion", RecursionError), ("memory", MemoryError)])
async def test_running_out_fails_that_unit_alone(
    lane: str, settings: dict[str, Any], fault: str, kind: type[Exception]
) -> None:
    async with running(lane, handlers.misbehave, **settings) as pool:
        with pytest.raises(kind):
            await value(pool, fault)
        assert await value(pool, "fine") == "fine"


async def test_an_input_that_cannot_be_pickled_fails_that_unit_alone(lane: str, settings: dict[str, Any]) -> None:
    async with running(lane, handlers.same, **settings) as pool:
        assert (await failure(pool, threading.Lock())).item_code == "unpicklable_input"
        assert await value(pool, 1) == 1


@pytest.mark.fault("A9", "A19")
async def test_items_over_their_limit_fail_both_ways(lane: str, settings: dict[str, Any]) -> None:
    async with running(lane, handlers.misbehave, max_item_bytes=1_000_000, **settings) as pool:
        sent, returned = await asyncio.gather(failure(pool, bytes(2_000_000)), failure(pool, "huge"))
        assert (sent.item_code, returned.item_code) == ("too_large", "too_large")
        assert "1,000,000" in str(returned)


@pytest.mark.promise("P13")
async def test_a_unit_over_its_time_fails_and_the_others_go_on(lane: str, settings: dict[str, Any]) -> None:
    async with running(lane, handlers.misbehave, **settings) as pool:
        begun = time.monotonic()
        neighbours = asyncio.ensure_future(values(pool, range(10)))
        error = await failure(pool, "hang" if lane != "dask" else "doze", timeout_s=0.4)
        assert error.item_code == "timeout"
        assert time.monotonic() - begun < 0.4 + PROMPT_S
        assert await neighbours == list(range(10))


async def test_a_cancelled_unit_leaves_room_for_others(lane: str, settings: dict[str, Any], tmp_path: Path) -> None:
    if lane == "dask":
        pytest.skip("a task that runs on a cluster cannot be ended")
    async with running(lane, handlers.appear_then_nap, workers=1, **settings) as pool:
        for name in ("one", "another"):
            begun = Fifo(tmp_path / name)
            unit = asyncio.create_task(pool.run(UnitCall("j", begun.path)))
            await begun.heard()
            unit.cancel()
            with pytest.raises(asyncio.CancelledError):
                await unit


async def test_metadata_crosses_when_it_is_wanted(lane: str, settings: dict[str, Any]) -> None:
    async with running(lane, handlers.with_metadata, wants_metadata=True, **settings) as pool:
        assert await value(pool, 1, metadata={"tenant": "a"}) == ("j", 1, {"tenant": "a"})


async def test_a_factory_builds_the_handler_in_the_worker(lane: str, settings: dict[str, Any]) -> None:
    async with running(lane, HandlerFactory(path=MADE, args=(100,)), **settings) as pool:
        assert await value(pool, 1) == 101


async def test_what_is_shared_is_there_for_units_that_come_after(lane: str, settings: dict[str, Any]) -> None:
    factory = HandlerFactory(path=MADE, args=(100,), shared=("offset",))
    async with running(lane, factory, **settings) as pool:
        before = await values(pool, [1, 2])
        pool.share("offset", 1000)
        assert (before, await values(pool, range(20))) == ([101, 102], [1100 + n for n in range(20)])


async def test_setup_runs_once_in_each_worker(lane: str, settings: dict[str, Any]) -> None:
    if lane == "dask":
        pytest.skip("its workers outlive the pools of this suite, so they count on")
    async with running(lane, handlers.times_prepared, setup=handlers.prepare, **settings) as pool:
        assert set(await values(pool, range(20))) == {1}


async def test_coroutine_functions_run_in_the_worker(lane: str, settings: dict[str, Any]) -> None:
    async with running(lane, handlers.later, **settings) as pool:
        assert await values(pool, [1, 2, 3]) == [2, 3, 4]


@pytest.mark.parametrize("handler", [handlers.count, handlers.count_later])
async def test_a_generators_values_come_as_a_stream(lane: str, settings: dict[str, Any], handler: Any) -> None:
    async with running(lane, handler, **settings) as pool:
        result = await pool.run(UnitCall("j", 50))
        assert result.stream is not None
        assert [each async for each in result.stream] == list(range(50))
        assert result.finished_ns > result.started_ns


async def test_a_stream_carries_the_spans_and_notes_of_the_hook_home(lane: str, settings: dict[str, Any]) -> None:
    heard = Heard()
    async with running(lane, handlers.same, heard=heard, worker_hook=f"{handlers.__name__}:Hook", **settings) as pool:
        await value(pool, 1, job_id="a", carrier={"trace": "t1"})
        assert ("t1", "crunch", "one", "a") in heard.reports
    assert heard.reports.count(("t1", "crunch", "one", "a")) == 1


async def test_the_hook_sees_the_handlers_error(lane: str, settings: dict[str, Any]) -> None:
    heard = Heard()
    async with running(
        lane, handlers.misbehave, heard=heard, worker_hook=f"{handlers.__name__}:Hook", **settings
    ) as pool:
        with pytest.raises(ValueError, match="plain"):
            await value(pool, "value error", carrier={"trace": "t1"})
    assert ("failed", "plain") in heard.reports


async def test_a_hook_that_breaks_changes_nothing(lane: str, settings: dict[str, Any]) -> None:
    hook = f"{handlers.__name__}:broken_hook"
    async with running(lane, handlers.double, worker_hook=hook, **settings) as pool:
        assert await value(pool, 2, carrier={"trace": "t1"}) == 4


@pytest.mark.parametrize("size", [10, 70_000, 3_000_000])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_bytes_arrive_as_what_they_were(lane: str, settings: dict[str, Any], size: int, kind: Any) -> None:
    if lane == "dask" and kind is memoryview:
        pytest.skip("a memoryview cannot be sent to a cluster")
    payload = b"a" + bytes(size - 2) + b"z"
    async with running(lane, handlers.kind_and_ends, **settings) as pool:
        assert await value(pool, kind(payload)) == (kind.__name__, size, 97, 122)


async def test_large_values_come_back_whole(lane: str, settings: dict[str, Any]) -> None:
    payload = {"name": "x", "content": b"ab" * 500_000, "list": [b"c" * 100_000], "text": "d" * 100_000}
    async with running(lane, handlers.same, **settings) as pool:
        for given in await values(pool, [payload] * 10):
            assert given == payload


@pytest.mark.parametrize(
    "wrong", [HandlerFactory(path="no.such.module:f"), HandlerFactory(path=f"{handlers.__name__}:no")]
)
async def test_a_handler_that_is_not_there_is_refused_at_the_start(
    lane: str, settings: dict[str, Any], wrong: HandlerFactory
) -> None:
    with pytest.raises(DefinitionError, match=rf"stage 'crunch': .*{wrong.path}.* does not load in the {lane} lane"):
        async with running(lane, wrong, **settings):
            pass


async def test_a_setup_or_a_factory_that_fails_is_refused_with_its_message(lane: str, settings: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError, match="RuntimeError: no database here"):
        async with running(lane, handlers.same, setup=handlers.unprepared, **settings):
            pass
    with pytest.raises(DefinitionError, match="RuntimeError: no such table"):
        async with running(lane, HandlerFactory(path=f"{handlers.__name__}:made_badly"), **settings):
            pass


async def test_builtin_functions_are_handlers_too(lane: str, settings: dict[str, Any]) -> None:
    async with running(lane, math.pow, **settings) as pool:
        assert (await pool.run(UnitCall(2, 3))).value == 8.0  # type: ignore[arg-type]


async def test_a_pool_that_was_closed_takes_no_units(lane: str, settings: dict[str, Any]) -> None:
    if lane == "dask":
        pytest.skip("it has no workers of its own to close")
    async with running(lane, handlers.same, **settings) as pool:
        pass
    with pytest.raises(Exception, match="was closed"):
        await value(pool, 1)


async def test_two_pools_do_not_meet(lane: str, settings: dict[str, Any]) -> None:
    async with running(lane, handlers.same, **settings) as one, running(lane, handlers.double, **settings) as two:
        same, doubled = await asyncio.gather(values(one, range(20)), values(two, range(20)))
        assert (same, doubled) == (list(range(20)), [2 * n for n in range(20)])


def test_the_suite_knows_every_lane() -> None:
    from cableway.flow.config import ExecutionType

    assert set(LANES) == {each.value for each in ExecutionType if each.in_child}
    assert config(handlers.same).workers == 2

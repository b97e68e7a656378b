"""The process lane under faults: killed and hung workers, stolen units, the parent's own death."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cableway.errors import DefinitionError, WorkersLostError
from cableway.flow.lanes.protocol import UnitCall
from tests import need
from tests.unit.lanes import handlers
from tests.unit.lanes.running import PROMPT_S, Fifo, Heard, failure, running, until_gone, value, values

LANE = "process"
HOUSE = Path(__file__).parents[3]
SEGMENTS = Path("/dev/shm")
NAMELESS: Callable[[str, Any], Any] = lambda job_id, data: data  # noqa: ARG005, E731


@pytest.mark.fault("B5")
@pytest.mark.promise("P12")
@pytest.mark.parametrize(("fault", "reason"), [("kill", "signal 9 (SIGKILL)"), ("os._exit", "exit code 3")])
async def test_a_unit_that_kills_its_worker_twice_fails_alone(fault: str, reason: str) -> None:
    heard = Heard()
    async with running(LANE, handlers.misbehave, heard=heard) as pool:
        error, neighbours = await asyncio.gather(failure(pool, fault), values(pool, range(200)))
        assert (error.item_code, neighbours) == ("worker_died", list(range(200)))
        assert reason in str(error)
        assert [death[0] for death in heard.deaths] == [reason, reason]


@pytest.mark.fault("B5")
@pytest.mark.promise("P12")
async def test_a_unit_whose_worker_died_once_runs_once_more_alone(tmp_path: Path) -> None:
    async with running(LANE, handlers.die_once) as pool:
        assert await value(pool, str(tmp_path / "died")) == "second"


async def test_the_second_try_gets_the_input_as_it_was(tmp_path: Path) -> None:
    async with running(LANE, handlers.spoil_and_die_once) as pool:
        payload = bytearray(1_000_000)
        assert await value(pool, (str(tmp_path / "died"), payload)) == 0
        assert payload[0] == 0


@pytest.mark.fault("B5")
@pytest.mark.promise("P12")
async def test_all_workers_killed_at_once_count_as_one_rebuild(tmp_path: Path) -> None:
    heard = Heard()
    async with running(LANE, handlers.pid_after, heard=heard, workers=3, pool_restarts=1) as pool:
        pids = set(await values(pool, [0.05] * 12))
        running_units = asyncio.ensure_future(values(pool, [0.2] * 9))
        await asyncio.sleep(0)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        assert not pids & set(await running_units)
        assert len(heard.deaths) == 3


@pytest.mark.fault("B5")
async def test_workers_that_keep_dying_lose_the_pool() -> None:
    async with running(LANE, handlers.misbehave, workers=1, pool_restarts=2) as pool:
        for _ in range(2):
            assert (await failure(pool, "kill")).item_code == "worker_died"
        with pytest.raises(WorkersLostError, match="died more than 2 times"):
            await value(pool, "kill")
        with pytest.raises(WorkersLostError):
            await value(pool, "fine")


@pytest.mark.fault("A8")
@pytest.mark.promise("P13")
async def test_a_hung_worker_that_ignores_sigterm_is_killed_and_replaced() -> None:
    heard = Heard()
    async with running(LANE, handlers.misbehave, heard=heard, workers=1, pool_restarts=0) as pool:
        begun = time.monotonic()
        hung = asyncio.ensure_future(failure(pool, "hang hard", timeout_s=0.3))
        others = asyncio.ensure_future(values(pool, range(50), timeout_s=20.0))
        assert (await hung).item_code == "timeout"
        assert time.monotonic() - begun < 0.3 + PROMPT_S
        assert await others == list(range(50))
        assert heard.deaths == []  # it did not die by itself, so no restart is used up


async def test_only_a_unit_that_has_begun_can_time_out() -> None:
    async with running(LANE, handlers.nap, workers=1) as pool:
        assert await values(pool, [0.5] * 5, timeout_s=2.3) == [0.5] * 5


async def test_a_slow_unit_holds_nobody_else() -> None:
    async with running(LANE, handlers.nap) as pool:
        await values(pool, [0.0] * 200)
        slow = asyncio.ensure_future(value(pool, 60.0))
        begun = time.monotonic()
        await values(pool, [0.001] * 100)
        assert time.monotonic() - begun < 20
        slow.cancel()


async def test_the_window_grows_for_short_units_and_not_for_long_ones() -> None:
    async with running(LANE, handlers.nap) as pool:
        await values(pool, [0.0] * 100)
        short = pool.window
        await values(pool, [0.03] * 30)
        assert pool.window == 6
        assert short > 6


async def test_a_chunk_of_ones_own_choice_fixes_the_window() -> None:
    async with running(LANE, handlers.same, chunk=7) as pool:
        await values(pool, range(50))
        assert pool.window == 16


async def test_a_cancelled_unit_ends_its_worker_and_its_neighbours_go_on(tmp_path: Path) -> None:
    one, two = Fifo(tmp_path / "one"), Fifo(tmp_path / "two")
    async with running(LANE, handlers.appear_then_nap, workers=1) as pool:
        first = asyncio.ensure_future(value(pool, one.path))
        second = asyncio.ensure_future(value(pool, two.path))
        pid = await one.heard()
        first.cancel()
        assert await two.heard() != pid
        second.cancel()
        await until_gone(pid)


async def test_units_cancelled_before_they_begin_never_run(tmp_path: Path) -> None:
    begun = Fifo(tmp_path / "begun")
    async with running(LANE, handlers.appear_then_nap, workers=1) as pool:
        first = asyncio.ensure_future(value(pool, begun.path, timeout_s=0.5))
        second = asyncio.ensure_future(value(pool, str(tmp_path / "second")))
        await begun.heard()
        second.cancel()
        await asyncio.wait([first])
    assert not (tmp_path / "second").exists()


async def test_closing_a_stream_ends_its_generator(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    async with running(LANE, handlers.count_with_trace, workers=1) as pool:
        stream: Any = (await pool.run(UnitCall("j", str(trace)))).stream
        assert [await anext(stream) for _ in range(3)] == [0, 1, 2]
        await stream.aclose()
        again: Any = (await pool.run(UnitCall("k", str(tmp_path / "other")))).stream
        assert (tmp_path / "trace-closed").exists()
        await again.aclose()


async def test_a_stream_is_made_only_as_it_is_taken(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    async with running(LANE, handlers.count_with_trace, workers=1) as pool:
        stream: Any = (await pool.run(UnitCall("j", str(trace)))).stream
        for _ in range(100):
            await anext(stream)
        assert trace.stat().st_size < 110
        await stream.aclose()


async def test_a_streams_error_comes_after_its_values() -> None:
    async with running(LANE, handlers.count_then_fail) as pool:
        stream: Any = (await pool.run(UnitCall("j", 3))).stream
        assert [await anext(stream) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="enough"):
            await anext(stream)


async def test_a_streams_own_time_is_what_its_timeout_counts() -> None:
    async with running(LANE, handlers.slow_count, workers=1) as pool:
        stream: Any = (await pool.run(UnitCall("j", 3600, timeout_s=1.5))).stream
        assert await anext(stream) == 0
        with pytest.raises(Exception, match=r"longer than 1\.5 s"):
            await anext(stream)
        stream = (await pool.run(UnitCall("j", 0.0, timeout_s=20))).stream
        assert [each async for each in stream] == [0, 1]


@pytest.mark.fault("A19")
async def test_the_parents_value_is_not_touched_by_the_handler() -> None:
    async with running(LANE, handlers.spoil) as pool:
        payload = bytearray(1_000_000)
        await values(pool, [payload] * 4)
        assert not any(payload)


async def test_arrays_keep_their_values_when_the_arena_is_used_again() -> None:
    numpy: Any = need.module("numpy")
    async with running(LANE, handlers.same, workers=2) as pool:
        given = await values(pool, [numpy.full(100_000, n, dtype="f8") for n in range(30)])
        assert [(array[0], array[-1]) for array in given] == [(n, n) for n in range(30)]


async def test_of_an_arrow_slice_only_the_slice_travels() -> None:
    pyarrow: Any = need.module("pyarrow")
    table = pyarrow.table({"n": range(1_000_000)})
    async with running(LANE, handlers.same, max_item_bytes=100_000) as pool:
        given = await value(pool, table.slice(500, 10))
        assert given.to_pydict() == {"n": list(range(500, 510))}


async def test_a_handler_without_a_name_is_refused_at_the_start() -> None:
    with pytest.raises(DefinitionError, match="cannot be sent to the process lane"):
        async with running(LANE, NAMELESS):
            pass


def test_handlers_of_the_main_script_work(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.returncode) == ("Parcel of 42\n", 0), done.stderr


@pytest.mark.fault("B7")
@pytest.mark.promise("P12")
async def test_a_killed_parent_leaves_no_worker_and_no_segment(tmp_path: Path) -> None:
    begun = [Fifo(tmp_path / f"begun-{n}") for n in range(2)]
    script = tmp_path / "script.py"
    script.write_text(ORPHANS)
    parent = await asyncio.create_subprocess_exec(sys.executable, script, *[fifo.path for fifo in begun], cwd=HOUSE)
    try:
        pids = [await fifo.heard() for fifo in begun]
    finally:
        parent.kill()
        await parent.wait()
    async with asyncio.timeout(5):
        for pid in pids:
            await until_gone(pid)
    left = [path for path in SEGMENTS.iterdir() if path.is_file() and path.name.startswith(("cableway", "psm_"))]  # noqa: ASYNC240
    assert left == []


@pytest.mark.fault("B10")
async def test_workers_never_fork_and_hold_only_their_own_handles() -> None:
    async with running(LANE, handlers.pid, workers=2) as pool:
        for pid in set(await values(pool, range(50))):
            command, handles = seen(pid)
            assert b"-c" in command.split(b"\0")
            assert handles <= 9


def seen(pid: int) -> tuple[bytes, int]:
    """Return a process's command line and how many handles it holds."""
    home = Path(f"/proc/{pid}")
    return (home / "cmdline").read_bytes(), len(list((home / "fd").iterdir()))


SCRIPT = """
import asyncio
from cableway.flow.lanes.process import ProcessPool
from cableway.flow.lanes.protocol import PoolConfig, UnitCall


class Parcel:
    def __init__(self, number):
        self.number = number


def wrap(job_id, data):
    return Parcel(data)


class Deaf:
    def worker_died(self, reason, jobs): ...
    def worker_reported(self, report): ...


async def main():
    pool = ProcessPool(PoolConfig(stage="s", bloc="b", handler=wrap), Deaf())
    await pool.start()
    parcel = (await pool.run(UnitCall("j", 42))).value
    assert isinstance(parcel, Parcel)
    print(f"{type(parcel).__name__} of {parcel.number}")
    await pool.close(1)


if __name__ == "__main__":
    asyncio.run(main())
"""

ORPHANS = """
import asyncio, sys
sys.path.insert(0, ".")
from cableway.flow.lanes.process import ProcessPool
from cableway.flow.lanes.protocol import PoolConfig, UnitCall
from tests.unit.lanes import handlers


class Deaf:
    def worker_died(self, reason, jobs): ...
    def worker_reported(self, report): ...


async def main():
    pool = ProcessPool(PoolConfig(stage="s", bloc="b", handler=handlers.appear_then_nap, workers=2), Deaf())
    await pool.start()
    await asyncio.gather(*[pool.run(UnitCall("j", path)) for path in sys.argv[1:]])


if __name__ == "__main__":
    asyncio.run(main())
"""

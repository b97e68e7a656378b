"""The interpreter lane: what loads there, what is refused, and what becomes of an interpreter that was misused."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cableway.errors import DefinitionError
from cableway.flow.lanes.interpreter import InterpreterPool
from tests import need
from tests.unit.lanes import handlers
from tests.unit.lanes.running import PROMPT_S, Heard, config, failure, running, value, values

LANE = "interpreter"


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="it is there from Python 3.14 on")
def test_before_python_3_14_it_is_refused_by_name() -> None:
    with pytest.raises(DefinitionError, match=r"interpreter lane needs Python 3\.14.*use the process lane"):
        InterpreterPool(config(handlers.same), Heard())


@pytest.fixture(autouse=True)
def _from_3_14_on(request: pytest.FixtureRequest) -> None:
    if not request.node.name.startswith("test_before"):
        need.python(3, 14)


@pytest.mark.fault("A11")
@pytest.mark.promise("P12")
@pytest.mark.parametrize(("fault", "told"), [("fork", "fork not supported"), ("daemon", "daemon threads are disabled")])
async def test_what_an_interpreter_may_not_do_fails_that_unit_and_it_is_replaced(fault: str, told: str) -> None:
    heard = Heard()
    async with running(LANE, handlers.misbehave, heard=heard, workers=1, pool_restarts=0) as pool:
        with pytest.raises(RuntimeError, match=told):
            await value(pool, fault)
        assert (await failure(pool, "sys.exit")).item_code == "worker_exit"
        assert await value(pool, "fine") == "fine"
        assert heard.deaths == []


async def test_an_extension_met_at_run_time_fails_that_unit_and_is_named() -> None:
    need.module("numpy")
    async with running(LANE, handlers.misbehave) as pool:
        error = await failure(pool, "numpy")
        assert "numpy does not load in a subinterpreter: use the process lane" in str(error)


@pytest.mark.fault("A10")
async def test_a_module_that_cannot_load_there_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need.module("numpy")
    uses_numpy = imported(
        tmp_path, monkeypatch, "import numpy as np\n\ndef total(job_id, data):\n    return np.sum(data)\n"
    )
    with pytest.raises(DefinitionError, match=r"stage 'crunch': .*:total .*interpreter lane: .*numpy does not load"):
        async with running(LANE, uses_numpy.total):
            pass


async def test_an_import_inside_the_function_is_probed_before_the_first_item() -> None:
    need.module("numpy")

    def total(job_id: str, data: Any) -> Any:
        import numpy as np

        return np.dtype(data).itemsize

    with pytest.raises(DefinitionError, match="numpy does not load in a subinterpreter"):
        async with running(LANE, total):
            pass


async def test_a_function_that_needs_nothing_of_its_module_works_though_that_cannot_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need.module("numpy")
    source = (
        "import numpy as np\n\ndef root(job_id, data, power=2):\n    import math\n    return math.sqrt(data) ** power\n"
    )
    light = imported(tmp_path, monkeypatch, source)
    async with running(LANE, light.root) as pool:
        assert await value(pool, 4) == 4.0


async def test_a_local_function_without_a_closure_works() -> None:
    def factorial(job_id: str, data: int) -> int:
        return 1 if data < 2 else data * factorial(job_id, data - 1)

    if factorial.__code__.co_freevars:  # a function that calls itself closes over itself
        with pytest.raises(DefinitionError, match="it closes over factorial"):
            async with running(LANE, factorial):
                pass
    increment: Callable[[str, int], int] = lambda job_id, data: data + 1  # noqa: ARG005, E731
    async with running(LANE, increment) as pool:
        assert await value(pool, 1) == 2


async def test_a_closure_is_refused_and_its_variables_are_named() -> None:
    rate = 2

    def convert(job_id: str, data: int) -> int:
        return data * rate

    with pytest.raises(DefinitionError, match=r"it closes over rate; define it at the top of a module"):
        async with running(LANE, convert):
            pass


async def _rests() -> bool:
    """Whether this process gets to use less processor time than passes."""
    for _ in range(40):
        begun = time.process_time()
        await asyncio.sleep(0.25)
        if time.process_time() - begun < 0.2:
            return True
    return False


@pytest.mark.promise("P13")
async def test_an_interpreter_that_loops_for_ever_is_left_and_stopped() -> None:
    async with running(LANE, handlers.misbehave, workers=1, pool_restarts=0) as pool:
        begun = time.monotonic()
        assert (await failure(pool, "spin", timeout_s=0.3)).item_code == "timeout"
        assert time.monotonic() - begun < 0.3 + PROMPT_S
        assert await values(pool, range(5)) == list(range(5))
        assert await _rests(), "it spins still"


async def test_the_public_names_load_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (
        "from cableway import WorkItem\n\ndef wrap(job_id, data):\n    return WorkItem(data=data, job_id=job_id).data\n"
    )
    user = imported(tmp_path, monkeypatch, source)
    async with running(LANE, user.wrap) as pool:
        assert await value(pool, 5) == 5


@pytest.mark.parametrize("fault", ["spin", "hang"])
def test_a_process_ends_although_an_interpreter_was_left(tmp_path: Path, fault: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(LEFT.replace("FAULT", fault))
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=30, check=False, cwd=Path(__file__).parents[3]
    )
    assert (done.stdout, done.returncode) == ("timeout\n", 0), done.stderr


LEFT = """
import asyncio, sys
sys.path.insert(0, ".")
from tests.unit.lanes import handlers
from tests.unit.lanes.running import failure, running


async def main():
    async with running("interpreter", handlers.misbehave, workers=2) as pool:
        print((await failure(pool, "FAULT", timeout_s=0.2)).item_code)


asyncio.run(main())
"""


def imported(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> Any:
    """Return *source* as a module that workers can import too."""
    import importlib

    name = f"user_module_{folder.name}"
    (folder / f"{name}.py").write_text(source)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    importlib.invalidate_caches()
    return importlib.import_module(name)

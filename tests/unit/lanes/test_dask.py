"""The Dask lane under faults: no cluster, a cluster without workers, and a worker killed in the middle."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cableway.errors import EXIT_UNAVAILABLE, DefinitionError, UnavailableError
from cableway.flow.lanes.dask import DaskPool
from tests import need
from tests.contract.flow_handlers import appear_once_then_wait
from tests.fixtures.clusters import local_cluster
from tests.unit.lanes import handlers
from tests.unit.lanes.running import Fifo, Heard, config, failure, running, value, values

LANE = "dask"


@pytest.fixture(scope="module")
def options() -> Iterator[dict[str, Any]]:
    """Where a cluster is; two tests kill one of its workers each, and nobody waits until another has come."""
    with local_cluster(workers=3) as address:
        yield {"address": address}


async def test_an_unreachable_cluster_is_unavailable_within_its_time() -> None:
    need.module("distributed")
    begun = time.monotonic()
    with pytest.raises(
        UnavailableError, match=r"no Dask cluster with a worker at tcp://127\.0\.0\.1:9 within 1 s"
    ) as caught:
        async with running(LANE, handlers.same, options={"address": "tcp://127.0.0.1:9", "connect_s": 1}):
            pass
    assert caught.value.exit_code == EXIT_UNAVAILABLE
    assert time.monotonic() - begun < 10


async def test_a_cluster_without_workers_is_unavailable() -> None:
    with local_cluster(workers=0) as address:
        with pytest.raises(UnavailableError, match="no Dask cluster with a worker"):
            async with running(LANE, handlers.same, options={"address": address, "connect_s": 0.5}):
                pass


@pytest.mark.parametrize(("settings", "told"), [({}, "the address of a cluster"), ({"chunk": 5}, "takes no chunk")])
def test_settings_that_make_no_sense_there_are_refused(settings: dict[str, Any], told: str) -> None:
    options = {"address": "tcp://127.0.0.1:9"} if settings else {}
    with pytest.raises(DefinitionError, match=told):
        DaskPool(config(handlers.same, options=options, **settings), Heard())


@pytest.mark.promise("P12")
async def test_a_killed_workers_units_run_once_more_elsewhere(options: dict[str, Any], tmp_path: Path) -> None:
    heard = Heard()
    async with running(LANE, handlers.die_once, heard=heard, options=options) as pool:
        assert await values(pool, [str(tmp_path / "one")]) == ["second"]
        # The word that it had begun may die with the worker, and then nobody knows in whose hands it was.
        assert [jobs for _, jobs in heard.deaths] in ([["j0"]], [])


async def test_the_neighbours_of_a_killed_worker_go_on(options: dict[str, Any], tmp_path: Path) -> None:
    begun = Fifo(tmp_path / "begun")
    async with (
        running(LANE, appear_once_then_wait, options=options) as hung,
        running(LANE, handlers.named, options=options) as pool,
    ):
        victim = asyncio.ensure_future(value(hung, begun.path))
        others = asyncio.ensure_future(values(pool, range(50)))
        os.kill(await begun.heard(), signal.SIGKILL)
        assert await others == [f"j{n}={n}" for n in range(50)]
        assert await victim == begun.path


@pytest.mark.chaos
@pytest.mark.promise("P12")
async def test_a_unit_that_kills_every_worker_fails_alone(options: dict[str, Any]) -> None:
    async with running(LANE, handlers.misbehave, options=options) as pool:
        error, neighbours = await asyncio.gather(failure(pool, "kill"), values(pool, range(10)))
        assert (error.item_code, neighbours) == ("worker_died", list(range(10)))


async def test_a_function_without_a_module_goes_by_value(options: dict[str, Any]) -> None:
    rate = 3

    def convert(_job_id: str, data: int) -> int:
        return data * rate

    async with running(LANE, convert, options=options) as pool:
        assert await value(pool, 5) == 15

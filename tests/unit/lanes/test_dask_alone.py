"""A Dask cluster that has lost all its workers and gets no new ones."""

from __future__ import annotations

from typing import Any

import pytest

from cableway.errors import WorkersLostError
from tests import need
from tests.unit.lanes import handlers
from tests.unit.lanes.running import running, value


@pytest.mark.promise("P12")
async def test_a_cluster_that_stays_without_workers_is_not_waited_for_for_ever() -> None:
    distributed: Any = need.module("distributed")
    settings = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0", "silence_logs": 50}
    async with distributed.LocalCluster(processes=False, asynchronous=True, **settings) as local:
        options = {"address": local.scheduler_address, "workers_s": 0.4}
        async with running("dask", handlers.same, options=options) as pool:
            assert await value(pool, 1) == 1
            await local.workers[0].close()
            with pytest.raises(WorkersLostError, match=r"has had no worker for 0\.4 s"):
                await value(pool, 2)

"""A run whose blocs work on a Dask cluster that is already there, or is not."""

from __future__ import annotations

import pytest

from tests import need
from tests.unit.job.running import bloc, pipeline, run, seen, stage


def test_blocs_work_on_the_cluster_that_the_settings_name(cluster: str) -> None:
    ran = run(
        pipeline(
            stage(bloc("numbers", batch_size=1, count=4)),
            stage(bloc("multiply", lane="dask", factor=10)),
            stage(bloc("keep")),
            dask_address=cluster,
        )
    )
    assert (ran.code, ran.detail) == (0, "")
    assert sorted(value for value in seen("keep") if isinstance(value, int)) == [0, 10, 20, 30]


def test_a_stage_may_name_a_cluster_of_its_own(cluster: str) -> None:
    ran = run(
        pipeline(
            stage(bloc("numbers", batch_size=1, count=2)),
            stage(bloc("multiply", factor=10), lane="dask", dask_address=cluster),
            dask_address="tcp://127.0.0.1:9",
        )
    )
    assert (ran.code, ran.detail) == (0, "")


def test_a_cluster_that_is_not_there_is_69(monkeypatch: pytest.MonkeyPatch) -> None:
    need.module("distributed")
    monkeypatch.setattr("cableway.flow.lanes.dask._CONNECT_S", 1.0)
    ran = run(
        pipeline(
            stage(bloc("numbers", batch_size=1)),
            stage(bloc("multiply", lane="dask", factor=10)),
            dask_address="tcp://127.0.0.1:9",
        )
    )
    assert ran.code == 69
    assert ran.reason == "unavailable"
    assert "tcp://127.0.0.1:9" in ran.detail

"""A part of a pipeline, tried out by the job: few items, some stages, given data, nothing written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cableway.job import run_opened
from cableway.running.excerpt import Excerpt
from cableway.running.opening import JobRequest, open_run
from cableway.settings import Settings
from cableway.store.memory import MemoryRunStore
from cableway.store.port import RunResult

ROWS = "a,b\n1,x\n2,y\n3,z\n"


def bloc(name: str, bloc_type: str, **config: Any) -> dict[str, Any]:
    return {"name": name, "bloc_type": bloc_type, "config": config}


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    (tmp_path / "data.csv").write_text(ROWS)
    (tmp_path / "pipeline.json").write_text(json.dumps(document(tmp_path, batch_size=2)))
    return tmp_path / "pipeline.json"


def document(folder: Path, **loading: Any) -> dict[str, Any]:
    path = str(folder / "data.csv")
    return {
        "name": "tiny",
        "stages": [
            {
                "name": "load",
                "blocs": [
                    bloc("rows", "csv_loader", file_path=path, **loading),
                    bloc("side", "csv_loader", file_path=path),
                ],
            },
            {"name": "times", "blocs": [bloc("doubled", "example_transformer", factor=2, source_bloc="rows")]},
            {"name": "store", "blocs": [bloc("out", "postgres_exporter", table_name="t")]},
        ],
    }


def tried(file: Path, **excerpt: Any) -> RunResult:
    opened = open_run(JobRequest(file=str(file), excerpt=Excerpt(**excerpt)), Settings())
    run_opened(opened, Settings(), {}, tell=lambda _: None)
    assert isinstance(opened.store, MemoryRunStore)
    result = opened.store.runs[opened.run_id].result
    assert result is not None
    return result


def test_a_dry_run_writes_nothing_and_tells_what_it_would_have_written(pipeline: Path) -> None:
    result = tried(pipeline, dry_run=True)
    assert (result.state, result.rows_in, result.rows_out) == ("succeeded", 6, 0)
    assert result.outputs == {
        "out": {
            "would_write": {
                "table": "public.t",
                "items": 2,
                "rows": 3,
                "sample": [{"a": 2, "b": "x"}, {"a": 4, "b": "y"}, {"a": 6, "b": "z"}],
            }
        }
    }


def test_a_limit_takes_items_of_the_stream_and_leaves_side_inputs_whole(pipeline: Path) -> None:
    result = tried(pipeline, dry_run=True, limit=1)
    assert result.rows_in == 2 + 3
    assert result.outputs["out"]["would_write"]["rows"] == 2


def test_a_limit_takes_rows_where_all_is_loaded_whole(pipeline: Path) -> None:
    pipeline.write_text(json.dumps(document(pipeline.parent)))
    result = tried(pipeline, dry_run=True, limit=1)
    assert result.rows_in == 2
    assert result.outputs["out"]["would_write"]["rows"] == 1


def test_it_ends_with_the_last_stage(pipeline: Path) -> None:
    result = tried(pipeline, last="times")
    assert [stage.stage for stage in result.stages if stage.bloc is None] == ["load", "times"]
    assert result.state == "succeeded"


def test_it_begins_with_a_stage_when_what_that_reads_is_given(pipeline: Path) -> None:
    result = tried(pipeline, first="times", dry_run=True, given={"rows": [{"a": 5}]})
    assert [stage.stage for stage in result.stages if stage.bloc is None] == ["given", "times", "store"]
    assert result.outputs["out"]["would_write"]["sample"] == [{"a": 10}]


def test_data_may_be_given_in_place_of_a_loader(pipeline: Path) -> None:
    result = tried(pipeline, dry_run=True, given={"rows": [{"a": 7}]})
    assert result.outputs["out"]["would_write"]["sample"] == [{"a": 14}]


@pytest.mark.parametrize(
    ("excerpt", "words"),
    [
        ({"first": "tims"}, "no stage 'tims'; there are: load, times, store"),
        ({"first": "store", "last": "load"}, "'load' comes before 'store'"),
        ({"first": "store"}, "read what was left out: doubled"),
        (
            {"first": "store", "given": {"doubled": [], "rows": []}},
            "data is given for rows; what can be given here: doubled",
        ),
        ({"given": {"doubled": []}}, "what can be given here: rows, side"),
    ],
)
def test_what_cannot_be_is_said(pipeline: Path, excerpt: dict[str, Any], words: str) -> None:
    with pytest.raises(Exception, match=words) as caught:
        tried(pipeline, **excerpt)
    assert getattr(caught.value, "exit_code", None) == 2


@pytest.mark.parametrize(
    "request_", [JobRequest(run_id="r", excerpt=Excerpt()), JobRequest(file="f", key="k", excerpt=Excerpt())]
)
def test_it_is_no_recorded_run_and_takes_no_key(request_: JobRequest) -> None:
    with pytest.raises(Exception, match="without a key"):
        open_run(request_, Settings())

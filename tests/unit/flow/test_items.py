"""Items and what is known about them: made when asked for, true when read."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from cableway import WorkItem, WorkItemMetadata
from cableway.flow.observer import Outcome
from cableway.items import DROP, Route, note_arrival


def test_an_id_is_made_once_and_given_ones_are_kept() -> None:
    item = WorkItem(data=1)
    assert item.job_id == item.job_id
    assert item.job_id != WorkItem(data=1).job_id
    assert WorkItem(data=1, job_id="mine").job_id == "mine"


def test_the_items_of_a_forked_child_have_other_ids() -> None:
    script = (
        "import os; from cableway import WorkItem; r, w = os.pipe(); pid = os.fork()\n"
        "os.write(w, WorkItem(1).job_id.encode()) if not pid else os.waitpid(pid, 0)\n"
        "os._exit(0) if not pid else print(os.read(r, 99).decode() != WorkItem(1).job_id)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_metadata_before_a_run() -> None:
    item = WorkItem(data=1)
    before = datetime.now(UTC)
    metadata = item.metadata
    assert metadata is item.metadata
    assert metadata.current_stage == "created"
    assert abs(metadata.created - before) < timedelta(seconds=5)
    assert (metadata.completed, metadata.error_details, metadata.stage_timings) == (None, None, {})
    assert metadata.get_stage_duration("fetch") is None
    metadata.custom_metadata["colour"] = "red"
    assert item.metadata.custom_metadata == {"colour": "red"}


def test_metadata_of_ones_own_travels_with_the_item() -> None:
    metadata = WorkItemMetadata(custom_metadata={"a": 1})
    item = WorkItem(1, metadata)
    record = item.follow(Route(("fetch",)), [item.created_ns])
    assert item.metadata is metadata
    assert record.metadata is metadata
    assert metadata.record is record


def test_the_stage_follows_the_readings() -> None:
    item = WorkItem(1)
    start = item.created_ns
    trail = [start]
    record = item.follow(Route(("fetch", "store")), trail)
    seen = [item.metadata.current_stage]
    for phase, seconds in (("queued", 1), ("started", 2), ("completed", 5), ("queued", 6), ("started", 9)):
        reading = start + seconds * 1_000_000_000
        if phase == "queued":
            note_arrival(trail, reading)
        else:
            trail.append(reading)
        seen.append(item.metadata.current_stage)
    assert seen == ["created", "fetch", "fetch", "store", "store", "store"]
    record.end(Outcome.FAILED, start + 10_000_000_000, ValueError("no"), None)
    assert item.metadata.current_stage == "error"
    assert item.metadata.error_details == {"type": "ValueError", "message": "no"}
    assert record.total_duration == 10
    assert item.metadata.get_stage_duration("fetch") == 3
    assert item.metadata.get_stage_duration("store") is None
    timings = item.metadata.stage_timings
    assert set(timings["fetch"]) == {"queued", "started", "completed"}
    assert set(timings["store"]) == {"queued", "started"}
    assert timings["store"]["queued"] - timings["fetch"]["completed"] == timedelta(seconds=1)
    assert timings["fetch"]["completed"] - timings["fetch"]["started"] == timedelta(seconds=3)
    assert item.metadata.completed == item.metadata.created + timedelta(seconds=10)


def test_result_and_item_agree_on_an_id_made_late() -> None:
    item = WorkItem(1)
    record = item.follow(Route(("fetch",)), [item.created_ns])
    record.end(Outcome.SUCCEEDED, item.created_ns, None, None)
    assert record.job_id == item.job_id


def test_an_item_can_be_pickled() -> None:
    item = pickle.loads(pickle.dumps(WorkItem({"a": 1}, job_id="x")))
    assert (item.data, item.job_id) == ({"a": 1}, "x")


def test_drop_is_one_value_on_both_sides_of_a_pickle() -> None:
    assert pickle.loads(pickle.dumps(DROP)) is DROP
    assert copy.deepcopy(DROP) is DROP
    assert repr(DROP) == "DROP"


@pytest.mark.parametrize("module", ["pydantic", "culsans", "psycopg", "asyncio"])
def test_items_are_light(module: str) -> None:
    script = f"import sys; from cableway import WorkItem, WorkItemMetadata; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize(
    "module", ["pydantic", "culsans", "psycopg", "multiprocessing.pool", "concurrent.interpreters"]
)
def test_an_async_pipeline_loads_nothing_it_does_not_use(module: str) -> None:
    script = f"import sys; from cableway import ETLPipeline, StageConfig; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0

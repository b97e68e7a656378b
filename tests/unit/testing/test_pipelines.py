"""Blocs and pipelines under test: stand-ins, what exporters got, and the record of the run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cableway.blocs.kinds import Ending
from cableway.context import RunContext
from cableway.errors import DefinitionError, ParameterError
from cableway.testing import FakeClock, run_bloc, run_bloc_async, run_pipeline, run_pipeline_async
from tests.unit.testing.own_blocs import NumbersLoader, SlowConfig, SlowTransformer, Writer

OWN = ["tests.unit.testing.own_blocs"]


def document(**slow: Any) -> dict[str, Any]:
    return {
        "name": "counting",
        "parameters": {"factor": {"type": "integer", "default": 1}},
        "settings": {"max_errors": 1},
        "stages": [
            {
                "name": "load",
                "blocs": [{"name": "numbers", "bloc_type": "numbers", "config": {"batch_size": 2, "count": 5}}],
            },
            {"name": "work", "workers": 1, "blocs": [{"name": "slowly", "bloc_type": "slow", "config": slow}]},
            {"name": "store", "blocs": [{"name": "out", "bloc_type": "writer", "config": {}}]},
        ],
    }


def test_exporters_catch_and_the_record_is_whole() -> None:
    Writer.kept.clear()
    report = run_pipeline(document(), parameters={"factor": 10}, blocs=OWN)
    assert report.ok
    assert sorted(row["n"] for row in report.rows("out")) == [0, 10, 20, 30, 40]
    assert len(report.exported["out"]) == 3
    assert (report.rows_in, report.rows_out, report.exit_code) == (5, 5, 0)
    assert report.counts["succeeded"] == 4
    assert report.stage("work").items == 3
    assert {span.name for span in report.spans} >= {"run counting"}
    assert Writer.kept == []
    with pytest.raises(KeyError, match="out"):
        report.rows("in")


def test_an_exporter_writes_where_it_is_let() -> None:
    Writer.kept.clear()
    report = run_pipeline(document(), blocs=OWN, capture=False)
    assert sum(len(rows) for rows in Writer.kept) == 5
    assert report.exported == {}


def test_what_fails_is_a_dead_letter_and_within_its_limit_no_failure() -> None:
    report = run_pipeline(document(fails_on=2), blocs=OWN)
    assert str(report.state) == "completed_with_errors"
    assert not report.ok
    (letter,) = report.dead_letters
    assert (letter.stage, letter.bloc, letter.error_type, letter.message) == (
        "work",
        "slowly",
        "ValueError",
        "not this one",
    )
    assert sorted(row["n"] for row in report.rows("out")) == [0, 1, 4]


def test_a_run_that_fails_is_in_the_report() -> None:
    broken = document(fails_on=2) | {"settings": {"max_errors": 0}}
    report = run_pipeline(broken, blocs=OWN)
    assert (str(report.state), report.exit_code) == ("failed", 3)
    assert "item '2'" in str(report.error)
    assert report.problem is not None
    assert report.problem["type"].endswith("items_failed")


def test_rows_a_function_and_a_bloc_stand_in() -> None:
    def shout(context: RunContext) -> list[dict[str, Any]]:
        return [{"n": -row["n"]} for row in context.input()]

    report = run_pipeline(document(), blocs=OWN, replace={"numbers": [{"n": 7}, {"n": 8}, {"n": 9}], "slowly": shout})
    assert len(report.exported["out"]) == 2, "rows come in batches as large as the loader's own"
    assert sorted(row["n"] for row in report.rows("out")) == [-9, -8, -7]
    built = SlowTransformer("anything", SlowConfig(fails_on=0))
    report = run_pipeline(document(), blocs=OWN, replace={"slowly": built})
    assert [letter.bloc for letter in report.dead_letters] == ["slowly"]
    got: list[Any] = []

    def keep(context: RunContext) -> None:
        got.append(context.input())

    run_pipeline(document(), blocs=OWN, replace={"out": keep})
    assert len(got) == 3


@pytest.mark.parametrize("batch_size", [None, 2])
def test_a_limit_takes_so_many_rows(batch_size: int | None) -> None:
    limited = document()
    limited["stages"][0]["blocs"][0]["config"]["batch_size"] = batch_size
    report = run_pipeline(limited, blocs=OWN, limit=3)
    assert (report.rows_in, len(report.rows("out"))) == (3, 3)


def test_hours_pass_in_no_time() -> None:
    clock = FakeClock()
    report = run_pipeline(document(pause_s=3600), blocs=OWN, clock=clock)
    assert report.ok
    assert clock.elapsed_s == 3 * 3600
    assert report.stage("work").work_s == 3 * 3600


def test_a_run_meets_its_timeout() -> None:
    late = document(pause_s=3600) | {"settings": {"timeout_s": 4000}}
    report = run_pipeline(late, blocs=OWN, clock=FakeClock())
    assert (str(report.state), report.exit_code) == ("timed_out", 124)


async def test_a_coroutine_awaits() -> None:
    assert (await run_pipeline_async(document(), blocs=OWN)).ok
    assert await run_bloc_async(NumbersLoader, {"count": 1}) == [{"n": 0}]


def test_a_pipeline_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.json"
    path.write_text(json.dumps(document()))
    assert run_pipeline(path, blocs=OWN).ok


def test_what_keeps_a_run_from_starting_is_raised() -> None:
    with pytest.raises(DefinitionError, match="numbers"):
        run_pipeline(document())
    with pytest.raises(ParameterError):
        run_pipeline(document(), blocs=OWN, parameters={"factor": "ten"})
    with pytest.raises(ValueError, match="there are: numbers, slowly, out"):
        run_pipeline(document(), blocs=OWN, replace={"slow": []})
    with pytest.raises(TypeError, match="out"):
        run_pipeline(document(), blocs=OWN, replace={"out": [{"n": 1}]})


def test_a_bloc_by_class_by_name_and_built() -> None:
    NumbersLoader.closed.clear()
    assert run_bloc(NumbersLoader, {"count": 2}) == [{"n": 0}, {"n": 1}]
    assert run_bloc("numbers", {"count": 3, "batch_size": 2}, blocs=OWN) == [
        ("0", [{"n": 0}, {"n": 1}]),
        ("2", [{"n": 2}]),
    ]
    slow = SlowTransformer("slowly", SlowConfig(pause_s=60))
    clock = FakeClock()
    assert run_bloc(slow, inputs=[{"n": 2}], parameters={"factor": 3}, clock=clock) == [{"n": 6}]
    assert clock.elapsed_s == 60
    assert run_bloc("pass_through", inputs={"numbers": 5}) == 5
    assert NumbersLoader.closed == [Ending.SUCCEEDED, Ending.SUCCEEDED]


def test_a_bloc_with_a_bad_config_and_one_that_fails() -> None:
    with pytest.raises(DefinitionError, match="count"):
        run_bloc(NumbersLoader, {"count": "many"})
    with pytest.raises(ValueError, match="not this one"):
        run_bloc(SlowTransformer, {"fails_on": 1}, inputs=[{"n": 1}])


def test_what_transforms_tables_gets_a_frame() -> None:
    frame = run_bloc("example_transformer", {"factor": 3}, inputs=[{"n": 2, "name": "a"}])
    assert frame.to_dict("records") == [{"n": 6, "name": "a"}]


def test_the_plugin_has_fixtures(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text(
        "async def hold(item):\n"
        "    import asyncio\n"
        "    await asyncio.sleep(60)\n"
        "    return item\n"
        "def test_it(fake_clock, run_handler):\n"
        "    assert run_handler(hold, [1], clock=fake_clock).outputs == [1]\n"
        "    assert fake_clock.elapsed_s == 60\n"
        "def test_light(run_bloc):\n"
        "    assert run_bloc('pass_through', inputs=1) == 1\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "cableway.testing.plugin",
        "-p",
        "no:cacheprovider",
        str(tmp_path),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=50, cwd=tmp_path)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_the_plugin_is_light() -> None:
    script = (
        "import sys, pytest; before = set(sys.modules); import cableway.testing.plugin\n"
        "sys.exit(len({name for name in set(sys.modules) - before if not name.startswith('cableway')}))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0

"""How data passes from bloc to bloc: inputs, side inputs, batches, gathers, lanes, and what is let go."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from cableway.catalog import Catalog
from cableway.context import RunFacts
from cableway.definition import PipelineDefinition
from cableway.errors import DefinitionError
from cableway.flow.bloc import Merge, StageBloc
from cableway.flow.config import ExecutionType
from cableway.flow.pipeline import ETLPipeline
from cableway.items import WorkItem
from cableway.running.assembly import Assembly
from tests.unit.job.running import MODULE, bloc, pipeline, run, seen, stage

FACTS = RunFacts(run_id="r", pipeline="p")


def assembled(definition: PipelineDefinition) -> Assembly:
    catalog = Catalog((MODULE,))
    blocs = {b.name: catalog.build(b, checked=True) for s in definition.stages for b in s.blocs}
    return Assembly(definition, blocs, FACTS)


def test_a_loader_without_batches_gives_one_value_and_the_next_stage_gets_it_whole() -> None:
    ran = run(pipeline(stage(bloc("numbers")), stage(bloc("keep"))))
    assert ran.code == 0
    assert seen("keep") == ["open", [0, 1, 2], "succeeded"]
    assert (ran.result.rows_in, ran.result.rows_out) == (3, 1)


def test_a_loader_in_batches_gives_items_named_by_their_position() -> None:
    ran = run(pipeline(stage(bloc("numbers", count=4, batch_size=1)), stage(bloc("multiply", fail_on=[2]))))
    assert ran.result.counts == {
        "emitted": 5,
        "succeeded": 4,
        "failed": 1,
        "skipped": 0,
        "cancelled": 0,
        "lost": 0,
    }
    assert [letter.item_id for letter in ran.letters] == ["n2"]


@pytest.mark.parametrize("lane", [None, "thread"])
def test_an_async_loader_streams_in_either_lane_beside_the_job(lane: str | None) -> None:
    loader = bloc("async_numbers", batch_size=1) | ({"lane": lane} if lane else {})
    ran = run(pipeline(stage(loader), stage(bloc("keep"))))
    assert ran.code == 0
    assert sorted(seen("keep")[1:-1]) == [0, 1, 2]


def test_blocs_of_a_stage_all_get_the_item_and_both_results_go_on() -> None:
    ran = run(
        pipeline(
            stage(bloc("numbers", batch_size=1)),
            stage(bloc("multiply", "twice"), bloc("multiply", "thrice", factor=3)),
            stage(bloc("keep")),
        )
    )
    assert ran.code == 0
    kept = sorted((value["twice"], value["thrice"]) for value in seen("keep")[1:-1])
    assert kept == [(0, 0), (2, 3), (4, 6)]
    assert [(record.stage, record.bloc, record.rows) for record in ran.result.stages] == [
        ("s_numbers", None, 3),
        ("s_twice", None, 6),
        ("s_twice", "twice", 3),
        ("s_twice", "thrice", 3),
        ("s_keep", None, 3),
    ]


def test_a_side_input_reaches_every_item_and_is_counted_once() -> None:
    definition = pipeline(
        stage(bloc("numbers", batch_size=1), bloc("numbers", "side", count=4)),
        stage(bloc("multiply", of="numbers", beside="side", inputs=["numbers", "side"])),
        stage(bloc("keep")),
    )
    ran = run(definition)
    assert ran.code == 0, ran.detail
    assert sorted(seen("keep")[1:-1]) == [6, 8, 10]
    assert ran.result.rows_in == 3 + 4


def test_a_transformer_in_the_process_lane_has_its_own_input_and_the_side_input() -> None:
    definition = pipeline(
        stage(bloc("numbers", batch_size=1), bloc("numbers", "side", count=2)),
        stage(bloc("pid", beside="side", lane="process"), workers=2),
        stage(bloc("keep")),
    )
    ran = run(definition)
    assert ran.code == 0, ran.detail
    kept = seen("keep")[1:-1]
    assert sorted(value["own"] for value in kept) == [0, 1, 2]
    assert all(value["side"] == [0, 1] and value["pid"] != os.getpid() for value in kept)
    assert [record.lane for record in ran.result.stages if record.stage == "s_pid"] == ["process"]


def test_a_batch_joins_what_its_members_have() -> None:
    definition = pipeline(
        stage(bloc("numbers", count=5, batch_size=1)), stage(bloc("keep"), batch={"count": 2}, workers=1)
    )
    ran = run(definition)
    assert ran.code == 0
    assert seen("keep")[1:-1] == [[0, 1], [2, 3], [4]]


def test_a_gather_folds_for_each_of_its_blocs_and_side_inputs_outlive_it() -> None:
    definition = pipeline(
        stage(bloc("numbers", count=4, batch_size=1), bloc("numbers", "side", count=2)),
        stage(
            bloc("total", "once", factor=1, of="numbers"),
            bloc("total", "twice", factor=2, of="numbers"),
            gather=True,
        ),
        stage(bloc("multiply", of="once", beside="side", inputs=["once", "side"]), bloc("keep")),
    )
    ran = run(definition)
    assert ran.code == 0, ran.detail
    assert seen("keep")[1:-1] == [{"once": 6, "twice": 12}]
    assert seen("multiply") == [6]


def test_a_bloc_of_one_lane_beside_one_of_another() -> None:
    definition = pipeline(
        stage(bloc("numbers", batch_size=1)),
        stage(bloc("multiply_async"), bloc("multiply"), bloc("multiply", "child", lane="process")),
        stage(bloc("keep")),
    )
    ran = run(definition)
    assert ran.code == 0, ran.detail
    assert sorted(value["child"] for value in seen("keep")[1:-1]) == [0, 2, 4]
    by_bloc = {record.bloc: record.lane for record in ran.result.stages if record.stage == "s_multiply_async"}
    assert by_bloc == {
        None: "async thread process",
        "multiply_async": "async",
        "multiply": "thread",
        "child": "process",
    }


def test_an_async_bloc_may_be_put_in_a_thread_and_a_sync_one_on_the_loop() -> None:
    definition = pipeline(
        stage(bloc("numbers", batch_size=1)),
        stage(bloc("multiply_async", lane="thread"), bloc("multiply", lane="async")),
        stage(bloc("keep")),
    )
    ran = run(definition)
    assert ran.code == 0, ran.detail
    assert set(seen("multiply_async")) == {False}
    assert sorted(value["multiply_async"] for value in seen("keep")[1:-1]) == [0, 2, 4]


def test_a_bloc_reads_the_bloc_that_it_names_and_the_others_are_let_go() -> None:
    definition = pipeline(
        stage(bloc("numbers", batch_size=1)),
        stage(bloc("multiply", "twice"), bloc("multiply", "thrice", factor=3)),
        stage(bloc("pass_through", source_bloc="thrice")),
        stage(bloc("keep")),
    )
    ran = run(definition)
    assert ran.code == 0, ran.detail
    assert sorted(seen("keep")[1:-1]) == [0, 3, 6]
    assert assembled(definition).readers.last == {"numbers": 1, "twice": -1, "thrice": 2, "pass_through": 3, "keep": -1}


def test_an_exporter_hands_nothing_on_and_is_no_input() -> None:
    definition = pipeline(
        stage(bloc("numbers", batch_size=1)), stage(bloc("multiply"), bloc("keep")), stage(bloc("keep", "last"))
    )
    ran = run(definition)
    assert ran.code == 0, ran.detail
    assert sorted(seen("last")[1:-1]) == [0, 2, 4]
    assert ran.result.rows_out == 6


def test_data_is_let_go_after_its_last_reader() -> None:
    definition = pipeline(
        stage(bloc("numbers", batch_size=1), bloc("numbers", "side")),
        stage(bloc("multiply", of="numbers")),
        stage(bloc("multiply", "late", of="multiply", beside="side", inputs=["multiply", "side"])),
    )
    assembly = assembled(definition)
    merges = _merges(assembly)
    first = merges[0](WorkItem({}), {"numbers": 1, "side": [1]})
    assert first == {"numbers": 1, "side": [1]}
    second = merges[1](WorkItem(first), {"multiply": 2})
    assert second == {"multiply": 2, "side": [1]}
    assert merges[2](WorkItem(second), {"late": 3}) == {}


def _merges(assembly: Assembly) -> list[Merge]:
    class Listening(ETLPipeline):
        def register_stage_blocs(self, stage_name: str, blocs: Sequence[StageBloc], merge: Merge) -> None:
            found.append(merge)

    found: list[Merge] = []
    assembly.register(Listening(assembly.config(), source=[assembly.root()]))
    return found


def test_a_dead_letter_keeps_the_items_own_data_and_no_side_input() -> None:
    definition = pipeline(
        stage(bloc("numbers", batch_size=1), bloc("numbers", "side")),
        stage(bloc("multiply", of="numbers", beside="side", inputs=["numbers", "side"], fail_on=[1])),
    )
    ran = run(definition)
    assert [letter.payload for letter in ran.letters] == [{"numbers": 1}]


def test_a_loader_in_batches_is_refused_in_a_child() -> None:
    with pytest.raises(DefinitionError, match=r"'numbers' loads in batches.* not process"):
        assembled(pipeline(stage(bloc("numbers", batch_size=1, lane="process"))))


def test_the_flow_gets_what_the_stage_says() -> None:
    definition = pipeline(
        stage(bloc("numbers", batch_size=1), on_error="skip"),
        stage(
            bloc("multiply"),
            workers=3,
            queue_size=7,
            retry={"attempts": 2, "initial_s": 0.5},
            timeout_s=4,
            on_error="skip",
            ordered=True,
            rate_per_s=9,
        ),
    )
    first, second = assembled(definition).config().stages
    assert first.on_error == "dead_letter", "a source that fails must not be skipped"
    assert (second.workers, second.queue_size, second.timeout_s, second.on_error) == (3, 7, 4, "skip")
    assert second.retry is not None
    assert (second.retry.attempts, second.retry.initial_s) == (2, 0.5)
    assert second.ordered
    assert second.execution_type is ExecutionType.THREAD

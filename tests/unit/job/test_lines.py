"""Lines: an attempt that dies anywhere is followed by one that leaves what a single one would have left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cableway.catalog import Catalog
from cableway.checks import check_document
from cableway.definition import PipelineDefinition
from cableway.errors import DefinitionError, SinkLostError
from cableway.job import run_opened
from cableway.running.opening import Opened
from cableway.settings import read_settings
from cableway.store.memory import MemoryRun, MemoryRunStore
from tests.unit.job.line_blocs import World
from tests.unit.job.running import bloc, stage

MODULES = ("tests.unit.job.blocs", "tests.unit.job.line_blocs")
VARIABLES = {"CABLEWAY_BLOCS": ",".join(MODULES), "CABLEWAY_CHECKPOINT_S": "0.001"}


@pytest.fixture(autouse=True)
def _empty_world() -> Iterator[None]:
    World.clear([])
    yield
    World.clear([])


def pipeline(*stages: Any, name: str = "p", **options: Any) -> PipelineDefinition:
    document = {"name": name, "stages": list(stages), "settings": {"attempts": 100, "max_errors": 0, **options}}
    return check_document(document, catalog=Catalog(MODULES))


class Store:
    """A run store whose leases run out on demand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.store = MemoryRunStore(clock=lambda: self.now)

    def attempt(self, run_id: str, *, steps: int | None = None) -> int:
        """One attempt that dies after *steps* changes outside; its exit code."""
        World.steps_to_live = steps
        opened = Opened(self.store, lambda: self.store, run_id)
        code = run_opened(opened, read_settings(VARIABLES), VARIABLES, tell=lambda _: None)
        World.steps_to_live = None
        self.now += 1000.0
        return code

    def run(self, definition: PipelineDefinition, *deaths: int) -> MemoryRun:
        """Run *definition*, with an attempt for each of *deaths* before the one that may live."""
        run_id = self.store.add_run(definition)
        for steps in deaths:
            if self.attempt(run_id, steps=steps) != 75:
                return self.store.runs[run_id]
        self.attempt(run_id)
        return self.store.runs[run_id]


LISTED = stage(bloc("listed"), name="load")


@st.composite
def pipelines(draw: st.DrawFn) -> PipelineDefinition:
    """A stream through a stage or two, perhaps in batches, into one or two exporters, perhaps gathered then."""
    middle = [
        stage(bloc("multiply", f"m{number}", factor=1), workers=draw(st.integers(1, 3)))
        for number in range(draw(st.integers(0, 2)))
    ]
    last = middle[-1]["blocs"][0]["name"] if middle else "listed"
    ways = draw(st.lists(st.sampled_from(["item", "item", "run"]), min_size=1, max_size=2))
    ordered = draw(st.booleans())
    writers = [
        bloc("kept", f"k{number}", commits=way, ordered=ordered and way == "item", inputs=[last])
        for number, way in enumerate(ways)
    ]
    batch = {"batch": {"count": draw(st.integers(1, 4))}} if draw(st.booleans()) else {}
    write = [stage(*writers, name="write", workers=draw(st.integers(1, 3)), **batch)]
    if draw(st.booleans()):
        write = [
            stage(each, name=f"write{number}", **(batch if number == 0 else {})) for number, each in enumerate(writers)
        ]
    more: list[Any] = []
    if not batch and draw(st.booleans()):
        more = [stage(bloc("total", "sum", factor=1, of=last, inputs=[last]), name="sum", gather=True)]
        more.append(stage(bloc("kept", "summed", inputs=["sum"]), name="tell"))
    return pipeline(LISTED, *middle, *write, *more)


@pytest.mark.promise("P17")
@pytest.mark.promise("P11")
@settings(
    max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], deadline=None
)
@given(pipelines(), st.lists(st.integers(0, 14), max_size=3), st.integers(1, 9))
def test_attempts_that_die_anywhere_leave_what_one_would(
    definition: PipelineDefinition, deaths: list[int], count: int
) -> None:
    leaves_what_one_would(definition, deaths, count)


def leaves_what_one_would(definition: PipelineDefinition, deaths: list[int], count: int) -> None:
    World.clear(list(range(count)))
    ran = Store().run(definition, *deaths)
    assert ran.result is not None
    assert ran.result.exit_code == 0, ran.result.problem
    for each in definition.stages:
        for exporter in each.blocs:
            if exporter.bloc_type == "kept":
                wanted = [sum(range(count))] if exporter.name == "summed" else list(range(count))
                rows = World.rows(exporter.name)
                assert Counter(rows) == Counter(wanted), exporter.name
                assert rows == wanted or not exporter.config["ordered"], exporter.name


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@settings(max_examples=3000, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(pipelines(), st.lists(st.integers(0, 14), max_size=4), st.integers(1, 9))
def test_thousands_of_attempts_that_die_leave_what_one_would(
    definition: PipelineDefinition, deaths: list[int], count: int
) -> None:
    leaves_what_one_would(definition, deaths, count)


@pytest.mark.promise("P17")
def test_a_later_attempt_begins_at_the_cursor() -> None:
    World.clear(list(range(10)))
    ran = Store().run(pipeline(LISTED, stage(bloc("kept"), name="write")), 9)
    assert World.read_from[0] == 0
    assert ran.result is not None
    assert Counter(World.rows("kept")) == Counter(range(10))
    assert ran.result.counts["failed"] == 0
    # What lies behind the cursor came twice; of what was written after the last checkpoint nobody knows the count.
    assert ran.result.rows_in >= 10
    assert 5 < ran.result.rows_out < 11


@pytest.mark.promise("P17")
def test_a_batch_that_one_exporter_has_reaches_the_other_as_the_same_batch() -> None:
    World.clear(list(range(8)))
    writers = [bloc("kept", "a", inputs=["listed"]), bloc("kept", "b", inputs=["listed"])]
    stages = [LISTED, stage(writers[0], name="first", batch={"count": 3}), stage(writers[1], name="second")]
    Store().run(pipeline(*stages), 2)
    keys = [
        [key for (name, _), target in World.targets.items() if name == wanted for key in target.items]
        for wanted in "ab"
    ]
    assert sorted(keys[0]) == sorted(keys[1]) == ["0..2", "3..5", "6..7"]


@pytest.mark.promise("P17")
def test_what_failed_for_good_is_not_worked_on_again() -> None:
    World.clear(list(range(6)))
    definition = pipeline(
        LISTED,
        stage(bloc("multiply", "m", factor=1, fail_on=[1]), name="work", workers=2),
        stage(bloc("kept", inputs=["m"]), name="write", batch={"count": 2}),
        max_errors=1,
    )
    store = Store()
    run_id = store.store.add_run(definition)
    assert store.attempt(run_id, steps=3) == 75
    letters = dict(store.store.runs[run_id].letters)
    assert store.attempt(run_id) == 0
    run = store.store.runs[run_id]
    assert run.letters == letters
    assert Counter(World.rows("kept")) == Counter([0, 2, 3, 4, 5])
    assert run.result is not None
    assert run.result.counts["failed"] == 1


@pytest.mark.promise("P17")
def test_another_source_than_before_fails_the_run_and_names_both() -> None:
    World.clear(list(range(6)))
    store = Store()
    definition = pipeline(LISTED, stage(bloc("kept", commits="item"), name="write"))
    run_id = store.store.add_run(definition)
    assert store.attempt(run_id, steps=8) == 75
    run = store.store.runs[run_id]
    store.store.cursors[run.line] |= {"position": "2", "fingerprint": {"before": "[7, 8]"}}
    assert store.attempt(run_id) == 3
    assert run.result is not None
    assert run.result.problem is not None
    assert run.result.problem["type"] == "urn:cableway:error:source_changed"
    assert "[7, 8]" in str(run.result.problem["detail"])
    assert "[0, 1]" in str(run.result.problem["detail"])


@pytest.mark.promise("P17")
def test_behind_a_source_that_cannot_be_read_again_everything_is_one_transaction() -> None:
    World.clear(list(range(5)))
    load = stage(bloc("listed", repeat=False), name="load")
    store = Store()
    ran = store.run(pipeline(load, stage(bloc("kept"), name="write")), 0, 1)
    assert ran.result is not None
    ((_, target),) = World.targets.items()
    assert not target.items
    assert Counter(target.whole["end"]) == Counter(range(5))


@pytest.mark.promise("P17")
def test_with_what_an_exporter_holds_the_attempt_is_lost_and_no_item_is_given_up() -> None:
    World.clear(list(range(5)))
    store, definition = Store(), pipeline(LISTED, stage(bloc("kept"), name="write"))
    World.death = SinkLostError
    run_id = store.store.add_run(definition)
    assert store.attempt(run_id, steps=3) == 3
    run = store.store.runs[run_id]
    assert not run.letters
    assert run.attempts[-1].result is not None
    problem = run.attempts[-1].result.problem
    assert problem is not None
    assert problem["retryable"]
    assert store.attempt(run_id) == 0
    assert Counter(World.rows("kept")) == Counter(range(5))


INCREMENTAL = {"cursor_field": "at"}


def incremental(*, repeat: bool, commits: str = "item", **options: Any) -> PipelineDefinition:
    load = stage(bloc("listed", incremental={**INCREMENTAL, **options}, repeat=repeat), name="load")
    return pipeline(load, stage(bloc("kept", commits=commits), name="write"))


def row(number: int, at: int) -> dict[str, int]:
    return {"id": number, "at": at}


@pytest.mark.promise("P17")
@pytest.mark.parametrize("repeat", [True, False])
@pytest.mark.parametrize("commits", ["item", "run"])
@pytest.mark.parametrize("deaths", [(), (0,), (1,), (2,), (3,)])
def test_each_run_loads_what_is_new(*, repeat: bool, commits: str, deaths: tuple[int, ...]) -> None:
    store, definition = Store(), incremental(repeat=repeat, commits=commits)
    World.clear([row(0, 1), row(1, 2)])
    store.run(definition, *deaths)
    World.source += [row(2, 2), row(3, 5)]
    store.run(definition, *deaths)
    ran = store.run(definition)
    assert ran.result is not None
    assert ran.result.exit_code == 0
    assert sorted(each["id"] for each in World.rows("kept")) == [0, 1, 2, 3]
    assert store.store.cursors[ran.line]["reached"]["last"] == 5


@pytest.mark.promise("P17")
@pytest.mark.parametrize("repeat", [True, False])
@pytest.mark.parametrize("steps", range(5))
def test_the_next_run_takes_up_what_a_dead_one_left(*, repeat: bool, steps: int) -> None:
    store, definition = Store(), incremental(repeat=repeat)
    World.clear([row(0, 1), row(1, 2)])
    store.attempt(store.store.add_run(definition), steps=steps)
    World.source.append(row(2, 3))
    store.run(definition)
    store.run(definition)
    assert sorted(each["id"] for each in World.rows("kept")) == [0, 1, 2]


def test_a_stretch_with_an_end_moves_no_cursor() -> None:
    store = Store()
    World.clear([row(0, 1), row(1, 2), row(2, 3)])
    ran = store.run(incremental(repeat=True, initial_value=1, end_value=3))
    assert sorted(each["id"] for each in World.rows("kept")) == [0, 1]
    assert not store.store.lines
    assert ran.result is not None


@pytest.mark.parametrize(
    ("stages", "options", "pointer"),
    [
        ([stage(bloc("kept"), name="w", batch={"period_s": 1})], {}, "/stages/1/batch/period_s"),
        (
            [stage(bloc("multiply"), batch={"count": 2}), stage(bloc("kept"), name="w", batch={"count": 2})],
            {},
            "/stages/2/batch",
        ),
    ],
)
def test_what_could_not_be_exact_is_refused(stages: Any, options: Any, pointer: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        pipeline(LISTED, *stages, **options)
    assert pointer in [fault.pointer for fault in refused.value.faults]


def test_a_cursor_and_runs_that_overlap_do_not_go_together() -> None:
    load = stage(bloc("listed", incremental=INCREMENTAL), name="load")
    with pytest.raises(DefinitionError) as refused:
        pipeline(load, stage(bloc("kept"), name="w"), overlap="allow", concurrency=2)
    assert [fault.pointer for fault in refused.value.faults] == ["/settings/overlap"]

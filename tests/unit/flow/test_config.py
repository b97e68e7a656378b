"""Configuration checks itself: a wrong value is refused with the stage and the field in the message."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from cableway import ETLPipelineConfig, ExecutionType, StageConfig
from cableway.flow.config import Batch, Gather, RateLimit, Retry


def made(settings: dict[str, Any]) -> StageConfig:
    return StageConfig(**settings)


def test_the_defaults_are_those_of_the_seed() -> None:
    stage = StageConfig(name="fetch")
    assert (stage.execution_type, stage.workers, stage.queue_size) == (ExecutionType.ASYNC, 5, 1000)
    config = ETLPipelineConfig(stages=[stage])
    assert config.pipeline_name
    assert (config.queue_refresh_rate, config.stats_interval_seconds, config.enable_tracking) == (1.0, 10.0, True)


@pytest.mark.parametrize("field", ["workers", "queue_size", "queue_bytes", "max_item_bytes", "chunk"])
@pytest.mark.parametrize("value", [True, "5", 2.0])
def test_counts_are_whole_numbers(field: str, value: Any) -> None:
    with pytest.raises(TypeError, match=rf"stage 'fetch': {field} must be a whole number"):
        made({"name": "fetch", "execution_type": "process", field: value})


@pytest.mark.parametrize("field", ["workers", "queue_size", "queue_bytes", "max_item_bytes", "chunk"])
@pytest.mark.parametrize("value", [0, -1])
def test_counts_are_positive(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=rf"stage 'fetch': {field} must be at least 1, not {value}"):
        made({"name": "fetch", "execution_type": "process", field: value})


@pytest.mark.parametrize("field", ["timeout_s", "queue_timeout_s"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_times_are_positive_and_finite(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        made({"name": "fetch", field: value})


@pytest.mark.parametrize("name", ["created", "completed", "error"])
def test_reserved_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="reserved"):
        StageConfig(name=name)


@pytest.mark.parametrize(("name", "error"), [("", ValueError), (" ", ValueError), (3, TypeError), (None, TypeError)])
def test_a_name_is_a_string_that_says_something(name: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="name"):
        StageConfig(name=name)


def test_two_stages_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two stages are called 'a'"):
        ETLPipelineConfig(stages=[StageConfig(name="a"), StageConfig(name="a")])


@pytest.mark.parametrize("stages", [[], ()])
def test_a_pipeline_has_a_stage(stages: Any) -> None:
    with pytest.raises(ValueError, match="at least one stage"):
        ETLPipelineConfig(stages=stages)


@pytest.mark.parametrize("stages", ["ab", 3, [{"name": "a"}]])
def test_stages_are_a_list_of_them(stages: Any) -> None:
    with pytest.raises(TypeError, match="stages"):
        ETLPipelineConfig(stages=stages)


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("queue_refresh_rate", -1, ValueError),
        ("queue_refresh_rate", "1", TypeError),
        ("stats_interval_seconds", float("nan"), ValueError),
        ("stats_interval_seconds", True, TypeError),
        ("enable_tracking", 1, TypeError),
        ("keep_data", "yes", TypeError),
        ("pipeline_name", "", ValueError),
        ("loop_blocked_after_s", 0, ValueError),
    ],
)
def test_settings_of_the_whole_run_are_checked(field: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=field):
        ETLPipelineConfig(stages=[StageConfig(name="a")], **{field: value})


def test_a_lane_may_be_named_by_its_word() -> None:
    assert StageConfig(name="a", execution_type="thread").execution_type is ExecutionType.THREAD  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="execution_type must be one of async, thread, process, interpreter, dask"):
        StageConfig(name="a", execution_type="fiber")  # type: ignore[arg-type]


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="this Python has the lane")
def test_the_interpreter_lane_needs_its_python() -> None:
    with pytest.raises(ValueError, match=r"needs Python 3\.14"):
        StageConfig(name="a", execution_type=ExecutionType.INTERPRETER)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gather": True, "batch": Batch(count=2)}, "gather takes all items"),
        ({"gather": True, "ordered": True}, "gather gives one item"),
        ({"chunk": 4}, "chunk is for lanes in children"),
        ({"options": {"address": "x"}}, "options are for the dask lane"),
        ({"on_error": "explode"}, "on_error must be one of"),
        ({"on_duplicate": "explode"}, "on_duplicate must be one of"),
    ],
)
def test_what_cannot_go_together_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StageConfig(name="a", **settings)


@pytest.mark.parametrize("settings", [{"retry": 3}, {"batch": 3}, {"gather": "yes"}, {"rate_limit": 5}, {"setup": 1}])
def test_policies_have_their_own_types(settings: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(settings))):
        StageConfig(name="a", **settings)


def test_gather_true_is_the_default_gather() -> None:
    assert StageConfig(name="a", gather=True).gather == Gather()
    assert StageConfig(name="a", gather=False).gather is None


@pytest.mark.parametrize(
    "make",
    [
        Batch,
        lambda: Batch(count=0),
        lambda: Batch(bytes=-1),
        lambda: Batch(period_s=0),
        lambda: Gather(max_bytes=0),
        lambda: RateLimit(per_s=0),
        lambda: RateLimit(per_s=1, burst=0),
        lambda: Retry(attempts=0),
        lambda: Retry(initial_s=-1),
        lambda: Retry(factor=0),
        lambda: Retry(max_s=float("inf")),
    ],
)
def test_policies_check_their_numbers(make: Any) -> None:
    with pytest.raises(ValueError, match=r"must be|needed"):
        make()


def test_a_configuration_cannot_be_changed() -> None:
    stage = StageConfig(name="a")
    with pytest.raises(AttributeError):
        stage.workers = 3  # type: ignore[misc]

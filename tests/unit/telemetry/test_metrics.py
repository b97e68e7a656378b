from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cableway.flow.observer import Outcome
from cableway.telemetry.metrics import BOUNDS_S, BUCKETS, Durations, RunMetrics


@given(st.integers(min_value=0, max_value=10**14))
def test_a_duration_falls_between_the_bounds_of_its_bucket(duration_ns: int) -> None:
    durations = Durations()
    durations.add(duration_ns)
    bucket = durations.buckets.index(1)
    # In whole nanoseconds, since a bound is a power of two of them.
    bounds_ns = [round(bound * 1e9) for bound in BOUNDS_S]
    assert bucket == 0 or bounds_ns[bucket - 1] < duration_ns
    assert bucket == BUCKETS - 1 or duration_ns <= bounds_ns[bucket]
    assert (durations.count, durations.max_ns, durations.min_ns) == (1, duration_ns, duration_ns)


def test_an_item_counts_where_it_has_been() -> None:
    metrics = RunMetrics()
    metrics.begin("p", [("a", "async"), ("b", "async"), ("c", "async")], dict)
    metrics.item(0, [0, 10, 30, 30, 35], Outcome.FAILED)
    metrics.item(1, [0, 1, 2, 5, 5, 9], Outcome.SUCCEEDED)
    metrics.item(2, [], Outcome.SUCCEEDED)
    assert [each.sum_ns for each in metrics.waits] == [10, 6, 0]
    assert [each.sum_ns for each in metrics.works] == [20, 1, 4]
    assert metrics.outcomes == {Outcome.FAILED: 1, Outcome.SUCCEEDED: 2}


def test_the_number_of_series_stays_bounded() -> None:
    metrics = RunMetrics()
    for number in range(1_000):
        metrics.failure("s", "b", f"Error{number}")
    assert len(metrics.failures) <= 257
    assert sum(metrics.failures.values()) == 1_000

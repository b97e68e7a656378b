"""When a failed unit is tried again, and when."""

from __future__ import annotations

import pytest

from cableway.errors import ItemError
from cableway.flow.retry import Retry


class SlowDownError(Exception):
    """A server's refusal that says when to come back."""

    retry_after_s = 7


def test_attempts_are_counted_in_all() -> None:
    retry = Retry(attempts=3)
    assert [retry.allows(ValueError(), attempts) for attempts in (1, 2, 3)] == [True, True, False]


def test_only_the_named_errors_are_tried_again() -> None:
    retry = Retry(retry_on=(OSError, "OddError"), give_up_on=(FileNotFoundError,))
    assert retry.allows(ConnectionError(), 1)
    assert not retry.allows(FileNotFoundError(), 1)
    assert not retry.allows(ValueError(), 1)
    assert retry.allows(ItemError("handler", "odd", error_type="OddError"), 1)


@pytest.mark.parametrize("code", ["unpicklable_result", "too_large", "bad_result", "duplicate_id"])
def test_what_no_repetition_can_mend_is_not_tried_again(code: str) -> None:
    assert not Retry().allows(ItemError(code, "no"), 1)  # type: ignore[arg-type]


def test_an_exit_is_not_tried_again() -> None:
    assert not Retry().allows(SystemExit(1), 1)


def test_the_wait_grows_up_to_its_most() -> None:
    retry = Retry(initial_s=1, factor=3, max_s=20, jitter=False)
    assert [retry.delay_s(ValueError(), attempts) for attempts in (1, 2, 3, 4, 5000)] == [1, 3, 9, 20, 20]


def test_jitter_takes_a_part_of_the_wait() -> None:
    delays = {Retry(initial_s=1, factor=1).delay_s(ValueError(), 1) for _ in range(50)}
    assert len(delays) > 1
    assert all(0.5 <= delay <= 1 for delay in delays)


def test_an_error_may_ask_for_a_longer_wait() -> None:
    assert Retry(initial_s=1, jitter=False).delay_s(SlowDownError(), 1) == 7
    assert Retry(initial_s=1, max_s=5, jitter=False).delay_s(SlowDownError(), 1) == 5


def test_classes_and_names_alone_are_taken() -> None:
    with pytest.raises(TypeError, match="retry_on"):
        Retry(retry_on=(3,))  # type: ignore[arg-type]
    assert Retry(retry_on=ValueError).retry_on == (ValueError,)  # type: ignore[arg-type]

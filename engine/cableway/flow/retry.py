"""When a failed unit is tried again, and after how long."""

from __future__ import annotations

import random
from dataclasses import dataclass

from cableway.errors import ItemError
from cableway.flow.fields import flag, number, whole

ErrorClass = type[BaseException] | str

# What no repetition can mend: the same result would be as large, as unpicklable or as ill-formed again.
_HOPELESS = frozenset(
    {"unpicklable_result", "unpicklable_input", "too_large", "duplicate_id", "bad_result", "failed_before"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """``attempts`` in all, with ``initial_s``, then ``factor`` times the last, at most ``max_s`` between them.

    With ``jitter`` the wait is a random part of that, so that units that failed together do not come
    back together. Only errors of ``retry_on`` are tried again, and none of ``give_up_on``: classes, or
    their names. An error with a number ``retry_after_s`` asks for at least that wait, up to ``max_s``.
    """

    attempts: int = 3
    initial_s: float = 0.5
    factor: float = 2.0
    max_s: float = 60.0
    jitter: bool = True
    retry_on: tuple[ErrorClass, ...] = (Exception,)
    give_up_on: tuple[ErrorClass, ...] = ()

    def __post_init__(self) -> None:
        whole("Retry", "attempts", self.attempts)
        number("Retry", "initial_s", self.initial_s)
        number("Retry", "factor", self.factor, positive=True)
        number("Retry", "max_s", self.max_s)
        flag("Retry", "jitter", self.jitter)
        for name in ("retry_on", "give_up_on"):
            classes = getattr(self, name)
            if isinstance(classes, str | type):
                classes = (classes,)
            for kind in classes:
                if not isinstance(kind, str) and not (isinstance(kind, type) and issubclass(kind, BaseException)):
                    raise TypeError(f"Retry: {name} must hold exception classes or their names, not {kind!r}")
            object.__setattr__(self, name, tuple(classes))

    def allows(self, error: BaseException, attempts: int) -> bool:
        """Whether a unit that failed with *error* for the *attempts*-th time is tried again."""
        if attempts >= self.attempts or (isinstance(error, ItemError) and error.item_code in _HOPELESS):
            return False
        return _is_one_of(error, self.retry_on) and not _is_one_of(error, self.give_up_on)

    def delay_s(self, error: BaseException, attempts: int) -> float:
        """Seconds until the next attempt, after *attempts* have failed."""
        try:
            delay = min(self.max_s, self.initial_s * self.factor ** (attempts - 1))
        except OverflowError:
            delay = self.max_s
        if self.jitter:
            delay *= random.uniform(0.5, 1.0)
        asked = getattr(error, "retry_after_s", None)
        if isinstance(asked, int | float) and not isinstance(asked, bool):
            delay = max(delay, min(float(asked), self.max_s))
        return delay


def _is_one_of(error: BaseException, classes: tuple[ErrorClass, ...]) -> bool:
    names = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, ItemError) and error.error_type is not None:
        names.add(error.error_type)
    return any(kind in names if isinstance(kind, str) else isinstance(error, kind) for kind in classes)

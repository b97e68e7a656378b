"""When a request is sent again, after how long, and when it is enough."""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from cableway.blocs.http.message import Request
from cableway.blocs.http.options import HttpOptions
from cableway.errors import HttpError

ALLOWANCE = 50
"""Repetitions that a bloc has to begin with."""
EARNED = 0.1
"""What each answer adds to them, up to as many as there were to begin with."""

_ITEMS = 10_000
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_NOT_DONE = frozenset({425, 429, 503})


class RetryBudget:
    """Keeps repetitions from multiplying: a stage that repeats an item, and a run that repeats a stage, come on top.

    An item has the repetitions of one request, however often its stage works on it; and all requests of a
    bloc share an allowance that answers earn back slowly, so that a server that is down is not asked by everyone
    as often as anyone may ask.
    """

    def __init__(self, attempts: int) -> None:
        self._repetitions = attempts - 1
        self._left = float(ALLOWANCE)
        self._of_items: OrderedDict[str, int] = OrderedDict()

    def take(self, key: str) -> bool:
        """Whether the request of item *key* may be sent once more; it counts as sent."""
        used = self._of_items.get(key, 0)
        if used >= self._repetitions or self._left < 1:
            return False
        self._left -= 1
        self._of_items[key] = used + 1
        self._of_items.move_to_end(key)
        if len(self._of_items) > _ITEMS:
            self._of_items.popitem(last=False)
        return True

    def answered(self, key: str) -> None:
        """The request of item *key* was answered."""
        self._left = min(float(ALLOWANCE), self._left + EARNED)
        self._of_items.pop(key, None)


def may_pass(request: Request, error: HttpError) -> bool:
    """Whether sending *request* again could help and does no harm.

    One that does something is sent again only where it surely did nothing.
    """
    match error.reason:
        case "connect":
            return True
        case "timeout" | "length":
            return request.may_repeat
        case "status":
            if error.http_status == 403:
                return error.retry_after_s is not None
            return error.http_status in (_PASSING if request.may_repeat else _NOT_DONE)
        case _:
            return False


def delay_s(options: HttpOptions, repetition: int, asked_s: float | None) -> float:
    """Seconds before the *repetition*-th repetition (from 1): at least what was *asked* for, within the limit."""
    delay = min(options.max_wait_s, options.wait_s * 2.0 ** (repetition - 1)) * random.uniform(0.5, 1.0)
    return min(options.max_wait_s, max(delay, asked_s or 0.0))


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The seconds that a server asks to wait, from Retry-After in either form; None where it does not say."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        seconds = float(text) if text[:1].isdigit() else parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError, TypeError):
        return None
    return max(0.0, seconds) if seconds == seconds else None  # noqa: PLR0124 - what is not itself is no number

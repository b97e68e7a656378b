"""
Named places at which a test kills the process, or does worse to it. Outside tests they do nothing.

``CABLEWAY_FAILPOINT=before_commit:kill`` together with ``CABLEWAY_TESTING=1`` kills at the first passing,
``before_commit:kill:3`` at the third, and ``*:kill:40`` at whatever place is passed as the fortieth. Actions:
``kill`` and ``stop`` send SIGKILL and SIGSTOP to the process, ``term`` SIGTERM, ``exit`` ends it at once with 1.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Literal, get_args

from cableway.errors import SettingsError

Place = Literal[
    "claimed",
    "planned",
    "item_read",
    "before_letters",
    "before_checkpoint",
    "after_checkpoint",
    "before_export",
    "key_written",
    "rows_written",
    "before_commit",
    "after_commit",
    "before_finish",
    "after_finish",
]
"""Where one can be: each name says what has just been done, or is about to be."""
PLACES: tuple[str, ...] = get_args(Place)

_ACTIONS: Mapping[str, Callable[[], object]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "term": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "exit": lambda: os._exit(1),
}


class _Armed:
    """One failpoint that waits for its passing."""

    def __init__(self, place: str, action: Callable[[], object], passing: int) -> None:
        self._place = place
        self._action = action
        self._left = passing
        self._lock = threading.Lock()

    def __call__(self, place: str) -> None:
        if self._place not in {place, "*"}:
            return
        with self._lock:
            self._left -= 1
            due = self._left == 0
        if due:
            self._action()


class _Failpoints:
    """What is armed in this process: None, but in a test."""

    armed: _Armed | None = None


def arm(variables: Mapping[str, str]) -> None:
    """Read from *variables* whether this process is to fail, and where. Raise `SettingsError` where it is unclear."""
    wish = variables.get("CABLEWAY_FAILPOINT") if variables.get("CABLEWAY_TESTING") == "1" else None
    if not wish:
        _Failpoints.armed = None
        return
    place, _, rest = wish.partition(":")
    action, _, passing = rest.partition(":")
    if (place != "*" and place not in PLACES) or action not in _ACTIONS:
        raise SettingsError(f"CABLEWAY_FAILPOINT: PLACE:ACTION[:PASSING], and {wish!r} is none")
    count = 1
    with suppress(ValueError):
        count = int(passing or "1")
    _Failpoints.armed = _Armed(place, _ACTIONS[action], count)


def reach(place: Place) -> None:
    """Do here what a test wants done here."""
    if _Failpoints.armed is not None:
        _Failpoints.armed(place)

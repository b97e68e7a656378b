"""Jobs that the command starts as processes and waits for: which attempt is theirs, and what a signal does to them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from cableway_handlers.cli import screen
from cableway_handlers.launch.protocol import Launch, LaunchState

if TYPE_CHECKING:
    from cableway_handlers.launch.local import LocalLauncher


def next_launch(launcher: LocalLauncher, launch: Launch) -> Launch:
    """*launch*, or the first one after it that has not ended: a job may die before it takes its run."""
    while (found := launcher.find(launch)) is not None and launcher.status(found).state is LaunchState.ENDED:
        launch = Launch(launch.run_id, launch.attempt + 1)
    return launch


@contextmanager
def signals_passed_on(stop: Callable[[], None], told: str) -> Generator[None]:
    """Within, SIGINT and SIGTERM say *told* and *stop* what was started, and leave this process to wait for it."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        del number, frame
        screen.say(told)
        stop()

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

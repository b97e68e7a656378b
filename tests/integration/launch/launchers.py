"""A launcher that starts nothing, and does what a test says."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from cableway_handlers.launch import Launch, LaunchState, LaunchStatus


@dataclass
class Pretender:
    """Keeps what it was asked for. *faults* are raised by the next launches, *ended* is what has ended how."""

    names: list[str] = field(default_factory=list[str])
    faults: list[Exception] = field(default_factory=list[Exception])
    ended: dict[str, LaunchStatus] = field(default_factory=dict[str, LaunchStatus])
    stopped: list[str] = field(default_factory=list[str])
    launched: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def launch(self, launch: Launch) -> str:
        self.names.append(launch.name)
        self.launched.release()
        if self.faults:
            raise self.faults.pop(0)
        return f"id-{launch.name}"

    def status(self, external_id: str) -> LaunchStatus:
        return self.ended.get(external_id, LaunchStatus(LaunchState.RUNNING))

    def stop(self, external_id: str, *, grace_s: float = 30.0) -> None:
        self.stopped.append(external_id)


@dataclass
class Watcher(Pretender):
    """Names its containers as the launcher of this machine does, and can tell of their failure."""

    on_failure: Callable[[Launch], object] = lambda _: None

    def launch(self, launch: Launch) -> str:
        super().launch(launch)
        return f"{launch.name}:7"

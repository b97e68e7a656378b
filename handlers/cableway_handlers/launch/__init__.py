"""How a run's container is started: one protocol, one file for each launcher."""

from __future__ import annotations

from cableway_handlers.launch.local import LocalLauncher
from cableway_handlers.launch.protocol import Launch, Launcher, LaunchError, LaunchState, LaunchStatus, Watchful
from cableway_handlers.launch.sweep import Sweep, Swept
from cableway_handlers.launch.sweep_loop import SweepLoop

__all__ = [
    "Launch",
    "LaunchError",
    "LaunchState",
    "LaunchStatus",
    "Launcher",
    "LocalLauncher",
    "Sweep",
    "SweepLoop",
    "Swept",
    "Watchful",
]

"""How a run's container is started: one protocol, one file for each launcher."""

from __future__ import annotations

from cableway_handlers.launch.local import LocalLauncher
from cableway_handlers.launch.protocol import Launch, Launcher, LaunchError, LaunchState, LaunchStatus

__all__ = ["Launch", "LaunchError", "LaunchState", "LaunchStatus", "Launcher", "LocalLauncher"]

"""A job that died in front of the command that started it: its run need not wait until its lease runs out."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from cableway.errors import EXIT_OK
from cableway_handlers.cli import screen

if TYPE_CHECKING:
    from cableway_handlers.cli.workplace import Workplace
    from cableway_handlers.launch.local import LocalLauncher
    from cableway_handlers.launch.protocol import Launch


def end_lease(place: Workplace, launcher: LocalLauncher, launch: Launch, code: int | None) -> None:
    """The process of *launch* has ended with *code*; say so where it has left its run unfinished, and free the run."""
    if code == EXIT_OK:
        return
    from cableway_handlers.launch.sweep import Sweep

    with closing(Sweep.from_settings(place.settings, launcher)) as sweep:
        if sweep.end_lease(launch, told=True):
            how = "ended without a word" if code is None else f"died with exit code {code}"
            screen.say(f"the process of run {launch.run_id} {how}; its lease is over, and another attempt may begin")

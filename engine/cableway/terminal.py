"""The table of a run's stages on a terminal, kept below all that is printed meanwhile. It alone loads rich."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from typing import TextIO, cast

from rich.console import Console, Group
from rich.file_proxy import FileProxy
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cableway.progress import StageProgress, rate

DRAWN_EACH_S = 4
"""How often a second the table is drawn; a thread does it, so a terminal that is slow to read holds up nobody."""

_QUEUE_WIDTH = 12


class _Console(Console):
    """A console that never hides the cursor: what is not hidden need not be brought back."""

    def show_cursor(self, show: bool = True) -> bool:  # noqa: FBT001, FBT002 - rich's signature
        return False


def can_move(file: TextIO) -> bool:
    """Whether the terminal behind *file* can be written to elsewhere than at its end."""
    console = Console(file=file)
    return console.is_terminal and not console.is_dumb_terminal


class LiveTable:
    """Draws what it was shown last. Lines printed or logged to the terminal meanwhile stand above it."""

    def __init__(self, file: TextIO, title: str) -> None:
        self._title = title
        self._began_s = time.monotonic()
        self._stages: Sequence[StageProgress] = ()
        self._console = _Console(file=file)
        self._moved: list[tuple[logging.StreamHandler[TextIO], TextIO]] = []
        self._live = Live(
            console=self._console,
            refresh_per_second=DRAWN_EACH_S,
            get_renderable=self._drawn,
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
        )
        self._move_logs(file)
        self._live.start()

    def show(self, stages: Sequence[StageProgress]) -> None:
        """Draw *stages* from the next time on."""
        self._stages = stages

    def close(self, stages: Sequence[StageProgress]) -> None:
        """Draw *stages* for good, and let the terminal go."""
        self._stages = stages
        try:
            self._live.stop()
        finally:
            for handler, stream in self._moved:
                handler.setStream(stream)

    def _move_logs(self, file: TextIO) -> None:
        """Handlers hold the stream itself, so exchanging ``sys.stderr`` does not reach them."""
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler):
                ours = cast("logging.StreamHandler[TextIO]", handler)
                if ours.stream in {file, sys.stderr} and ours.stream.isatty():
                    self._moved.append((ours, ours.stream))
                    ours.setStream(cast("TextIO", FileProxy(self._console, ours.stream)))

    def _drawn(self) -> Group:
        return drawn(self._title, self._stages, time.monotonic() - self._began_s)


def drawn(title: str, stages: Sequence[StageProgress], passed_s: float) -> Group:
    """The table after *passed_s* seconds: how full each stage's queue is, and what it has done."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for _ in range(5):
        table.add_column(justify="right", no_wrap=True)
    for stage in stages:
        table.add_row(
            Text(stage.name, style="bold"),
            ProgressBar(total=stage.queue_size, completed=min(stage.waiting, stage.queue_size), width=_QUEUE_WIDTH),
            f"{stage.waiting:,} waiting",
            f"{stage.in_flight:,} in flight",
            f"{stage.done:,} done",
            rate(stage.rate_per_s),
            Text(f"{stage.failed:,} failed", style="red") if stage.failed else "",
        )
    minutes, seconds = divmod(int(passed_s), 60)
    return Group(Text(f"{title}  {minutes:02}:{seconds:02}", style="dim"), table)

"""
What a process says on stdout and stderr, so that nobody has to read it.

A pipe that is full holds up whoever writes to it for as long as nobody reads. Here writing waits for a second at
most, and then not at all until somebody has read; what could not be written meanwhile is lost.
"""

from __future__ import annotations

import os
import select
import stat
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import TextIO

PATIENCE_S = 1.0
"""Seconds that a reader who does not read holds us up."""
PIECE = 4096
"""Bytes that a pipe which is ready takes at once."""

_full: set[int] = set()
"""Numbers of streams that nobody reads."""


def write_out(stream: TextIO | None, text: str, within_s: float = PATIENCE_S) -> bool:
    """Write *text* to *stream* and return whether all of it went out. Raise nothing that the stream is at fault for."""
    if stream is None:
        return False
    try:
        number = stream.fileno()
        if not _may_hold_up(number):
            number = -1
    except (OSError, ValueError, AttributeError):
        number = -1
    try:
        if number < 0:
            stream.write(text)
            stream.flush()
            return True
        # stderr holds nothing back, and is written to often.
        flushed = getattr(stream, "line_buffering", False) or _flushed(stream, within_s)
        return flushed and _written(number, text, within_s)
    except (OSError, ValueError, AttributeError):
        silence(stream)
        return False


def silence(stream: Any) -> None:
    """Have nothing more come out of *stream*, so that what it still holds cannot fail again at exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except (OSError, ValueError, AttributeError):
        return


def is_stuck() -> bool:
    """Whether something that was printed waits for a reader still; then an orderly exit would wait for ever."""
    return bool(_full)


def _may_hold_up(number: int) -> bool:
    mode = os.fstat(number).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)


def _flushed(stream: TextIO, within_s: float) -> bool:
    """Have what others printed go out first."""
    number = stream.fileno()
    if not _ready(number, 0.0 if number in _full else within_s):
        _full.add(number)
        return False
    # It may hold more than the pipe has room for.
    flushing = threading.Thread(target=_flush, args=(stream,), name="cableway-flush", daemon=True)
    flushing.start()
    flushing.join(within_s)
    if flushing.is_alive():
        _full.add(number)
        return False
    _full.discard(number)
    return True


def _flush(stream: TextIO) -> None:
    try:
        stream.flush()
    except (OSError, ValueError):
        silence(stream)


def _written(number: int, text: str, within_s: float) -> bool:
    data = memoryview(text.encode("utf-8", "backslashreplace"))
    until = time.monotonic() + (0.0 if number in _full else within_s)
    while data:
        if not _ready(number, max(0.0, until - time.monotonic())):
            _full.add(number)
            return False
        data = data[os.write(number, data[:PIECE]) :]
    _full.discard(number)
    return True


def _ready(number: int, within_s: float) -> bool:
    poll = select.poll()
    poll.register(number, select.POLLOUT)
    return any(event & (select.POLLOUT | select.POLLERR | select.POLLHUP) for _, event in poll.poll(within_s * 1000))

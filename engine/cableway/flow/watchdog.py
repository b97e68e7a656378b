"""Notices that the event loop stands still, which nothing on the loop itself can."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback

log = logging.getLogger("cableway.flow")


class Watchdog:
    """A thread that asks the loop for a sign of life and logs the stack of whatever blocks it.

    Once for each standstill that lasts longer than *after_s* seconds.
    """

    def __init__(self, pipeline: str, after_s: float) -> None:
        self._pipeline = pipeline
        self._after_s = after_s
        self._loop = asyncio.get_running_loop()
        self._blocked_thread = threading.get_ident()
        self._sign = threading.Event()
        self._over = threading.Event()
        threading.Thread(target=self._watch, name="cableway-watchdog", daemon=True).start()

    def close(self) -> None:
        """Watch no more."""
        self._over.set()

    def _watch(self) -> None:
        while not self._over.is_set():
            self._sign.clear()
            try:
                self._loop.call_soon_threadsafe(self._sign.set)
            except RuntimeError:  # the loop is closed
                return
            if not self._sign.wait(self._after_s):
                self._tell()
                self._sign.wait()
            self._over.wait(self._after_s / 4)

    def _tell(self) -> None:
        frames = sys._current_frames()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - there is no other way
        frame = frames.get(self._blocked_thread)
        stack = "".join(traceback.format_stack(frame)) if frame is not None else "(no stack)"
        seconds = f"{self._after_s:g} s"
        log.warning("%s: loop_blocked: the event loop has stood still for %s in\n%s", self._pipeline, seconds, stack)

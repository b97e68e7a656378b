"""A worker interpreter from the inside: the loop of `cableway.flow.lanes.child`, and a thread that can stop it."""

from __future__ import annotations

import os
from select import POLLIN, poll
from threading import Thread, get_ident

from cableway.flow.lanes.child import Child
from cableway.flow.transfer import Arena, Leases

_AGAIN_MS = (50, 100, 200, 400, 800)


def serve(calls: int, talk: int, inbox: int, outbox: int) -> None:
    """Serve the calls until the parent closes them. The file descriptors are the parent's thread's to close."""
    over = os.eventfd(0)
    guard = Thread(target=_stop_when_left, args=(talk, over, get_ident()))
    guard.start()
    try:
        Child(calls, talk, Leases(inbox), Arena(outbox)).serve()
    finally:
        os.eventfd_write(over, 1)
        guard.join()
        os.close(over)


def _stop_when_left(talk: int, over: int, thread: int) -> None:
    """Once the parent has left, raise `SystemExit` in the handler, and a few times more until it has ended.

    A loop in Python hears it; a call into C that never returns does not. Then this thread must go
    all the same, since the process waits for it at its own end.
    """
    both, ended = poll(), poll()
    both.register(talk, 0)
    both.register(over, POLLIN)
    ended.register(over, POLLIN)
    both.poll()
    if ended.poll(0):
        return
    import ctypes

    for wait_ms in _AGAIN_MS:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(SystemExit))
        if ended.poll(wait_ms):
            return

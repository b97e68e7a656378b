"""Files that a bloc may read: regular ones, below the root where there is one."""

from __future__ import annotations

import os
import stat
from typing import BinaryIO

from cableway.errors import SourceError

_OF_THE_KERNEL = ("/dev/", "/proc/", "/sys/")


def path_fault(path: str) -> str | None:
    """What is wrong with *path* that shows before it is looked at, where something is."""
    if not path or "\x00" in path:
        return "is empty or holds a NUL byte"
    # Two slashes at the beginning are one here, which normpath does not say.
    normal = os.path.normpath(f"/{path.lstrip('/')}" if path.startswith("/") else path)
    if f"{normal}/".startswith(_OF_THE_KERNEL):
        return "is a place of the system's, and no file of data"
    if normal == ".." or normal.startswith("../"):
        return "leads out of the job's folder; give a path below it, or an absolute one"
    return None


def open_regular(path: str, *, root: str | None = None) -> BinaryIO:
    """Open *path* to read bytes. It is relative to *root*, else to the working directory.

    Raise `SourceError`, naming the path and what to do, when it is not there, may not be read,
    is no regular file (a folder, a pipe, a device, a file of the kernel's), or lies outside *root*
    once links are followed.
    """
    if "\x00" in path or not path:
        raise SourceError("the file's path is empty or holds a NUL byte; check file_path")
    place = os.path.realpath(os.path.join(root or "", path))  # noqa: PTH118 - pathlib would be loaded for this alone
    if root is not None and not place.startswith(os.path.realpath(root).rstrip("/") + "/"):
        raise SourceError(f"{path}: lies outside of {root}, below which this job reads files")
    if place.startswith(_OF_THE_KERNEL):
        raise SourceError(f"{path}: is no file of data")
    return _opened(path, place)


def _opened(path: str, place: str) -> BinaryIO:
    try:
        # Without O_NONBLOCK a pipe that nobody writes to would hold the run for ever.
        handle = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        advice = "check file_path, or mount the folder that it is in"
        raise SourceError(f"no file {path}: looked for {place}; {advice}") from None
    except PermissionError:
        raise SourceError(f"{path}: may not be read by this user; check the file's mode") from None
    except OSError as error:
        raise SourceError(f"{path}: cannot be opened: {error.strerror}") from None
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise SourceError(f"{path}: is {kind}; file_path names one file")
    return os.fdopen(handle, "rb", buffering=0)

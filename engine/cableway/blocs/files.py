"""Files that a bloc may read: regular ones, below the root where there is one."""

from __future__ import annotations

import os
import stat
from typing import BinaryIO

from cableway.errors import SourceError

_OF_THE_KERNEL = ("/dev/", "/proc/", "/sys/")
# Without O_NONBLOCK a pipe that nobody writes to would hold the run for ever.
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_WILD = frozenset("*?[")
MOST_FILES = 100_000


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


def is_pattern(path: str) -> bool:
    """Whether *path* has characters that stand for others: ``*``, ``?``, ``[``."""
    return not _WILD.isdisjoint(path)


def found_files(path: str, *, root: str | None = None) -> list[str]:
    """The files that *path* means, sorted: itself, or what a pattern matches (``**`` for folders at any depth).

    They are named as *path* is, relative to *root* where it is relative. Folders are left out. Raise `SourceError`
    where nothing matches, or more than 100,000 files do.
    """
    fault = path_fault(path)
    if fault is not None:
        raise SourceError(f"the file's path {fault}; check file_path")
    if not is_pattern(path) or os.path.lexists(os.path.join(root or "", path)):  # noqa: PTH118 - as below
        return [path]
    import glob  # few pipelines need it

    names: list[str] = []
    for name in glob.iglob(path, root_dir=root, recursive=True):  # noqa: PTH207 - pathlib knows no root_dir
        if not os.path.isdir(os.path.join(root or "", name)):  # noqa: PTH112, PTH118 - as below
            names.append(name)
        if len(names) > MOST_FILES:
            raise SourceError(f"{path}: matches more than {MOST_FILES} files; narrow it")
    if not names:
        raise SourceError(f"no file matches {path} below {root or os.getcwd()}; check file_path")  # noqa: PTH109
    return sorted(names)


def open_regular(path: str, *, root: str | None = None) -> BinaryIO:
    """Open *path* to read bytes. It is relative to *root*, else to the working directory.

    Raise `SourceError`, naming the path and what to do, when it is not there, may not be read,
    is no regular file (a folder, a pipe, a device, a file of the kernel's), or lies outside *root*
    once links are followed.
    """
    fault = path_fault(path)
    if fault is not None:
        raise SourceError(f"the file's path {fault}; check file_path")
    place = os.path.realpath(os.path.join(root or "", path))  # noqa: PTH118 - pathlib would be loaded for this alone
    below = None if root is None else os.path.realpath(root).rstrip("/") + "/"
    if below is not None and not place.startswith(below):
        raise SourceError(f"{path}: lies outside of {root}, below which this job reads files")
    if place.startswith(_OF_THE_KERNEL):
        raise SourceError(f"{path}: is no file of data")
    return _regular(path, _handle(path, place, below))


def _handle(path: str, place: str, below: str | None) -> int:
    try:
        return os.open(place, _READ) if below is None else _handle_below(below, place[len(below) :])
    except FileNotFoundError:
        advice = "check file_path, or mount the folder that it is in"
        raise SourceError(f"no file {path}: looked for {place}; {advice}") from None
    except PermissionError:
        raise SourceError(f"{path}: may not be read by this user; check the file's mode") from None
    except OSError as error:
        raise SourceError(f"{path}: cannot be opened: {error.strerror}") from None


def _handle_below(below: str, rest: str) -> int:
    """Step by step and through no link, for all were followed: one that is put there meanwhile leads nowhere."""
    *folders, name = rest.split("/")
    folder = os.open(below, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for step in folders:
            inner = os.open(step, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(name, _READ | os.O_NOFOLLOW, dir_fd=folder)
    finally:
        os.close(folder)


def _regular(path: str, handle: int) -> BinaryIO:
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise SourceError(f"{path}: is {kind}; file_path names one file")
    return os.fdopen(handle, "rb", buffering=0)

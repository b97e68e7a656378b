"""A file that is there whole or not at all: written under another name, and renamed when it is done."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from typing import BinaryIO

from cableway.blocs.files import path_fault
from cableway.errors import ResourceError, SinkError

_LACKS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE})
_NAME_BYTES = 255
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class Writers:
    """Who writes: attempts of one *line* follow each other by their *token*, and clear up after earlier ones."""

    line: str
    bloc: str
    token: int


class FileTarget:
    """One file at *path*, which is relative to *root*, else to the working directory. Folders are made.

    Raise `SinkError` for a path that leads out of *root* once links are followed, or where something other than
    a file stands; `ResourceError` for a disk that is full or only read, or when handles run out.
    """

    def __init__(self, path: str, writers: Writers, *, root: str | None = None, replace: bool = True) -> None:
        self.path = path
        self._replace = replace
        self._name = os.path.basename(path)  # noqa: PTH119 - the job does without pathlib
        own = blake2b(f"{self._name}\n{writers.line}\n{writers.bloc}".encode(), digest_size=8).hexdigest()
        self._family = f".cableway-{own}-"
        self._hidden = f"{self._family}{writers.token}.tmp"
        with said_anew(path):
            self._folder = _folder_of(path, root)
            try:
                self._refuse_what_is_there()
                self._clear()
                handle = os.open(self._hidden, _NEW, 0o644, dir_fd=self._folder)
            except BaseException:
                os.close(self._folder)
                raise
        self.file: BinaryIO = os.fdopen(handle, "wb", buffering=1024 * 1024)
        self._open = True

    def commit(self) -> None:
        """Let the file be there, in place of one that was. It survives a crash of the machine."""
        with said_anew(self.path):
            try:
                self.file.close()  # who compresses may have done so
                self._sync()
                self._refuse_what_is_there()
                os.replace(self._hidden, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
                os.fsync(self._folder)
            finally:
                self.discard()

    def discard(self) -> None:
        """Leave nothing behind; after `commit` nothing happens."""
        if not self._open:
            return
        self._open = False
        with suppress(OSError):
            self.file.close()
        with suppress(OSError):
            os.unlink(self._hidden, dir_fd=self._folder)
        os.close(self._folder)

    def _sync(self) -> None:
        handle = os.open(self._hidden, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _refuse_what_is_there(self) -> None:
        try:
            mode = os.stat(self._name, dir_fd=self._folder, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISREG(mode):
            kind = "a link" if stat.S_ISLNK(mode) else "a folder" if stat.S_ISDIR(mode) else "no regular file"
            raise SinkError(f"{self.path}: {kind} stands there, which is not written to or replaced")
        if not self._replace:
            raise SinkError(f"{self.path}: exists, and if_exists is 'fail'")

    def _clear(self) -> None:
        """What earlier attempts of the line have left when they were killed."""
        with os.scandir(self._folder) as entries:
            left = [entry.name for entry in entries if entry.name.startswith(self._family)]
        for name in left:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._folder)


@contextmanager
def said_anew(path: str) -> Generator[None]:
    """Turn errors of the operating system about *path* into ours."""
    try:
        yield
    except OSError as error:
        if error.errno in _LACKS:
            raise ResourceError(f"{path}: {os.strerror(error.errno)}") from None
        raise SinkError(f"{path}: cannot be written: {error.strerror}") from None


def target_fault(path: str) -> str | None:
    """What is wrong with *path* as a file to write that shows before it is looked at."""
    if path.endswith("/") or path in {".", ".."}:
        return "names a folder; give the file a name"
    if len(os.path.basename(path).encode("utf-8", "replace")) > _NAME_BYTES:  # noqa: PTH119 - as above
        return f"has a name of more than {_NAME_BYTES} bytes"
    return path_fault(path)


def _folder_of(path: str, root: str | None) -> int:
    """A handle of the folder that *path* is in, made where it is missing."""
    fault = target_fault(path)
    if fault is not None:
        raise SinkError(f"file_path {fault}")
    wanted = os.path.join(root or "", os.path.dirname(path)) or "."  # noqa: PTH118, PTH120 - as above
    place = os.path.realpath(wanted)
    if root is not None and not f"{place}/".startswith(os.path.realpath(root).rstrip("/") + "/"):
        raise SinkError(f"{path}: lies outside of {root}, below which this job writes files")
    if path_fault(place) is not None:
        raise SinkError(f"{path}: leads to a place of the system's")
    os.makedirs(place, exist_ok=True)  # noqa: PTH103 - as above
    return os.open(place, _FOLDER | os.O_NOFOLLOW)

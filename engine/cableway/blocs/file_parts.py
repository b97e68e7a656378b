"""
The parts of a file source: plain files, gzip streams, and the members of zip archives, in one sorted list.

What a file is shows in its first bytes, not in its name. A member of an archive is a stream like any
other: nothing is unpacked to disk.
"""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from cableway.blocs.files import found_files, open_regular
from cableway.errors import SourceChangedError, SourceError

if TYPE_CHECKING:
    from zipfile import ZipFile

BLOCK_BYTES = 4 * 1024 * 1024
MOST_MEMBERS = 100_000
_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"


class ByteStream(Protocol):
    """Bytes, read forward."""

    def read(self, size: int, /) -> bytes:
        """At most *size* bytes; none at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """One file, or one *member* of an archive, as it was when it was looked at."""

    path: str
    size: int
    mtime_ns: int
    member: str | None = None

    @property
    def name(self) -> str:
        """Its name for messages."""
        return self.path if self.member is None else f"{self.path}!{self.member}"

    def as_json(self) -> dict[str, Any]:
        """As a plan holds it."""
        return {"path": self.path, "size": self.size, "mtime_ns": self.mtime_ns, "member": self.member}


class FileParts:
    """What *path* means below *root*, read part by part. *view* gives the bytes in which offsets count."""

    def __init__(self, path: str, root: str | None, view: Callable[[BinaryIO], ByteStream]) -> None:
        self._path = path
        self._root = root
        self._parts: list[Part] | None = None
        self._view = view
        self._trail: _Trail | None = None

    @property
    def parts(self) -> list[Part]:
        """All parts, sorted by file and member; the list stays as it was when first asked for."""
        if self._parts is None:
            self._parts = [part for path in found_files(self._path, root=self._root) for part in self._parts_of(path)]
        return self._parts

    def fix(self, plan: Sequence[Mapping[str, Any]]) -> None:
        """Read those that *plan* lists. Raise `SourceChangedError` where one has changed since."""
        parts = [Part(**part) for part in plan]
        for part in parts:
            with self._file(part.path) as file:
                _refuse_change(part, file)
        self._parts = parts

    @contextmanager
    def file(self, part: Part) -> Generator[OpenPart]:
        """The bytes of *part*, unpacked where they are packed. What cannot be read raises `SourceError` naming it."""
        with ExitStack() as stack, _named(part):
            file = stack.enter_context(self._file(part.path))
            _refuse_change(part, file)
            yield OpenPart(part, file, stack.enter_context(_unpacked(file, part)))

    def digest(self, part: Part, offset: int) -> str:
        """Of the first *offset* bytes of *part*, unpacked; a later offset goes on from where the last one ended."""
        if self._trail is None or self._trail.part != part or self._trail.offset > offset:
            self.let_go()
            self._trail = _Trail(part, self.file(part), self._view)
        return self._trail.digest(offset)

    def let_go(self) -> None:
        """Close what `digest` keeps open."""
        if self._trail is not None:
            self._trail.close()
            self._trail = None

    @contextmanager
    def _file(self, path: str) -> Generator[BinaryIO]:
        with open_regular(path, root=self._root) as file:
            yield file

    def _parts_of(self, path: str) -> list[Part]:
        with self._file(path) as file:
            state = os.fstat(file.fileno())
            if _begin(file) != _ZIP:
                return [Part(path, state.st_size, state.st_mtime_ns)]
            with _named(Part(path, 0, 0)):
                return [Part(path, state.st_size, state.st_mtime_ns, member) for member in _members(file)]


@dataclass(frozen=True, slots=True)
class OpenPart:
    """A part that is being read."""

    part: Part
    file: BinaryIO
    stream: BinaryIO
    """What it holds; *file* itself where it is not packed."""

    def refuse_change(self) -> None:
        """Raise `SourceChangedError` where somebody writes to it."""
        _refuse_change(self.part, self.file)


class _Trail:
    """The digest of a growing part of a stream."""

    def __init__(
        self, part: Part, opening: AbstractContextManager[OpenPart], view: Callable[[BinaryIO], ByteStream]
    ) -> None:
        self.part = part
        self.offset = 0
        with ExitStack() as stack:
            self._stream = view(stack.enter_context(opening).stream)
            self._stack = stack.pop_all()
        self._hash = blake2b(digest_size=16)

    def digest(self, offset: int) -> str:
        """Of everything before *offset*, which is not before the last one."""
        while self.offset < offset and (block := self._stream.read(min(BLOCK_BYTES, offset - self.offset))):
            self._hash.update(block)
            self.offset += len(block)
        return self._hash.hexdigest()

    def close(self) -> None:
        """Let go of the file."""
        self._stack.close()


def _refuse_change(part: Part, file: BinaryIO) -> None:
    now = os.fstat(file.fileno())
    if (now.st_size, now.st_mtime_ns) != (part.size, part.mtime_ns):
        raise SourceChangedError(
            f"{part.path} has changed since it was read: then {part.size} bytes of {part.mtime_ns} ns, now "
            f"{now.st_size} bytes of {now.st_mtime_ns} ns; write to another file and rename it when it is whole"
        )


def skip(stream: ByteStream, size: int) -> None:
    """Leave *size* bytes behind, by a jump where the stream can."""
    if isinstance(stream, io.FileIO):
        stream.seek(size, os.SEEK_CUR)
        return
    while size > 0 and (block := stream.read(min(BLOCK_BYTES, size))):
        size -= len(block)


def _begin(file: BinaryIO) -> bytes:
    begin = file.read(4)
    file.seek(0)
    return begin[:2] if begin[:2] == _GZIP else begin


def _members(file: BinaryIO) -> list[str]:
    from zipfile import ZipFile

    with ZipFile(file) as archive:
        members = [info for info in archive.infolist() if not info.is_dir()]
    if len(members) > MOST_MEMBERS:
        raise SourceError(f"holds more than {MOST_MEMBERS} files")
    if any(info.flag_bits & 1 for info in members):
        raise SourceError("is encrypted; unpack it before")
    return sorted(info.filename for info in members)


@contextmanager
def _unpacked(file: BinaryIO, part: Part) -> Generator[BinaryIO]:
    if part.member is not None:
        from zipfile import ZipFile

        with ZipFile(file) as archive, _member(archive, part.member) as member:
            yield member
    elif _begin(file) == _GZIP:
        from gzip import GzipFile

        with GzipFile(fileobj=file) as unpacked:
            yield cast("BinaryIO", unpacked)
    else:
        yield file


def _member(archive: ZipFile, name: str) -> BinaryIO:
    try:
        return cast("BinaryIO", archive.open(name))
    except (KeyError, NotImplementedError, RuntimeError) as error:
        raise SourceError(f"cannot be unpacked ({type(error).__name__})") from None


@contextmanager
def _named(part: Part) -> Generator[None]:
    """Begin the message of a `SourceError` with the file; what is wrong with an archive is one too."""
    try:
        yield
    except SourceError as error:
        text = str(error)
        raise type(error)(text if text.startswith(part.path) else f"{part.name}: {text}") from None
    except (EOFError, OSError, zlib.error) as error:
        raise SourceError(f"{part.name}: cannot be read to its end ({type(error).__name__})") from None
    except Exception as error:
        if type(error).__name__ == "BadZipFile":  # its module is loaded for archives alone
            raise SourceError(f"{part.name}: is no whole zip archive") from None
        raise

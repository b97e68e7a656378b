"""Objects read as files are: one at a time is fetched to a temporary file, whole or not at all."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

from cableway.blocs.file_parts import ByteStream, FileParts, Part
from cableway.blocs.files import is_pattern
from cableway.blocs.s3.connection import faults
from cableway.errors import ObjectStoreError, ResourceError, SourceChangedError, SourceError

MOST_OBJECTS = 100_000
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Version:
    """An object as it was when it was looked at: its name in plans and messages holds its ETag."""

    bucket: str
    key: str
    etag: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}#{self.etag}"

    @classmethod
    def of(cls, name: str) -> Version:
        """From its name."""
        place, _, etag = name.removeprefix("s3://").rpartition("#")
        bucket, _, key = place.partition("/")
        return cls(bucket, key, etag)


class ObjectParts(FileParts):
    """The objects of *bucket* that *key* means: one, all below a ``prefix/``, or those that a pattern matches."""

    def __init__(self, store: Any, bucket: str, key: str, view: Callable[[BinaryIO], ByteStream]) -> None:
        super().__init__(key, None, view)
        self._store = store
        self._bucket = bucket
        self._key = key
        self._fetched: tuple[str, str] | None = None

    @property
    def parts(self) -> list[Part]:
        """All of them, sorted by key; the list stays as it was when first asked for."""
        if self._parts is None:
            self._parts = [part for found in self._found() for part in self._members(found)]
        return self._parts

    def fix(self, plan: Sequence[Mapping[str, Any]]) -> None:
        """Read those that *plan* lists. Raise `SourceChangedError` where one has changed since."""
        parts = [Part(**part) for part in plan]
        for name in dict.fromkeys(part.path for part in parts):
            self._refuse_change(Version.of(name))
        self._parts = parts

    def digest(self, part: Part, offset: int) -> str:
        """The ETag: it stands for all of the content."""
        return Version.of(part.path).etag

    def let_go(self) -> None:
        """Remove what was fetched last."""
        super().let_go()
        if self._fetched is not None:
            with suppress(FileNotFoundError):
                os.unlink(self._fetched[1])  # noqa: PTH108 - as the files that it stands for are opened
            self._fetched = None

    @contextmanager
    def _file(self, path: str) -> Generator[BinaryIO]:
        if self._fetched is None or self._fetched[0] != path:
            self.let_go()
            self._fetched = (path, self._fetch(path))
        with open(self._fetched[1], "rb", buffering=0) as file:  # noqa: PTH123 - as above
            yield file

    def _fetch(self, path: str) -> str:
        """A temporary file with the content of the object's version, and with the object's own time."""
        version = Version.of(path)
        handle, name = tempfile.mkstemp(prefix="cableway-s3-")
        whole = False
        try:
            with os.fdopen(handle, "wb") as file, faults(path):
                answer = self._store.get_object(Bucket=version.bucket, Key=version.key, IfMatch=f'"{version.etag}"')
                for block in answer["Body"].iter_chunks(_BLOCK_BYTES):
                    _write(file, block, path)
                size = file.tell()
            if size != answer["ContentLength"]:
                raise ObjectStoreError("was not sent whole", place=path, reason="truncated")
            os.utime(name, ns=(0, _time_ns(answer["LastModified"])))
            whole = True
        finally:
            if not whole:
                os.unlink(name)  # noqa: PTH108 - as above
        return name

    def _found(self) -> list[Part]:
        place = f"s3://{self._bucket}/{self._key}"
        with faults(place):
            if not is_pattern(self._key) and not self._key.endswith("/"):
                answer = self._store.head_object(Bucket=self._bucket, Key=self._key)
                return [self._part(self._key, answer["ETag"], answer["ContentLength"], answer["LastModified"])]
            found = self._listed()
        if not found:
            raise SourceError(f"{place}: no object is there or matches; check bucket and key")
        return found

    def _listed(self) -> list[Part]:
        prefix = re.split(r"[*?\[]", self._key, maxsplit=1)[0]
        wanted = re.compile(
            _expression(self._key) if is_pattern(self._key) else f"{re.escape(self._key)}.*[^/]", re.DOTALL
        )
        found: list[Part] = []
        for page in self._store.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
            found += [
                self._part(entry["Key"], entry["ETag"], entry["Size"], entry["LastModified"])
                for entry in page.get("Contents", ())
                if wanted.fullmatch(entry["Key"])
            ]
            if len(found) > MOST_OBJECTS:
                raise SourceError(f"s3://{self._bucket}/{self._key}: more than {MOST_OBJECTS} objects; narrow it")
        return sorted(found, key=lambda part: part.path)

    def _members(self, found: Part) -> list[Part]:
        """Only an archive has several, and only by its name one knows before it is fetched."""
        return self._parts_of(found.path) if Version.of(found.path).key.lower().endswith(".zip") else [found]

    def _part(self, key: str, etag: str, size: int, changed: datetime) -> Part:
        return Part(str(Version(self._bucket, key, etag.strip('"'))), size, _time_ns(changed))

    def _refuse_change(self, version: Version) -> None:
        place = f"s3://{version.bucket}/{version.key}"
        with faults(place):
            now = self._store.head_object(Bucket=version.bucket, Key=version.key)["ETag"].strip('"')
        if now != version.etag:
            raise SourceChangedError(f"{place} has changed since it was read: then ETag {version.etag}, now {now}")


def _write(file: BinaryIO, block: bytes, path: str) -> None:
    try:
        file.write(block)
    except OSError as error:
        raise ResourceError(f"{path}: no room for it in {tempfile.gettempdir()}: {error.strerror}") from None


def _expression(pattern: str) -> str:
    """A regular expression for a pattern: ``**`` stands for anything, ``*`` and ``?`` for anything but a slash."""
    made: list[str] = []
    for part in re.findall(r"\*\*/?|\*|\?|\[[^\]]+\]|[^*?\[]+|\[", pattern):
        match part:
            case "**" | "**/":
                made.append(".*" if part == "**" else "(?:.*/)?")
            case "*":
                made.append("[^/]*")
            case "?":
                made.append("[^/]")
            case _ if len(part) > 2 and part.startswith("["):
                inside = part[1:-1].replace("\\", "\\\\")
                made.append(f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]")
            case _:
                made.append(re.escape(part))
    return "".join(made)


def _time_ns(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000_000

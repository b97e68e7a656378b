"""Payloads that are too large for a dead letter's row: each a file of its own, in a folder or a bucket."""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from cableway.errors import CablewayError, SourceError
from cableway.redaction import redacted_json

if TYPE_CHECKING:
    from cableway.settings import HttpSettings
    from cableway.store.port import DeadLetter

log = logging.getLogger("cableway.job")

MOST_BYTES = 1024 * 1024 * 1024
"""Bytes above which a payload is not read any more."""


class PayloadFolder:
    """The folder that *where* names: ``file:/path`` or ``s3://bucket/prefix``."""

    def __init__(self, where: str, http: HttpSettings | None = None) -> None:
        self._where = where.rstrip("/")
        self._http = http

    def keep(self, run_id: str, letter: DeadLetter) -> DeadLetter:
        """*letter* with the place where its payload is now; without one where it could not be written."""
        if letter.overflow is None:
            return letter
        text, frames = letter.overflow()
        if text is None:
            return replace(letter, overflow=None)
        unit = f"{letter.stage}\n{letter.bloc}\n{letter.item_id}"
        place = f"{self._where}/{run_id}/{sha256(unit.encode()).hexdigest()[:32]}.json"
        data = json.dumps(redacted_json(json.loads(text))).encode()
        try:
            if place.startswith("s3:"):
                self._put(place, data)
            else:
                _write(_path_of(place), data)
        except (OSError, CablewayError) as error:
            log.warning("the payload of item %s could not be kept at %s: %s", letter.item_id, place, error)
            return replace(letter, overflow=None)
        return replace(letter, overflow=None, payload_at=place, payload_bytes=len(data), frames=frames)

    def read(self, place: str) -> Any:
        """The payload at *place*. Raise `SourceError` where it is not there, or not below this folder."""
        if not place.startswith(f"{self._where}/") or ".." in place:
            raise SourceError(f"the payload {place!r} is not below {self._where!r}: set CABLEWAY_PAYLOADS as it was")
        try:
            data = self._get(place) if place.startswith("s3:") else _path_of(place).read_bytes()
        except OSError as error:
            raise SourceError(f"the payload {place!r} cannot be read: {os.strerror(error.errno or 0)}") from error
        return json.loads(data)

    def _put(self, place: str, data: bytes) -> None:
        from cableway.blocs.s3.connection import StoreAccess, connect, faults

        address = urlsplit(place)
        with faults(place):
            store = connect(StoreAccess(), self._http)
            store.put_object(Bucket=address.netloc, Key=address.path.lstrip("/"), Body=data)

    def _get(self, place: str) -> bytes:
        from cableway.blocs.s3.connection import StoreAccess, connect, faults

        address = urlsplit(place)
        with faults(place):
            store = connect(StoreAccess(), self._http)
            found = store.get_object(Bucket=address.netloc, Key=address.path.lstrip("/"))
            return bytes(found["Body"].read(MOST_BYTES))


def _path_of(place: str) -> Path:
    return Path(unquote(urlsplit(place).path))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_suffix(f".{os.getpid()}")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()

"""Objects that appear whole or not at all: in one request, or in parts that are put together at the end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from cableway.blocs.s3.connection import faults
from cableway.errors import ObjectStoreError

PART_BYTES = 8 * 1024 * 1024
"""Bytes of a part; the store takes none smaller than 5 MiB but the last."""
_MOST_PARTS = 10_000


class Upload:
    """One object of *bucket* on its way; nobody sees it before `finish`."""

    def __init__(self, store: Any, bucket: str, key: str, content_type: str, part_bytes: int = PART_BYTES) -> None:
        self._store = store
        self._target = {"Bucket": bucket, "Key": key}
        self._content_type = content_type
        self._part_bytes = part_bytes
        self._held = bytearray()
        self._id: str | None = None
        self._parts: list[dict[str, Any]] = []
        self._broken = False
        self.place = f"s3://{bucket}/{key}"

    def write(self, data: bytes) -> None:
        """Take *data*, and send what makes a part. Raise `ObjectStoreError`; nothing can be written after that."""
        if self._broken:
            raise ObjectStoreError("an earlier part of it could not be sent", place=self.place, reason="truncated")
        self._held += data
        while len(self._held) >= self._size():
            self._send(bytes(self._held[: self._size()]))
            del self._held[: self._size()]

    def finish(self) -> None:
        """Make it appear, in place of one that was there. Raise `ObjectStoreError`; then nothing has changed."""
        if self._broken:
            raise ObjectStoreError("a part of it could not be sent", place=self.place, reason="truncated")
        if self._id is None:
            with faults(self.place):
                self._store.put_object(**self._target, Body=bytes(self._held), ContentType=self._content_type)
            return
        if self._held:
            self._send(bytes(self._held))
        with faults(self.place):
            self._store.complete_multipart_upload(
                **self._target, UploadId=self._id, MultipartUpload={"Parts": self._parts}
            )

    def abort(self) -> None:
        """Remove what was sent of it. A store that does not answer keeps the parts until the next `sweep`."""
        upload, self._id = self._id, None
        self._broken = True
        if upload is not None:
            with suppress(ObjectStoreError), faults(self.place):
                self._store.abort_multipart_upload(**self._target, UploadId=upload)

    def _send(self, data: bytes) -> None:
        if len(self._parts) >= _MOST_PARTS:
            self._broken = True
            raise ObjectStoreError("has too many parts; raise part_mib", place=self.place, reason="refused")
        try:
            with faults(self.place):
                if self._id is None:
                    made = self._store.create_multipart_upload(**self._target, ContentType=self._content_type)
                    self._id = str(made["UploadId"])
                number = len(self._parts) + 1
                sent = self._store.upload_part(**self._target, UploadId=self._id, PartNumber=number, Body=data)
        except Exception:
            self._broken = True
            raise
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})

    def _size(self) -> int:
        """Parts grow with their number, since there may be only so many."""
        return self._part_bytes * (1 + len(self._parts) * 8 // _MOST_PARTS)


def sweep(store: Any, bucket: str, prefix: str, left_after: Callable[[str], timedelta | None]) -> int:
    """Remove the parts below *prefix* that somebody left behind; how many uploads there were.

    *left_after* says of a key how old an upload must be that nobody is at work on (no time: of any age); None: the key
    is none of ours.
    """
    swept, now = 0, datetime.now(UTC)
    with faults(f"s3://{bucket}/{prefix}"):
        pages = store.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix)
        for upload in [upload for page in pages for upload in page.get("Uploads", ())]:
            age = left_after(upload["Key"])
            # The store's clock may be ahead of ours.
            if age is not None and (not age or now - upload["Initiated"] >= age):
                store.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
                swept += 1
    return swept

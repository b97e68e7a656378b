"""``s3_exporter``: writes tables to an S3 store, as objects that appear whole or not at all."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal
from urllib.parse import quote

from annotated_types import Ge, Le, MinLen

from cableway.blocs.kinds import Ending, ExporterBloc, Frames, Resources
from cableway.blocs.s3.connection import StoreAccess, access_faults, connect
from cableway.blocs.tables import library, to_arrow
from cableway.context import RunContext, RunFacts
from cableway.definition import JsonObject
from cableway.references import is_reference

if TYPE_CHECKING:
    from cableway.blocs.s3.formats import Writing
    from cableway.blocs.s3.uploads import Upload

log = logging.getLogger("cableway.blocs.s3_exporter")

_PLACE = re.compile(r"\{(\w*)\}")
_PLACES = ("pipeline", "line", "run_id", "scheduled_at", "item")
_TYPES = {"csv": "text/csv", "jsonl": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}
_LEFT_BEHIND = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class S3ExporterConfig:
    """Where objects go, and how they are written."""

    bucket: Annotated[str, MinLen(3)]
    """The bucket."""
    key: Annotated[str, MinLen(1)]
    """The object's key. It knows `{pipeline}`, `{line}` (the run with all its attempts), `{run_id}`,
    `{scheduled_at}` and `{item}`. With `{item}` each item is an object; without it the run is one, that appears when
    the run succeeds."""
    format: Literal["csv", "jsonl", "parquet"] = "parquet"
    """How they are written."""
    compression: Literal["none", "gzip", "snappy", "zstd"] | None = None
    """`none` or `gzip` for csv and jsonl, any for parquet; unset: none, and zstd for parquet."""
    part_mib: Annotated[int, Ge(5), Le(5000)] = 8
    """MiB of a part of a large object; so much is held in memory for each object that is being written."""
    access: StoreAccess = field(default_factory=StoreAccess)
    """Which store, and who we are to it."""
    source_bloc: str | None = None
    """The bloc whose data is written; unset: the one of the previous stage."""


class S3ExporterBloc(ExporterBloc):
    """Delivers at least once, under keys that every attempt makes alike: what is written again takes its own place.

    Parts that a killed attempt left behind are removed when the next one opens, those of other runs after a day.
    """

    bloc_type = "s3_exporter"
    summary = "Writes CSV, JSON lines or Parquet objects to an S3 store."
    Config = S3ExporterConfig
    example: ClassVar[Mapping[str, Any]] = {"bucket": "reports", "key": "daily/{line}/{item}.parquet"}
    lanes: ClassVar[tuple[str, ...]] = ("thread",)
    frames: ClassVar[Frames | None] = "arrow"

    config: S3ExporterConfig

    def __init__(self, name: str, config: S3ExporterConfig) -> None:
        super().__init__(name, config)
        self._resources = Resources()
        self._store: Any = None
        self._lock = threading.Lock()
        self._whole: tuple[Upload, Writing] | None = None
        self._objects = 0
        self._begun = False
        self._target = f"s3://{config.bucket}/{config.key}"

    @classmethod
    def faults(cls, config: S3ExporterConfig) -> Iterable[tuple[str, str]]:
        """A key with places that nothing is known for, a compression that the format does not have."""
        yield from access_faults(config.access)
        if not is_reference(config.key):
            for name in _PLACE.findall(config.key):
                if name not in _PLACES:
                    yield "key", f"knows no place {{{name}}}; known are {', '.join(_PLACES)}"
            if config.key.startswith("/") or config.key.endswith("/"):
                yield "key", "must not begin or end with a slash"
        if config.format != "parquet" and config.compression in {"snappy", "zstd"}:
            yield "compression", f"is none that {config.format} is packed with; choose none or gzip"

    @classmethod
    def sole_target(cls, config: S3ExporterConfig) -> str | None:
        """The one object of a run without ``{item}``; others share."""
        return None if "{item}" in config.key else f"s3://{config.bucket}/{config.key}"

    def bind(self, resources: Resources) -> None:
        """Connect where the job may."""
        self._resources = resources

    def open(self, context: RunContext) -> None:
        """Connect, and remove what killed attempts left. Raise `ObjectStoreError` where the bucket may not be used."""
        from cableway.blocs.s3.formats import writing
        from cableway.blocs.s3.uploads import Upload

        library("pyarrow")
        self._store = connect(self.config.access, self._resources.http)
        self._sweep(context.facts)
        if not self._by_item:
            key = self._key(context.facts, "")
            upload = Upload(self._store, self.config.bucket, key, self._type, self._part_bytes)
            self._target = upload.place
            self._whole = upload, writing(self.config.format, self._compression, f"bloc {self.name!r}")

    def export(self, context: RunContext) -> int:
        """Write the item. Raise `ObjectStoreError` or `RowError` where that cannot be done."""
        table = to_arrow(context.input(), f"bloc {self.name!r}")
        if self._by_item:
            self._write_object(table, context)
            return int(table.num_rows)
        with self._lock:
            if self._whole is not None:
                upload, making = self._whole
                upload.write(making.add(table))
                self._begun = True
        return int(table.num_rows)

    def close(self, ending: Ending) -> None:
        """Let the one object of the run appear, or remove it."""
        whole, self._whole = self._whole, None
        if whole is None:
            return
        upload, making = whole
        done = False
        try:
            if ending.commits and self._begun:
                upload.write(making.end())
                upload.finish()
                done = True
                self._objects = 1
        finally:
            if not done:
                upload.abort()

    def outputs(self) -> JsonObject:
        """How many objects there are now, and where."""
        return {"objects": self._objects, "target": self._target}

    def _write_object(self, table: Any, context: RunContext) -> None:
        from cableway.blocs.s3.formats import writing
        from cableway.blocs.s3.uploads import Upload

        key = self._key(context.facts, context.item_id)
        making = writing(self.config.format, self._compression, f"bloc {self.name!r}")
        upload = Upload(self._store, self.config.bucket, key, self._type, self._part_bytes)
        done = False
        try:
            upload.write(making.add(table))
            upload.write(making.end())
            upload.finish()
            done = True
        finally:
            if not done:
                upload.abort()
        with self._lock:
            self._objects += 1

    def _sweep(self, facts: RunFacts) -> None:
        from cableway.blocs.s3.uploads import sweep

        ours = _expression(self.config.key, {name: re.escape(text) for name, text in self._known(facts).items()})
        anybodys = _expression(self.config.key, {})
        # Under a key that other runs share, a young upload may be one that is at work.
        shared = self._by_item and not any(place in self.config.key for place in ("{line}", "{run_id}"))

        def left_after(key: str) -> timedelta | None:
            if ours.fullmatch(key):
                return _LEFT_BEHIND if shared else timedelta(0)
            return _LEFT_BEHIND if anybodys.fullmatch(key) else None

        prefix = self.config.key.partition("{")[0]
        swept = sweep(self._store, self.config.bucket, prefix, left_after)
        if swept:
            log.warning("bloc %r: removed %d uploads that were left behind below %s", self.name, swept, prefix)

    def _key(self, facts: RunFacts, item: str) -> str:
        known = {**self._known(facts), "item": quote(item, safe=".-_").replace("%3A", "-")}
        return _PLACE.sub(lambda match: known.get(match[1], match[0]), self.config.key)

    def _known(self, facts: RunFacts) -> dict[str, str]:
        values = {
            "pipeline": facts.pipeline,
            "line": facts.line or facts.run_id,
            "run_id": facts.run_id,
            "scheduled_at": facts.scheduled_at or "",
        }
        return {name: quote(value, safe=":.@-_") for name, value in values.items()}

    @property
    def _by_item(self) -> bool:
        return "{item}" in self.config.key

    @property
    def _type(self) -> str:
        return (
            "application/gzip"
            if self._compression == "gzip" and self.config.format != "parquet"
            else _TYPES[self.config.format]
        )

    @property
    def _part_bytes(self) -> int:
        return self.config.part_mib * 1024 * 1024

    @property
    def _compression(self) -> Literal["none", "gzip", "snappy", "zstd"]:
        return self.config.compression or ("zstd" if self.config.format == "parquet" else "none")


def _expression(key: str, known: Mapping[str, str]) -> re.Pattern[str]:
    """What matches the keys of this form: each place by what is *known* of it, else by any name."""
    texts, places = _PLACE.split(key)[::2], _PLACE.findall(key)
    made = [known.get(name, "[^/]+") for name in places]
    return re.compile("".join(re.escape(text) + place for text, place in zip(texts, [*made, ""], strict=True)))

"""``s3_loader``: objects of an S3 store as tables, in every form that files are read in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge, MinLen

from cableway.blocs.incremental import Incremental, incremental_of
from cableway.blocs.kinds import Ending, LoaderBloc, Resources
from cableway.blocs.s3.connection import StoreAccess, access_faults, connect
from cableway.blocs.tables import library
from cableway.context import RunContext
from cableway.definition import JsonObject

if TYPE_CHECKING:
    from cableway.blocs.file_loader import FileLoaderBloc

_READERS = {
    "csv": "cableway.blocs.csv_files.loader:CsvLoaderBloc",
    "jsonl": "cableway.blocs.jsonl_loader:JsonlLoaderBloc",
    "parquet": "cableway.blocs.parquet_loader:ParquetLoaderBloc",
}
_OWN = ("file_path", "batch_size", "incremental")


@dataclass(frozen=True, slots=True, kw_only=True)
class S3LoaderConfig:
    """Which objects, and how they are written."""

    bucket: Annotated[str, MinLen(3)]
    """The bucket."""
    key: Annotated[str, MinLen(1)]
    """The object, a pattern (`sales/*.csv`, `sales/**/*.csv`), or, with a slash at its end, all below it."""
    format: Literal["csv", "jsonl", "parquet"] = "csv"
    """How they are written. gzip, and zip by its name, are unpacked on the way."""
    batch_size: Annotated[int, Ge(1)] | None = None
    """Rows in an item; unset: one item holds everything."""
    incremental: Incremental | None = None
    """Load only rows that are new since the last run. The objects are read all the same, those that have come since
    included."""
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    """More about the format: the keys of `csv_loader`, `jsonl_loader` or `parquet_loader`."""
    access: StoreAccess = field(default_factory=StoreAccess)
    """Which store, and who we are to it."""


class S3LoaderBloc(LoaderBloc):
    """Can begin again at a position, as the loaders of files; what shows a change is the object's ETag.

    One object at a time is fetched to a temporary file, whose place must have room for it.
    """

    bloc_type = "s3_loader"
    summary = "Loads objects of an S3 store: CSV, JSON lines or Parquet."
    Config = S3LoaderConfig
    example: ClassVar[Mapping[str, Any]] = {"bucket": "sales", "key": "2026/**/*.csv.gz", "batch_size": 10000}
    lanes = ("thread",)
    repeatable = True

    config: S3LoaderConfig

    def __init__(self, name: str, config: S3LoaderConfig) -> None:
        super().__init__(name, config)
        self._resources = Resources()
        self._reader: FileLoaderBloc | None = None

    @classmethod
    def faults(cls, config: S3LoaderConfig) -> Iterable[tuple[str, str]]:
        """An access that is incomplete, options that the format does not know."""
        from cableway.definitions.configs import adapter_of, config_faults

        yield from access_faults(config.access)
        if (incremental := incremental_of(config)) is not None:
            yield from incremental.faults()
        for name in _OWN:
            if name in config.options:
                yield f"options/{name}", "is said beside the options"
                return
        reader = _reader_type(config.format)
        given = {**config.options, "file_path": "object", "batch_size": config.batch_size}
        made, found = config_faults(adapter_of(reader.Config), given)
        for fault in found:
            yield f"options{fault.pointer}", fault.message
        for place, message in reader.faults(made) if made is not None else ():
            yield f"options/{place}", message

    def bind(self, resources: Resources) -> None:
        """Connect where the job may."""
        self._resources = resources

    def open(self, context: RunContext) -> None:
        """Connect, and see that the objects are there. Raise `ObjectStoreError` saying why they cannot be read."""
        from cableway.blocs.s3.objects import ObjectParts

        config = self.config
        kind = _reader_type(config.format)
        own = {"file_path": "object", "batch_size": config.batch_size, "incremental": incremental_of(config)}
        made: Any = kind.Config(**config.options, **own)
        reader: FileLoaderBloc = kind(self.name, made)
        for needed in reader.needs:
            library(needed)
        store = connect(config.access, self._resources.http)
        parts = ObjectParts(store, config.bucket, config.key, reader.view)
        reader.read_from(parts)
        self._reader = reader
        _ = parts.parts

    def close(self, ending: Ending) -> None:
        """Remove what was fetched."""
        if self._reader is not None:
            self._reader.close(ending)

    def load(self, context: RunContext) -> Any:
        """As the loader of such files; errors name the object with its ETag."""
        return self.reader.load(context)

    def plan(self, context: RunContext, state: Mapping[str, Any]) -> JsonObject:
        """The objects as they are now."""
        return self.reader.plan(context, state)

    def follow(self, plan: Mapping[str, Any], reached: Mapping[str, Any]) -> None:
        """Load the objects that *plan* lists. Raise `SourceChangedError` where one has changed."""
        self.reader.follow(plan, reached)

    def reached(self) -> JsonObject:
        """How far the rows were new."""
        return self.reader.reached()

    def fingerprint(self, position: str) -> JsonObject:
        """The object's name with its ETag, its size and its time."""
        return self.reader.fingerprint(position)

    def resume(self, position: str, fingerprint: Mapping[str, Any]) -> None:
        """Begin with the item at *position* if its object is still the same."""
        self.reader.resume(position, fingerprint)

    @property
    def reader(self) -> FileLoaderBloc:
        """What reads the objects, once the bloc is open."""
        if self._reader is None:
            raise RuntimeError(f"bloc {self.name!r} is not open")
        return self._reader


def _reader_type(name: str) -> type[FileLoaderBloc]:
    module, _, kind = _READERS[name].partition(":")
    found: type[FileLoaderBloc] = getattr(import_module(module), kind)
    return found

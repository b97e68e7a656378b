"""What exporters to files have in common: one file for the run, or one for each item."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol
from urllib.parse import quote

from annotated_types import MinLen

from cableway.blocs.file_target import FileTarget, Writers, said_anew, target_fault
from cableway.blocs.kinds import Ending, ExporterBloc, Resources
from cableway.blocs.tables import aligned, library, to_arrow
from cableway.context import RunContext
from cableway.errors import SinkError
from cableway.references import is_reference

if TYPE_CHECKING:
    from typing import BinaryIO

    from cableway.definition import JsonObject

ITEM, RUN, OUTPUT = "{item}", "{run_id}", "{output_dir}/"
Compression = Literal["auto", "none", "gzip", "zstd"]
"""Of files of text."""
_BY_SUFFIX = {".gz": "gzip", ".zst": "zstd"}
_SAFE = " ,=@+"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileExporterConfig:
    """What each of them wants to know; theirs say how the file is written besides."""

    file_path: Annotated[str, MinLen(1)]
    """The file, relative to the job's folder for files, else to its working directory. ``{item}`` in it stands for the
    item, each of which has a file of its own then; ``{run_id}`` for the run; it may begin with ``{output_dir}/``."""
    source_bloc: str | None = None
    """The bloc whose data is exported; unset: the one of the previous stage."""
    if_exists: Literal["replace", "fail"] = "replace"
    """What to do when the file exists."""


class Encoder(Protocol):
    """Turns tables into the bytes of one file."""

    def write(self, table: Any) -> None:
        """Append the rows of the Arrow *table*. Raise `SinkError` where they do not fit those before."""
        ...

    def finish(self) -> None:
        """Write what comes last."""
        ...

    def give_up(self) -> None:
        """Write nothing any more, for the file is gone. After `finish` nothing happens."""
        ...


class FileExporter(ExporterBloc):
    """Writes one file: all items of the run, or with ``{item}`` in its path each item by itself.

    At least once: an attempt that is taken up again writes the same file again under the same name. The whole
    run's file is there when the run succeeded, and an item's when it was written.
    """

    lanes = ("thread",)
    frames = None

    config: Any

    def __init__(self, name: str, config: FileExporterConfig) -> None:
        super().__init__(name, config)
        self._root: str | None = None
        self._writers = Writers(line="", bloc=name, token=0)
        self._path = config.file_path
        self._turn = threading.Lock()
        self._target: FileTarget | None = None
        self._encoder: Encoder | None = None
        self._broken: Exception | None = None

    @classmethod
    def faults(cls, config: Any) -> Iterable[tuple[str, str]]:
        """A path that leads nowhere good."""
        path = config.file_path.replace(OUTPUT, "")
        if not is_reference(path) and (reason := target_fault(path)):
            yield "file_path", reason

    @classmethod
    def sole_target(cls, config: FileExporterConfig) -> str | None:
        """The file, where it holds the whole run."""
        return None if ITEM in config.file_path else f"file {config.file_path}"

    @abstractmethod
    def encoder(self, file: BinaryIO) -> Encoder:
        """What writes tables to *file*."""

    def rows_of(self, value: Any) -> Any:
        """What the encoder is given for *value*: an Arrow table."""
        return to_arrow(value, f"bloc {self.name!r}")

    def bind(self, resources: Resources) -> None:
        """Stay below the job's root."""
        self._root = resources.root

    def open(self, context: RunContext) -> None:
        """Begin the run's file. Raise `SinkError` where it cannot be written, `ResourceError` for a full disk."""
        library("pyarrow")
        facts = context.facts
        self._writers = Writers(line=facts.line or facts.run_id, bloc=self.name, token=facts.lease_token)
        path = self.config.file_path.replace(RUN, facts.run_id)
        if path.startswith(OUTPUT):
            if facts.output_dir is None:
                raise SinkError(f"bloc {self.name!r}: the job has no output_dir; set PIPELINES_LOGS_DIR")
            self._root, path = facts.output_dir, path.removeprefix(OUTPUT)
        self._path = path
        if ITEM not in path:
            self._target = self._begun(path)
            self._encoder = self.encoder(self._target.file)

    def export(self, context: RunContext) -> int:
        """Write this item's rows and return how many."""
        source = self.config.source_bloc
        value = context.get_data(source) if source is not None else context.input()
        if value is None:
            return 0
        table = self.rows_of(value)
        if ITEM in self._path:
            self._write_item(context.item_id, table)
        else:
            self._write_on(table)
        return int(table.num_rows)

    def close(self, ending: Ending) -> None:
        """Let the run's file be there where the run's work is kept, and leave nothing otherwise."""
        target, encoder = self._target, self._encoder
        self._target = self._encoder = None
        if target is None or encoder is None:
            return
        try:
            if ending.commits:
                if self._broken is not None:
                    raise self._broken
                with said_anew(target.path):
                    encoder.finish()
                target.commit()
        finally:
            encoder.give_up()
            target.discard()

    def outputs(self) -> JsonObject:
        """Where the file is."""
        return {"file": self._path}

    def _write_on(self, table: Any) -> None:
        with self._turn:
            if self._target is None or self._encoder is None:
                raise SinkError(f"bloc {self.name!r} was not opened")
            if self._broken is not None:
                raise self._broken
            try:
                with said_anew(self._target.path):
                    self._encoder.write(table)
            except UnfitError:
                raise
            except Exception as error:
                self._broken = error  # what is in the file now nobody knows
                raise

    def _write_item(self, item: str, table: Any) -> None:
        target = self._begun(self._path.replace(ITEM, file_name(item)))
        encoder = self.encoder(target.file)
        try:
            with said_anew(target.path):
                encoder.write(table)
                encoder.finish()
            target.commit()
        finally:
            encoder.give_up()
            target.discard()

    def _begun(self, path: str) -> FileTarget:
        return FileTarget(path, self._writers, root=self._root, replace=self.config.if_exists == "replace")


class UnfitError(SinkError):
    """Rows that do not fit those which are in the file already; nothing of them was written."""


def file_name(item: str) -> str:
    """An item's id as a part of a file's name."""
    return quote(item, safe=_SAFE).replace("%3A", "-").replace("%2A", "start")


def same_columns(table: Any, schema: Any, where: str) -> Any:
    """The rows of *table* with the columns of *schema*. Raise `UnfitError` naming what differs."""
    try:
        return aligned(table, schema)
    except ValueError as misfit:
        raise UnfitError(f"{where}: {misfit}") from None


def compression_of(path: str, wish: Compression) -> str | None:
    """How a file at *path* is compressed; None: not at all."""
    if wish == "auto":
        return next((kind for suffix, kind in _BY_SUFFIX.items() if path.endswith(suffix)), None)
    return None if wish == "none" else wish

"""Pipeline documents in a file or a folder, all read and checked before anything comes of one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cableway.checks import check_document
from cableway.definitions.documents import MAX_BYTES, read_document
from cableway.errors import DefinitionError, Fault

if TYPE_CHECKING:
    from cableway.catalog import Catalog
    from cableway.definition import BlocDefinition, PipelineDefinition

SUFFIXES = (".yaml", ".yml", ".json", ".toml")


@dataclass(frozen=True, slots=True)
class Checked:
    """A document without a fault."""

    path: Path
    document: Mapping[str, Any]
    definition: PipelineDefinition


def checked_documents(
    path: Path,
    catalog: Catalog,
    blocs: Mapping[str, BlocDefinition] | None = None,
    *,
    skip: Callable[[Path], object] = lambda _: None,
) -> list[Checked]:
    """The document at *path*, or every one in the folder *path* and below, by file name.

    In a folder a file counts as a pipeline when it has ``stages``; *skip* is told of those that only speak of
    them. Raise
    `DefinitionError` with the faults of all of them, each pointer beginning with the file's name where there are
    several files, and where two have the same name or there is none at all.
    """
    if not path.is_dir():
        document = read_document(path)
        return [Checked(path, document, check_document(document, catalog=catalog, blocs=blocs))]
    faulty: list[tuple[Path, DefinitionError]] = []
    found: list[Checked] = []
    for file in _files(path):
        try:
            if not _speaks_of_stages(file):
                continue
            document = read_document(file)
            if "stages" not in document:
                skip(file)
                continue
            found.append(Checked(file, document, check_document(document, catalog=catalog, blocs=blocs)))
        except DefinitionError as error:
            faulty.append((file, error))
    if faulty:
        raise _together(faulty)
    if not found:
        raise DefinitionError(f"{path}: no pipeline document in this folder; one has `name:` and `stages:`")
    _refuse_same_names(found)
    return found


def _files(folder: Path) -> Iterator[Path]:
    """Every file that can hold a document; hidden folders and environments are left out."""
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or entry.is_symlink():
            continue
        if entry.is_dir():
            if not (entry / "pyvenv.cfg").exists() and entry.name != "node_modules":
                yield from _files(entry)
        elif entry.suffix.lower() in SUFFIXES:
            yield entry


def _speaks_of_stages(file: Path) -> bool:
    """Whether it may hold a pipeline at all; what does not may be anything, such as a run's data."""
    try:
        with file.open("rb") as opened:
            return b"stages" in opened.read(MAX_BYTES)
    except OSError:
        return True  # whoever reads it whole says why that does not work


def _together(faulty: list[tuple[Path, DefinitionError]]) -> DefinitionError:
    faults: list[Fault] = []
    for file, error in faulty:
        if error.faults:
            faults += [replace(fault, pointer=f"{file}#{fault.pointer}") for fault in error.faults]
        else:
            faults.append(Fault(f"{file}#", "unreadable", str(error).removeprefix(f"{file}: ")))
    return DefinitionError(f"{len(faulty)} of the files are faulty", faults)


def _refuse_same_names(found: list[Checked]) -> None:
    first: dict[str, Path] = {}
    faults: list[Fault] = []
    for each in found:
        name = each.definition.name
        if name in first:
            faults.append(Fault(f"{each.path}#/name", "taken", f"{first[name]} has the name {name!r} already"))
        first.setdefault(name, each.path)
    if faults:
        raise DefinitionError("two files have the same name", faults)

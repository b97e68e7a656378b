"""Which run somebody means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cableway.errors import UnknownRunError
from cableway.store.ids import is_id

if TYPE_CHECKING:
    from cableway.storage import DatabaseStorage


def run_named(storage: DatabaseStorage, name: str) -> str:
    """The id of the run *name*: itself, or that of the newest run where it is a pipeline.

    Raise `UnknownRunError` where it is neither; of an id nobody is asked.
    """
    if is_id(name):
        return name
    newest = storage.list_runs(pipeline=name, limit=1)
    if not newest:
        raise UnknownRunError(f"no run {name!r}, and no pipeline of this name that has run: see `cableway runs list`")
    return newest[0].run_id

"""The members of a batch as one item: what each bloc made of them, end to end."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from cableway.blocs.tables import is_tabular, library, to_arrow


def joined_members(members: Sequence[Mapping[str, Any]], sides: Collection[str] = ()) -> dict[str, Any]:
    """The data of an item that is made of *members*, by bloc; of *sides* all members have the same, and so has it."""
    names = dict.fromkeys(name for member in members for name in member)
    values = {name: [member[name] for member in members if name in member] for name in names}
    return {name: found[0] if name in sides else joined(found) for name, found in values.items()}


def joined(values: Sequence[Any]) -> Any:
    """Several values of one bloc as one: tables end to end as an Arrow table, anything else as a list.

    A table that all members have from one parent stays as it is.
    """
    if not all(is_tabular(value) for value in values):
        return list(values)
    if all(value is values[0] for value in values):
        return values[0]
    pa = library("pyarrow")
    return pa.concat_tables([to_arrow(value) for value in values], promote_options="permissive")

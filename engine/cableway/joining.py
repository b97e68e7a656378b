"""The members of a batch as one item: what each bloc made of them, end to end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cableway.blocs.tables import is_tabular, library, to_arrow


def joined_members(members: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The data of an item that is made of *members*, by bloc."""
    names = dict.fromkeys(name for member in members for name in member)
    return {name: joined([member[name] for member in members if name in member]) for name in names}


def joined(values: Sequence[Any]) -> Any:
    """Several values of one bloc as one: tables end to end as an Arrow table, one that is the same everywhere as it is.

    Anything else becomes a list.
    """
    first = values[0]
    if all(value is first for value in values):
        return first
    if not all(is_tabular(value) for value in values):
        return list(values)
    pa = library("pyarrow")
    return pa.concat_tables([to_arrow(value) for value in values], promote_options="permissive")

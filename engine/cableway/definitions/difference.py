"""What differs between two documents, change by change, each with its JSON pointer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from cableway.definitions.pointers import escaped

_Named = dict[str, tuple[int, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that is otherwise. ``pointer`` leads into the document after, for a removal into the one before."""

    op: Literal["add", "remove", "replace", "move"]
    pointer: str
    before: Any = None
    after: Any = None


def differences(before: Any, after: Any, pointer: str = "") -> Iterator[Change]:
    """Every change from *before* to *after*, both of JSON values, in the order in which they stand.

    Members of a list that have names (stages, blocs) are compared by name, so that one more does not change
    all that follow; those that stand in another order are a ``move`` of the list, told by names.
    """
    # 1, 1.0 and True are equal, and in JSON three values.
    same_type = type(before) is type(after)
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        yield from _of_mappings(cast("Mapping[str, Any]", before), cast("Mapping[str, Any]", after), pointer)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _of_lists(cast("list[Any]", before), cast("list[Any]", after), pointer)
    elif not same_type or before != after:
        yield Change(op="replace", pointer=pointer, before=before, after=after)


def _of_mappings(before: Mapping[str, Any], after: Mapping[str, Any], pointer: str) -> Iterator[Change]:
    for key in [*before, *(key for key in after if key not in before)]:
        place = f"{pointer}/{escaped(key)}"
        if key not in after:
            yield Change(op="remove", pointer=place, before=before[key])
        elif key not in before:
            yield Change(op="add", pointer=place, after=after[key])
        else:
            yield from differences(before[key], after[key], place)


def _of_lists(before: list[Any], after: list[Any], pointer: str) -> Iterator[Change]:
    old, new = _by_name(before), _by_name(after)
    if old is None or new is None:
        if before != after:
            yield Change(op="replace", pointer=pointer, before=before, after=after)
        return
    for name, (index, member) in old.items():
        if name not in new:
            yield Change(op="remove", pointer=f"{pointer}/{index}", before=member)
    for name, (index, member) in new.items():
        if name in old:
            yield from differences(old[name][1], member, f"{pointer}/{index}")
        else:
            yield Change(op="add", pointer=f"{pointer}/{index}", after=member)
    order, order_now = [name for name in old if name in new], [name for name in new if name in old]
    if order != order_now:
        yield Change(op="move", pointer=pointer, before=order, after=order_now)


def _by_name(members: Sequence[Any]) -> _Named | None:
    """The *members* with their indexes by name; None where one has no name, or two have the same."""
    found: _Named = {}
    for index, member in enumerate(members):
        name = cast("Mapping[str, Any]", member).get("name") if isinstance(member, Mapping) else None
        if not isinstance(name, str) or name in found:
            return None
        found[name] = index, member
    return found

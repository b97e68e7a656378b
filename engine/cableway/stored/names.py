"""What every stored definition goes by: a name that can be kept, and JSON that can be kept; who else has them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from cableway.definitions.documents import limit_faults
from cableway.errors import ConflictError, DefinitionError, Fault, InUseError, TakenError, UnknownNameError
from cableway.store.storable import storable_text

MAX_NAME_LENGTH = 100
"""Characters of a name."""


class Named(Protocol):
    """A row with a name."""

    @property
    def name(self) -> str:
        """Its name."""
        ...


class Revised(Named, Protocol):
    """A row that counts its changes."""

    @property
    def revision(self) -> int:
        """How often it was written."""
        ...


_Row = TypeVar("_Row", bound=Named)


def name_faults(name: Any, pointer: str = "/name") -> list[Fault]:
    """What keeps *name* from being one."""
    fits = isinstance(name, str) and 0 < len(name) <= MAX_NAME_LENGTH and name.strip() == name and "/" not in name
    if fits and name.isprintable():
        return []
    message = f"must be 1 to {MAX_NAME_LENGTH} printable characters, no slash, and no space at its ends"
    return [Fault(pointer, "name", message)]


def json_faults(value: Any, pointer: str) -> list[Fault]:
    """What keeps *value* from being stored as JSON, just as it is."""
    return [replace(fault, pointer=pointer + fault.pointer) for fault in limit_faults(value)]


def refuse(what: str, faults: Iterable[Fault]) -> None:
    """Raise `DefinitionError` with all *faults* where there are some; *what* says of what."""
    found = list(faults)
    if not found:
        return
    shown = "; ".join(f"{fault.pointer}: {fault.message}" for fault in found[:3])
    more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    raise DefinitionError(f"{what}: {shown}{more}", found)


def titled(kind: str, name: Any) -> str:
    """How a message calls a row."""
    return f"{kind} {storable_text(str(name))[:80]!r}"


def json_text(value: Any) -> str:
    """*value*, which has no `json_faults`, as Postgres takes it."""
    return json.dumps(value, ensure_ascii=False, default=dict)


def only(kind: str, name: str, rows: Sequence[_Row]) -> _Row:
    """The row of just this name. Raise `UnknownNameError` where there is none."""
    for row in rows:
        # Asked for by a name that Postgres has no form for, it may have found another's.
        if row.name == name:
            return row
    raise UnknownNameError(f"no {titled(kind, name)}")


def taken(kind: str, name: str) -> TakenError:
    """Somebody else has the name."""
    message = f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind} of this name is there already"
    return TakenError(f"{titled(kind, name)}: {message}", [Fault("/name", "taken", message)])


def in_use(kind: str, name: str, by: str, users: Sequence[str]) -> InUseError:
    """It cannot go as long as *users* name it."""
    listed = ", ".join(map(repr, users[:10])) + (", ..." if len(users) > 10 else "")
    message = f"is named by the {by}{'s' if len(users) > 1 else ''} {listed}"
    return InUseError(f"{titled(kind, name)} {message}", [Fault("/name", "in_use", message)])


def check_revision(kind: str, row: Revised, expected: int | None) -> None:
    """Raise `ConflictError` unless *row* is still what the caller has seen."""
    if expected is not None and row.revision != expected:
        raise ConflictError(
            f"{titled(kind, row.name)} is at revision {row.revision} by now, and revision {expected} was expected"
        )

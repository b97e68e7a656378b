"""Places in a JSON value: ``data.items``, ``$.groups[*].members``, ``links[0]['next page']``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

MISSING: Final = object()
"""What stands where nothing is."""

_EACH = object()
_STEP = re.compile(r"\.?([^.\[\]'\"*$]+)|\.?\[(\d+)\]|\.?\[(\*)\]|\.?\['([^']*)'\]|\.?\[\"([^\"]*)\"\]")


class JsonPath:
    """A place in a JSON value. Raise `ValueError` where *text* is none."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._steps = tuple(_steps(text))

    def __str__(self) -> str:
        return self.text

    @property
    def is_one(self) -> bool:
        """Whether it names one place, and not each member of something."""
        return _EACH not in self._steps

    def all(self, value: Any) -> list[Any]:
        """What is there; with ``[*]`` it may be in several places."""
        found = [value]
        for step in self._steps:
            found = [member for one in found for member in _members(one, step)]
        return found

    def one(self, value: Any) -> Any:
        """What is there first, or `MISSING`."""
        found = self.all(value)
        return found[0] if found else MISSING

    def placed(self, value: Any, member: Any) -> Any:
        """A copy of *value* with *member* at this place, objects made on the way where there are none.

        Raise `ValueError` for a path that does not consist of names alone.
        """
        if not all(isinstance(step, str) for step in self._steps):
            raise ValueError(f"{self.text} does not consist of names alone")
        return _placed(value, cast("tuple[str, ...]", self._steps), member)


def path_fault(text: str, *, one: bool = True, names: bool = False) -> str | None:
    """What is wrong with a path: it is none, with *one* means several places, with *names* holds more than names."""
    try:
        path = JsonPath(text)
        if names:
            path.placed({}, None)
    except ValueError as error:
        return str(error)
    return "means each member of something, where one place is wanted" if one and not path.is_one else None


def _steps(text: str) -> Iterable[object]:
    at, text = 0, text.strip()
    if text.startswith("$"):
        at = 1
    if at == len(text):
        if not at:
            raise ValueError("is no path; write one such as data.items")
        return
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None:
            raise ValueError(
                f"is no path, at {text[at : at + 20]!r}; write one such as data.items or groups[*].members"
            )
        name, index, each, quoted, other = found.groups()
        at = found.end()
        if index is not None:
            yield int(index)
        elif each:
            yield _EACH
        else:
            yield next(part for part in (name, quoted, other) if part is not None)


def _members(value: Any, step: object) -> Sequence[Any]:
    if isinstance(value, Mapping):
        members = cast("Mapping[Any, Any]", value)
        if step is _EACH:
            return list(members.values())
        return (members[step],) if step in members else ()
    if isinstance(value, list):
        listed = cast("list[Any]", value)
        if step is _EACH:
            return listed
        return (listed[step],) if isinstance(step, int) and step < len(listed) else ()
    return ()


def _placed(value: Any, steps: tuple[str, ...], member: Any) -> Any:
    if not steps:
        return member
    members = dict(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else dict[str, Any]()
    return {**members, steps[0]: _placed(members.get(steps[0]), steps[1:], member)}

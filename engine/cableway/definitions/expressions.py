"""
What a trigger's configuration may ask of an event: paths into it, and conditions over it.

A path begins with ``$`` (the payload) or ``$headers`` and goes on with ``.name``, ``['name']``, ``[0]`` or
``[*]`` (every member). A condition compares paths and JSON values with ``== != < <= > >= in contains
starts_with ends_with`` and joins comparisons with ``and``, ``or``, ``not`` and parentheses; a path by
itself asks whether what it leads to is there and neither false, zero nor empty. There are no calls, no
arithmetic and no regular expressions: a condition takes time in proportion to its own length.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

MAX_LENGTH = 2000
"""Characters of a condition or a path."""
MAX_DEPTH = 32
"""Parentheses and negations inside each other."""


class ExpressionError(ValueError):
    """The text is no path or no condition; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Scene:
    """An event as expressions see it. Header names are in lower case."""

    payload: Any
    headers: Mapping[str, str]


class Missing:
    """What a path that leads nowhere finds; false, and equal to nothing but itself and null."""

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing()
Condition = Callable[[Scene], bool]
_Value = Callable[[Scene], Any]


@dataclass(frozen=True, slots=True)
class Path:
    """A place in an event."""

    root: str
    """``$`` or ``$headers``."""
    steps: tuple[str | int | None, ...]
    """Names, indexes, and None for every member."""

    @property
    def is_text(self) -> bool:
        """Whether what it finds is text by nature, so that a number would have to be read out of it."""
        return self.root == "$headers"

    def find(self, scene: Scene) -> Any:
        """What is there, or `MISSING`."""
        if self.root == "$headers":
            return scene.headers.get(cast("str", self.steps[0]), MISSING)
        return _followed(scene.payload, self.steps)


def parse_path(text: str) -> Path:
    """The path that *text* is. Raise `ExpressionError`."""
    path, end = _path_at(text, 0)
    if end != len(text):
        raise ExpressionError(f"is no path beyond its character {end}")
    return path


def parse_condition(text: str) -> Condition:
    """What tells whether *text* holds of an event. Raise `ExpressionError`."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"has more than {MAX_LENGTH} characters")
    return _Parser(list(_tokens(text))).whole()


def _followed(value: Any, steps: tuple[str | int | None, ...]) -> Any:
    for number, step in enumerate(steps):
        if step is None:
            if not isinstance(value, list):
                return MISSING
            found = [_followed(member, steps[number + 1 :]) for member in cast("list[Any]", value)]
            return [member for member in found if member is not MISSING]
        if isinstance(step, int):
            members = cast("list[Any]", value)
            if not isinstance(value, list) or step >= len(members):
                return MISSING
            value = members[step]
        elif isinstance(value, dict) and step in value:
            value = cast("dict[str, Any]", value)[step]
        else:
            return MISSING
    return value


_ROOT = re.compile(r"\$headers(?=[.\[])|\$")
_STEP = re.compile(
    r"""\.(?P<name>[A-Za-z_][A-Za-z0-9_-]*) | \[(?P<index>[0-9]{1,6})\] | \[(?P<every>\*)\]
    | \['(?P<single>[^'\\]*)'\] | \["(?P<double>[^"\\]*)"\]""",
    re.VERBOSE,
)


def _path_at(text: str, start: int) -> tuple[Path, int]:
    root = _ROOT.match(text, start)
    if root is None or len(text) > MAX_LENGTH:
        raise ExpressionError("must begin with $ or $headers, such as $.order.id")
    steps: list[str | int | None] = []
    end = root.end()
    while (found := _STEP.match(text, end)) is not None:
        steps.append(_step(found))
        end = found.end()
    if root.group() == "$headers":
        if len(steps) != 1 or not isinstance(steps[0], str):
            raise ExpressionError("must name one header, such as $headers.x-event")
        steps = [steps[0].lower()]
    return Path(root.group(), tuple(steps)), end


def _step(found: re.Match[str]) -> str | int | None:
    if found["every"]:
        return None
    if found["index"]:
        return int(found["index"])
    return next(found[kind] for kind in ("name", "single", "double") if found[kind] is not None)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    value: Any
    place: int


_TOKEN = re.compile(
    r"""\s*(?: (?P<text>"(?:[^"\\]|\\.)*"|'[^'\\]*') | (?P<number>-?[0-9]+(?:\.[0-9]+)?)
    | (?P<sign>==|!=|<=|>=|<|>|\(|\)|\[|\]|,) | (?P<word>[a-z_]+) | (?P<path>\$) )""",
    re.VERBOSE,
)
_WORDS: Mapping[str, Any] = {"true": True, "false": False, "null": None}


def _tokens(text: str) -> Iterator[_Token]:
    place = 0
    while text[place:].strip():
        found = _TOKEN.match(text, place)
        if found is None:
            raise ExpressionError(f"cannot be read at character {place + 1}")
        kind, place = cast("str", found.lastgroup), found.start(found.lastgroup or 0)
        part = found[kind]
        if kind == "path":
            path, end = _path_at(text, place)
            yield _Token("value", part, path.find, place)
            place = end
            continue
        if (kind == "word" and part not in _WORDS) or kind == "sign":
            yield _Token("sign", part, None, place)
        else:
            yield _Token("value", part, _constant(_literal(kind, part)), place)
        place = found.end()


def _literal(kind: str, part: str) -> Any:
    if kind == "word":
        return _WORDS[part]
    try:
        return part[1:-1] if part.startswith("'") else json.loads(part)
    except ValueError:
        raise ExpressionError(f"holds {part[:40]}, which is no JSON value") from None


def _constant(value: Any) -> _Value:
    return lambda _: value


class _Parser:
    """Turns tokens into functions, by recursive descent."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    def whole(self) -> Condition:
        found = self._any()
        if self._at < len(self._tokens):
            raise ExpressionError(f"ends before its character {self._tokens[self._at].place + 1}")
        return lambda scene: bool(found(scene))

    def _take(self, *signs: str) -> str | None:
        token = self._tokens[self._at] if self._at < len(self._tokens) else None
        if token is None or token.kind != "sign" or token.text not in signs:
            return None
        self._at += 1
        return token.text

    def _any(self) -> _Value:
        parts = [self._all()]
        while self._take("or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else lambda scene: any(part(scene) for part in parts)

    def _all(self) -> _Value:
        parts = [self._not()]
        while self._take("and"):
            parts.append(self._not())
        return parts[0] if len(parts) == 1 else lambda scene: all(part(scene) for part in parts)

    def _not(self) -> _Value:
        if not self._take("not"):
            return self._comparison()
        negated = self._deeper(self._not)
        return lambda scene: not negated(scene)

    def _comparison(self) -> _Value:
        left = self._value()
        sign = self._take(*_COMPARED)
        if sign is None:
            return left
        right, compare = self._value(), _COMPARED[sign]
        return lambda scene: compare(left(scene), right(scene))

    def _value(self) -> _Value:
        if self._take("("):
            inner = self._deeper(self._any)
            self._expect(")")
            return inner
        if self._take("["):
            return self._list()
        if self._at >= len(self._tokens):
            raise ExpressionError("ends where a value is wanted")
        token = self._tokens[self._at]
        if token.kind != "value":
            raise ExpressionError(f"has {token.text!r} at character {token.place + 1}, where a value is wanted")
        self._at += 1
        return cast("_Value", token.value)

    def _list(self) -> _Value:
        members: list[_Value] = []
        while not self._take("]"):
            if members:
                self._expect(",")
            members.append(self._deeper(self._value))
        return lambda scene: [member(scene) for member in members]

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise ExpressionError(f"lacks a {sign!r}")

    def _deeper(self, parse: Callable[[], _Value]) -> _Value:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError(f"is nested more than {MAX_DEPTH} levels deep")
        try:
            return parse()
        finally:
            self._depth -= 1


def _same(left: Any, right: Any) -> bool:
    if left is MISSING or right is MISSING:
        return (left is MISSING or left is None) and (right is MISSING or right is None)
    # To Python true is 1; to JSON it is not.
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compared(left: Any, right: Any) -> bool:
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (left, right))
        texts = isinstance(left, str) and isinstance(right, str)
        return (numbers or texts) and compare(left, right)

    return compared


def _holds(container: Any, member: Any) -> bool:
    if isinstance(container, str):
        return isinstance(member, str) and member in container
    if isinstance(container, dict):
        return isinstance(member, str) and member in container
    return isinstance(container, list) and any(_same(each, member) for each in cast("list[Any]", container))


def _of_texts(compare: Callable[[str, str], bool]) -> Callable[[Any, Any], bool]:
    return lambda left, right: isinstance(left, str) and isinstance(right, str) and compare(left, right)


_COMPARED: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": _same,
    "!=": lambda left, right: not _same(left, right),
    "<": _ordered(operator.lt),
    "<=": _ordered(operator.le),
    ">": _ordered(operator.gt),
    ">=": _ordered(operator.ge),
    "in": lambda left, right: _holds(right, left),
    "contains": _holds,
    "starts_with": _of_texts(str.startswith),
    "ends_with": _of_texts(str.endswith),
}

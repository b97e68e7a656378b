"""
Keeps the secrets that this process knows out of whatever it says.

Who looks a secret up, or is sent one, calls `guard`; whoever writes a log line, a problem, a span, a
dead letter or a row passes its text through `redacted`. What is guarded stays so until the process
ends. Imported in workers, so it imports little.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, cast

MASK = "***"
"""What stands in a secret's place."""
SHORTEST = 4
"""Characters below which a text cannot be told from others that happen to be the same."""

_LINE_CHARS = 8
_PIECE_CHARS = 4096
_IN_URL = re.compile(r"\A[A-Za-z][A-Za-z0-9+.-]*://[^/?#@]*?:([^/?#]*)@")
_IN_PAIRS = re.compile(r"(?:\A|[\s?&;])pass(?:word|wd)?\s*=\s*('(?:[^'\\]|\\.)*'|[^\s&;]+)", re.IGNORECASE)


class Sealed(str):
    """A text that is a secret, or holds one: as good as any other, but its ``repr`` does not show it."""

    __slots__ = ()

    def __repr__(self) -> str:
        shown = redacted(str(self))
        return repr(MASK if shown == str(self) else shown)


class SecretText:
    """A text of a config whose secrets are not looked up yet: ``parts`` are text and names by turns, text first."""

    __slots__ = ("parts",)

    def __init__(self, parts: tuple[str, ...]) -> None:
        self.parts = parts

    def __repr__(self) -> str:
        return repr(self._with(lambda name: f"${{secret:{name}}}"))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretText) and other.parts == self.parts

    def __hash__(self) -> int:
        return hash(self.parts)

    @property
    def names(self) -> tuple[str, ...]:
        """The secrets in it."""
        return self.parts[1::2]

    def revealed(self, secrets: Mapping[str, str]) -> Sealed:
        """The text with its secrets in it."""
        return Sealed(self._with(secrets.__getitem__))

    def _with(self, look_up: Callable[[str], str]) -> str:
        return "".join(look_up(part) if number % 2 else part for number, part in enumerate(self.parts))


class Guarded:
    """The secrets of this process, in every form in which they might be said."""

    def __init__(self) -> None:
        self.forms: frozenset[str] = frozenset()
        self.pattern: re.Pattern[str] | None = None

    def add(self, secrets: Iterable[str]) -> None:
        """Know *secrets* as well."""
        forms = self.forms.union(*(set(_forms(secret)) for secret in secrets))
        if forms != self.forms:
            # The longest first, so that a part of a secret never stands in the way of the whole.
            longest_first = sorted(forms, key=len, reverse=True)
            self.forms, self.pattern = forms, re.compile("|".join(map(re.escape, longest_first)))


_guarded = Guarded()


def guard(secrets: Iterable[str]) -> None:
    """Keep *secrets* out of all that this process says from now on."""
    _guarded.add(secrets)


def redacted(text: str) -> str:
    """*text* without any secret that this process knows."""
    pattern = _guarded.pattern
    return text if pattern is None else pattern.sub(MASK, text)


def redacted_piece(text: str) -> str:
    """*text*, which was cut out of a longer one, also without what is left of a secret at either end."""
    text = redacted(text)
    for form in _guarded.forms:
        for size in range(min(len(form), len(text), _PIECE_CHARS), SHORTEST - 1, -1):
            if text.endswith(form[:size]):
                text = f"{text[:-size]}{MASK}"
                break
        for size in range(min(len(form), len(text), _PIECE_CHARS), SHORTEST - 1, -1):
            if text.startswith(form[-size:]):
                text = f"{MASK}{text[size:]}"
                break
    return text


def redacted_json(value: Any) -> Any:
    """A JSON value with every text in it redacted, keys included; the value itself where nothing is guarded."""
    if _guarded.pattern is None:
        return value
    match value:
        case str():
            return redacted(value)
        case Mapping():
            pairs = cast("Mapping[Any, Any]", value).items()
            return {redacted_json(key): redacted_json(member) for key, member in pairs}
        case list() | tuple():
            return [redacted_json(member) for member in cast("list[Any] | tuple[Any, ...]", value)]
        case _:
            return value


def names_in(value: Any) -> Iterator[str]:
    """The secrets that a config refers to."""
    match value:
        case SecretText():
            yield from value.names
        case Mapping():
            for member in cast("Mapping[Any, Any]", value).values():
                yield from names_in(member)
        case list() | tuple():
            for member in cast("list[Any] | tuple[Any, ...]", value):
                yield from names_in(member)
        case _:
            return


def revealed(value: Any, secrets: Mapping[str, str]) -> Any:
    """A config with its secrets in it."""
    match value:
        case SecretText():
            return value.revealed(secrets)
        case dict():
            return {key: revealed(member, secrets) for key, member in cast("dict[str, Any]", value).items()}
        case list():
            return [revealed(member, secrets) for member in cast("list[Any]", value)]
        case _:
            return value


def sealed(value: Any) -> Any:
    """*value* with every text that holds a secret as a `Sealed` one; configs (also frozen ones) in place."""
    match value:
        case str():
            return Sealed(value) if redacted(value) != value else value
        case dict():
            return {key: sealed(member) for key, member in cast("dict[Any, Any]", value).items()}
        case list():
            return [sealed(member) for member in cast("list[Any]", value)]
        case _:
            for name in _field_names(value):
                member = getattr(value, name)
                other = sealed(member)
                if other is not member:
                    object.__setattr__(value, name, other)
            return value


def _field_names(value: Any) -> list[str]:
    kind = cast("type[Any]", type(value))
    if is_dataclass(kind):
        return [field.name for field in fields(kind)]
    return list(getattr(kind, "model_fields", ()))


def _forms(secret: str) -> Iterator[str]:
    """*secret*, the password in it where it is an address, and both as JSON, ``repr`` or a URL would write them."""
    from json import dumps
    from urllib.parse import quote, quote_plus

    for text in _said(secret):
        if len(text) < SHORTEST:
            continue
        yield from (text, repr(text)[1:-1], dumps(text)[1:-1], dumps(text, ensure_ascii=False)[1:-1])
        try:
            yield from (quote(text), quote(text, safe=""), quote_plus(text))
        except UnicodeEncodeError:
            continue  # half of a surrogate pair is in no URL


def _said(secret: str) -> Iterator[str]:
    from urllib.parse import unquote

    yield secret
    yield secret.strip()
    for line in secret.splitlines():
        if len(line.strip()) >= _LINE_CHARS:
            yield line.strip()
    password = _IN_URL.search(secret)
    if password is not None:
        yield password[1]
        yield unquote(password[1])
    for pair in _IN_PAIRS.finditer(secret):
        yield pair[1]
        yield unquote(pair[1])
        if pair[1].startswith("'"):
            yield re.sub(r"\\(.)", r"\1", pair[1][1:-1])

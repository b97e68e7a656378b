"""
Pipeline documents as people write them: read from a file, and held to limits before anyone looks closer.

A document from a file remembers its text, so that a fault in it can be found by its line.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cableway.definition import JsonObject
from cableway.definitions.pointers import escaped, parts_of
from cableway.errors import DefinitionError, Fault

if TYPE_CHECKING:
    import yaml

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 64
MAX_VALUES = 1_000_000
MAX_TEXT = 16 * 1024 * 1024
"""Characters in all texts of a document, which with every default written out is larger than its file."""
_LONG_NUMBER = re.compile("[0-9]{19}")
_CONTAINERS = (dict, list, tuple, Mapping)
_FORMATS = {".yaml": "YAML", ".yml": "YAML", ".json": "JSON", ".toml": "TOML"}


class WrittenDocument(dict[str, Any]):
    """A document as it stands in a file; as a mapping it is like any other."""

    def __init__(self, document: JsonObject, text: str, kind: str) -> None:
        super().__init__(document)
        self._text = text
        self._kind = kind
        self._root: Any = None

    def line_of(self, pointer: str) -> int | None:
        """The line (from 1) of what *pointer* leads to, or of the last on the way that is there; None in TOML."""
        if self._kind == "TOML":
            return None
        from cableway.definitions.yaml_documents import line_in, node_tree

        if self._root is None:
            # A JSON text is a YAML one as well.
            self._root = node_tree(self._text)
        return line_in(self._root, parts_of(pointer))


def read_document(path: str | Path) -> WrittenDocument:
    """The document in the YAML, JSON or TOML file at *path*. Dates in YAML stay text.

    Raise `DefinitionError` that says what is wrong with the file, and where in it.
    """
    place = Path(path)
    kind = _FORMATS.get(place.suffix.lower(), "")
    if not kind and place.exists():
        raise DefinitionError(f"{path}: a pipeline document ends in {', '.join(_FORMATS)}")
    try:
        if place.exists() and not place.is_file():
            raise DefinitionError(f"{path}: is no regular file")
        with place.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DefinitionError(f"{path}: cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise DefinitionError(f"{path}: is larger than {MAX_BYTES >> 20} MiB")
    try:
        text = raw.decode("utf-8-sig")
        document = _parsed(text, kind)
    except _NotParsedError as error:
        raise DefinitionError(f"{path}: is no {kind}: {error}") from None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DefinitionError(f"{path}: is not UTF-8: line {line} has a byte that is none of it") from None
    except RecursionError:
        raise DefinitionError(f"{path}: is nested too deeply") from None
    if not isinstance(document, dict):
        raise DefinitionError(f"{path}: holds no pipeline; it begins with `name:` and `stages:`")
    return WrittenDocument(cast("JsonObject", document), text, kind)


def limit_faults(document: Any) -> list[Fault]:
    """What keeps *document* from being stored as JSON, and where it is larger than any pipeline."""
    size = _Size()
    too_large = size.fault_in(document)
    if too_large is not None:
        return [Fault("", "too_large", too_large)]
    if not size.is_odd and _is_storable(document):
        return []
    faults: list[Fault] = []
    waiting: list[tuple[Any, str, int]] = [(document, "", 0)]
    while waiting and len(faults) < 100:
        value, pointer, depth = waiting.pop()
        if depth > MAX_DEPTH:
            faults.append(Fault(pointer, "too_deep", f"is nested more than {MAX_DEPTH} levels deep"))
        elif isinstance(value, _CONTAINERS):
            waiting.extend(reversed(list(_members(cast("Any", value), pointer, depth + 1, faults))))
        elif reason := _not_json(value):
            faults.append(Fault(pointer, "not_json", reason))
    return faults


class _Size:
    """What a document holds, found out before anything is made of its parts: aliases can make much of little."""

    def __init__(self) -> None:
        self.is_odd = False
        """It is too deep, or has keys that are no text."""

    def fault_in(self, document: Any) -> str | None:
        """In which way *document* is too large; None where it is not."""
        waiting: list[tuple[Any, int]] = [([document], 0)]
        values = text = 0
        while waiting:
            members, depth = waiting.pop()
            values += len(members)
            if values > MAX_VALUES:
                return f"holds more than {MAX_VALUES} values"
            if isinstance(members, Mapping):
                text += self._of_keys(cast("Mapping[Any, Any]", members))
                members = list(cast("Mapping[Any, Any]", members).values())
            for member in members:
                # The first question is the cheap one, and nearly every value is answered by it.
                if type(member) is str:
                    text += len(member)
                elif isinstance(member, _CONTAINERS):
                    if depth > MAX_DEPTH:
                        self.is_odd = True
                    else:
                        waiting.append((cast("Any", member), depth + 1))
            if text > MAX_TEXT:
                return f"holds more than {MAX_TEXT >> 20} million characters"
        return None

    def _of_keys(self, keys: Mapping[Any, Any]) -> int:
        try:
            return len("".join(keys))
        except TypeError:
            self.is_odd = True
            return 0


def _is_storable(document: Any) -> bool:
    """Whether there is certainly nothing to find: much quicker than to look at each value."""
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError):
        return False
    return "\\u0000" not in text and _LONG_NUMBER.search(text) is None


def _members(
    value: Mapping[Any, Any] | list[Any], pointer: str, depth: int, faults: list[Fault]
) -> Iterator[tuple[Any, str, int]]:
    if not isinstance(value, Mapping):
        for index, member in enumerate(value):
            yield member, f"{pointer}/{index}", depth
        return
    for key, member in value.items():
        if not isinstance(key, str) or _not_json(key):
            faults.append(Fault(pointer, "not_json", "has a key that is no text"))
        else:
            yield member, f"{pointer}/{escaped(key)}", depth


def _not_json(value: Any) -> str | None:
    match value:
        case None | bool():
            return None
        case str():
            if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value if character > "\ud7ff"):
                return "holds a NUL or half of a surrogate pair, which Postgres cannot keep"
            return None
        case int():
            return None if value.bit_length() <= 63 else "is a whole number beyond 64 bits; write it as text"
        case float():
            return None if math.isfinite(value) else "is no finite number"
        case _:
            return f"is a {type(value).__name__}, which JSON has no form for; write it as text"


def _plainly(text: str, error: yaml.MarkedYAMLError) -> str | None:
    """The parser's words, or ours for two of the commonest mistakes."""
    mark, said = error.problem_mark, error.problem or ""
    if "another document" in said:
        return "a second document begins; a file holds one"
    if mark is not None and "cannot start any token" in said:
        line = "".join(text.splitlines()[mark.line : mark.line + 1])
        return "a tab stands where YAML wants spaces" if "\t" in line[: mark.column + 1] else said
    return error.problem


class _NotParsedError(Exception):
    """The text is not of its format."""


def _parsed(text: str, kind: str) -> Any:
    match kind:
        case "JSON":
            return _from_json(text)
        case "TOML":
            import tomllib

            try:
                return tomllib.loads(text)
            except tomllib.TOMLDecodeError as error:
                raise _NotParsedError(str(error)) from None
        case _:
            return _from_yaml(text)


def _from_json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as error:
        raise _NotParsedError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except ValueError:
        raise _NotParsedError("it holds a number with too many digits") from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> JsonObject:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = sorted({key for key, _ in pairs if [other for other, _ in pairs].count(key) > 1})
        raise _NotParsedError(f"a mapping has the key {', '.join(map(repr, twice))} twice")
    return found


def _from_yaml(text: str) -> Any:
    import yaml

    from cableway.definitions.yaml_documents import parse_yaml

    try:
        return parse_yaml(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise _NotParsedError(f"{place}{_plainly(text, error)}") from None
    except (yaml.YAMLError, ValueError):
        raise _NotParsedError("it holds characters or values that YAML does not have") from None

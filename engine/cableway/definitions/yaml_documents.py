"""YAML as pipeline documents use it: the safe part, dates left as text, no key twice, and lines to point to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import yaml

_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_MAX_DEPTH = 100
"""Levels that are parsed at all: the parser's time grows with the square of them, and its stack with each."""


def parse_yaml(text: str) -> Any:
    """What *text* says. Raise `yaml.YAMLError`, also where a key stands twice or the nesting is absurd."""
    _refuse_depth(text)
    return yaml.load(text, Loader=_strict_loader())  # noqa: S506 - it extends the safe loader


def node_tree(text: str) -> Any:
    """The nodes of *text* for `line_in`; None where it cannot be told: in JSON that is not quite YAML, or too deep."""
    try:
        _refuse_depth(text)
        return yaml.compose(text, Loader=_Safe)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


def line_in(root: Any, parts: Sequence[str]) -> int | None:
    """The line (from 1) at which the last of *parts* that is there begins."""
    if root is None:
        return None
    node, line = root, root.start_mark.line
    for part in parts:
        found = _child(node, part)
        if found is None:
            break
        node, line = found
    return int(line) + 1


def _child(node: Any, part: str) -> tuple[Any, int] | None:
    """The member *part* of *node*, and the line of its key or of itself."""
    if isinstance(node, yaml.SequenceNode):
        members = node.value
        if not (part.isdecimal() and int(part) < len(members)):
            return None
        return members[int(part)], members[int(part)].start_mark.line
    if not isinstance(node, yaml.MappingNode):
        return None
    merged: list[Any] = []
    for key, value in node.value:
        if key.value == part:
            return value, key.start_mark.line
        if key.value == "<<":
            merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
    return next((found for mapping in merged if (found := _child(mapping, part)) is not None), None)


def _refuse_depth(text: str) -> None:
    depth = 0
    events: Iterator[Any] = yaml.parse(text, Loader=_Safe)
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                mark: Any = event.start_mark
                raise yaml.MarkedYAMLError(problem="is nested too deeply", problem_mark=mark)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _strict_loader() -> Any:
    loader: Any = type("StrictLoader", (_Safe,), {})
    loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in _Safe.yaml_implicit_resolvers.items()
    }
    loader.add_constructor("tag:yaml.org,2002:map", _mapping)
    return loader


def _mapping(loader: Any, node: Any) -> Any:
    """A mapping, filled after it is handed out, as those are that name themselves by an anchor."""
    found: dict[Any, Any] = {}
    yield found
    _refuse_repeats(node)
    found.update(loader.construct_mapping(node))


def _refuse_repeats(node: Any) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
            continue
        if key.value in seen:
            raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark)
        seen.add(key.value)

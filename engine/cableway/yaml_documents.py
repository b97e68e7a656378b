"""YAML as pipeline documents use it: the safe part, dates left as text, no key twice."""

from __future__ import annotations

from typing import Any

import yaml

_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TIMESTAMP = "tag:yaml.org,2002:timestamp"


def parse_yaml(text: str) -> Any:
    """What *text* says. Raise `yaml.YAMLError`, also where a key stands twice."""
    return yaml.load(text, Loader=_strict_loader())  # noqa: S506 - it extends the safe loader


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

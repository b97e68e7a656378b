"""
What an API key may do: scopes, each a verb for everything or for one kind of resource.

``read`` reads, ``write`` changes definitions, ``run`` starts and cancels runs, ``admin`` is all of it. ``read:runs``
narrows a verb to one resource. The stacks of dead letters take ``read:stacks``, which ``read`` does not include.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from cableway.errors import Fault, SettingsError

Verb = Literal["read", "write", "run"]
Resource = Literal[
    "bloc-types",
    "blocs",
    "dead-letters",
    "deliveries",
    "hooks",
    "limits",
    "pipelines",
    "runs",
    "schedulers",
    "stacks",
    "triggers",
]

ADMIN = "admin"
RESOURCES: tuple[str, ...] = get_args(Resource)
VERBS: tuple[str, ...] = get_args(Verb)

_NARROW_ONLY = frozenset({"stacks"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, and what it may."""

    name: str
    scopes: frozenset[str]
    pipelines: tuple[str, ...] | None = None
    """Those that it may know of; None: all."""

    def may(self, verb: Verb, resource: Resource) -> bool:
        """Whether its scopes include *verb* on *resource*."""
        if self.scopes & {ADMIN, f"{verb}:{resource}"}:
            return True
        return verb in self.scopes and resource not in _NARROW_ONLY

    def sees(self, pipeline: str) -> bool:
        """Whether it may know of *pipeline*."""
        return self.pipelines is None or pipeline in self.pipelines


WHOEVER_IS_HERE = Caller(name="", scopes=frozenset({ADMIN}))
"""Somebody on this machine, while there are no keys."""


def checked_scopes(words: Iterable[str]) -> list[str]:
    """*words* sorted and without repetitions. Raise `SettingsError` for one that is no scope, and for none at all."""
    scopes = sorted(set(words))
    known = {ADMIN, *VERBS, *(f"{verb}:{resource}" for verb in VERBS for resource in RESOURCES)}
    unknown = [scope for scope in scopes if scope not in known]
    if unknown or not scopes:
        message = (
            f"a scope is {', '.join(VERBS)} or {ADMIN}, or one of the first three with a resource as in read:runs "
            f"(resources: {', '.join(RESOURCES)})"
        )
        raise SettingsError(message, [Fault("/scopes", "scope", message)])
    return scopes


def checked_pipelines(names: Sequence[str]) -> list[str] | None:
    """*names* of pipelines that a key is limited to, None for no limit."""
    return sorted(set(names)) or None

"""Bloc types for tests of lines: a source that can be read again, and a destination with a ledger and a fence."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

from cableway.blocs.incremental import Incremental, Watermark, first_plan
from cableway.blocs.kinds import Commits, Ending, ExporterBloc, LinePlace, LoaderBloc, Resources, Written
from cableway.context import RunContext
from cableway.errors import CablewayError, LeaseLostError, SourceChangedError


@dataclass
class Target:
    """What one exporter has written for one line: rows by key, and the end row by its key."""

    items: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])
    whole: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])
    ends: dict[str, str] = field(default_factory=dict[str, str])


class World:
    """What lies outside the job: it outlives attempts."""

    source: ClassVar[list[Any]] = []
    read_from: ClassVar[list[int]] = []
    targets: ClassVar[dict[tuple[str, str], Target]] = {}
    steps_to_live: ClassVar[int | None] = None
    death: ClassVar[type[CablewayError]] = LeaseLostError
    _lock: ClassVar[threading.Lock] = threading.Lock()

    @classmethod
    def clear(cls, source: list[Any]) -> None:
        cls.source, cls.steps_to_live, cls.death = source, None, LeaseLostError
        cls.read_from.clear()
        cls.targets.clear()

    @classmethod
    def step(cls) -> None:
        """Something outside is about to change, or has changed: the attempt may die here."""
        with cls._lock:
            if cls.steps_to_live is None:
                return
            cls.steps_to_live -= 1
            dead = cls.steps_to_live < 0
        if dead:
            raise cls.death("the attempt is dead")

    @classmethod
    def rows(cls, bloc: str) -> list[Any]:
        """All rows that *bloc* has written, on whatever line."""
        found: list[Any] = []
        for (name, _), target in cls.targets.items():
            if name == bloc:
                found += [row for rows in (*target.items.values(), *target.whole.values()) for row in rows]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedConfig:
    batch_size: int | None = 1
    repeat: bool = True
    incremental: Incremental | None = None


class Listed(LoaderBloc):
    """Gives what `World.source` holds, one item for each; positions are indexes."""

    bloc_type = "listed"
    summary = "Gives a list."
    Config = ListedConfig
    example: ClassVar[Mapping[str, Any]] = {}
    lanes = ("thread", "async")

    def __init__(self, name: str, config: Any) -> None:
        super().__init__(name, config)
        self._start = 0
        self._plan: Mapping[str, Any] = {}
        self._mark: Watermark | None = None

    @classmethod
    def repeats(cls, config: Any) -> bool:
        return bool(config.repeat)

    @property
    def _incremental(self) -> Incremental | None:
        found: Any = self.config.incremental
        # As a stored version has it, it is a plain object.
        return Incremental(**cast("dict[str, Any]", found)) if isinstance(found, dict) else found

    def plan(self, context: RunContext, state: Mapping[str, Any]) -> dict[str, Any]:
        plan = first_plan(self._incremental, state) if self._incremental else {}
        return {**plan, "count": len(World.source)}

    def follow(self, plan: Mapping[str, Any], reached: Mapping[str, Any]) -> None:
        self._plan = plan
        if self._incremental:
            self._mark = Watermark(self._incremental, plan, reached)

    def reached(self) -> dict[str, Any]:
        return self._mark.state() if self._mark else {}

    def fingerprint(self, position: str) -> dict[str, Any]:
        return {"before": repr(World.source[: int(position)])}

    def resume(self, position: str, fingerprint: Mapping[str, Any]) -> None:
        if self.fingerprint(position) != dict(fingerprint):
            raise SourceChangedError(f"then {fingerprint}, now {self.fingerprint(position)}")
        self._start = int(position)

    def load(self, context: RunContext) -> Any:
        World.read_from.append(self._start)
        count = int(self._plan.get("count", len(World.source)))
        if not self.batched:
            return World.source[:count]
        return self._items(count)

    def _items(self, count: int) -> Iterator[tuple[str, Any]]:
        for number in range(self._start, count):
            value = World.source[number]
            if self._mark is None or self._mark.new_rows([value]):
                yield str(number), value


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptConfig:
    commits: str | None = "item"
    ordered: bool = False
    rows: str = ""


class Kept(ExporterBloc):
    """Writes to `World.targets`, exactly once."""

    bloc_type = "kept"
    summary = "Keeps rows with a ledger."
    Config = KeptConfig
    example: ClassVar[Mapping[str, Any]] = {}
    frames = None

    def __init__(self, name: str, config: Any) -> None:
        super().__init__(name, config)
        self._place = LinePlace()
        self._rows: list[Any] = []
        self._target = Target()

    @classmethod
    def sole_target(cls, config: Any) -> str | None:
        return f"table of {id(config)}" if config.commits == "run" else None

    @classmethod
    def commits(cls, config: Any) -> Commits | None:
        found: Commits | None = config.commits
        return found

    @classmethod
    def in_order(cls, config: Any) -> bool:
        return bool(config.ordered)

    def bind(self, resources: Resources) -> None:
        self._place = resources.place

    @property
    def _whole(self) -> bool:
        return self.config.commits == "run" or self._place.whole_run

    def open(self, context: RunContext) -> None:
        self._target = World.targets.setdefault((self.name, context.facts.line), Target())

    def written(self) -> Written:
        return Written(keys=list(self._target.items), ended=self._target.ends.get(self._place.end_key))

    def export(self, context: RunContext) -> int:
        value: Any = context.input()
        rows: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [value]
        if self._whole:
            self._rows += rows
            return len(rows)
        World.step()
        if context.item_id in self._target.items:
            return 0
        self._target.items[context.item_id] = rows
        World.step()
        return len(rows)

    def close(self, ending: Ending) -> None:
        if not self._whole or not ending.commits or self._place.end_key in self._target.ends:
            return
        World.step()
        self._target.ends[self._place.end_key] = self._place.cursor() if self._place.cursor else ""
        self._target.whole[self._place.end_key] = self._rows
        World.step()

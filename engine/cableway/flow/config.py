"""
What a pipeline is made of: its stages in order, each with its lane, workers, queue and policies.

All classes are frozen and check themselves: a wrong type is a `TypeError`, a wrong value or a pair of
settings that cannot go together a `ValueError`, both naming the stage and the field.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from cableway.flow.fields import choice, flag, number, text, whole
from cableway.flow.retry import Retry

if TYPE_CHECKING:
    from cableway.flow.cuts import Cuts
    from cableway.flow.turnstile import Turnstile

__all__ = ["Batch", "ETLPipelineConfig", "ExecutionType", "Gather", "RateLimit", "Retry", "StageConfig"]

RESERVED_STAGE_NAMES = frozenset({"created", "completed", "error"})

OnError = Literal["fail_run", "dead_letter", "skip"]
OnDuplicate = Literal["fail", "skip", "allow"]


class ExecutionType(StrEnum):
    """The lane that a stage's units run in."""

    ASYNC = "async"
    THREAD = "thread"
    PROCESS = "process"
    INTERPRETER = "interpreter"
    DASK = "dask"

    @property
    def in_child(self) -> bool:
        """Whether units leave this process or interpreter, so that handlers take ``(job_id, data)``."""
        return self in {ExecutionType.PROCESS, ExecutionType.INTERPRETER, ExecutionType.DASK}


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Several items become one whose data is the list of theirs: when it holds ``count`` items or
    ``bytes`` bytes, when ``period_s`` has passed since its first item, or when no more can come.
    """

    count: int | None = None
    bytes: int | None = None
    period_s: float | None = None
    cuts: Cuts | None = None
    """Where batches were cut before; there they are cut again, whatever the limits say."""

    def __post_init__(self) -> None:
        if self.count is None and self.bytes is None and self.period_s is None:
            raise ValueError("Batch: at least one of count, bytes and period_s is needed")
        if self.count is not None:
            whole("Batch", "count", self.count)
        if self.bytes is not None:
            whole("Batch", "bytes", self.bytes)
        if self.period_s is not None:
            number("Batch", "period_s", self.period_s, positive=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gather:
    """All items of the run are folded into one; what is held may weigh ``max_bytes``, else the run fails."""

    max_bytes: int = 256 * 1024 * 1024

    def __post_init__(self) -> None:
        whole("Gather", "max_bytes", self.max_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """At most ``per_s`` units a second on average, and ``burst`` at once."""

    per_s: float
    burst: int = 1

    def __post_init__(self) -> None:
        number("RateLimit", "per_s", self.per_s, positive=True)
        whole("RateLimit", "burst", self.burst)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageConfig:
    """One stage: what it is called, where its units run, how many at once, and what happens when.

    ``queue_size`` items (and ``queue_bytes`` bytes) may wait before it; when they do, the stage before
    it waits. ``timeout_s`` is for one attempt (of a stream: for each value), ``queue_timeout_s`` counts
    from the item's coming. ``on_error``: ``dead_letter`` fails the item and goes on, ``skip`` counts it
    as skipped, ``fail_run`` ends the run. ``on_duplicate`` is for ids that are on their way already.
    ``chunk`` is the number of items a hop to a child carries, ``auto`` sizes it by time. ``setup`` runs
    once in each worker. ``options`` are the lane's own (``dask``: ``address``). Each
    attempt at a unit passes the ``turnstiles`` one after the other.
    """

    name: str
    execution_type: ExecutionType = ExecutionType.ASYNC
    workers: int = 5
    queue_size: int = 1000
    retry: Retry | None = None
    timeout_s: float | None = None
    queue_timeout_s: float | None = None
    on_error: OnError = "dead_letter"
    batch: Batch | None = None
    gather: Gather | bool | None = None
    ordered: bool = False
    rate_limit: RateLimit | None = None
    queue_bytes: int | None = None
    max_item_bytes: int | None = None
    on_duplicate: OnDuplicate = "fail"
    chunk: int | Literal["auto"] = "auto"
    setup: Callable[[], Any] | None = None
    pool_restarts: int = 3
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    turnstiles: tuple[Turnstile, ...] = ()

    def __post_init__(self) -> None:
        text("StageConfig", "name", self.name)
        owner = f"stage {self.name!r}"
        if self.name in RESERVED_STAGE_NAMES:
            raise ValueError(f"{owner}: the names {', '.join(sorted(RESERVED_STAGE_NAMES))} are reserved")
        self._check_lane(owner)
        self._check_numbers(owner)
        self._check_policies(owner)
        self._check_pairs(owner)

    def _check_lane(self, owner: str) -> None:
        try:
            lane = ExecutionType(self.execution_type)
        except ValueError:
            lanes = ", ".join(ExecutionType)
            raise ValueError(f"{owner}: execution_type must be one of {lanes}, not {self.execution_type!r}") from None
        check_available(owner, lane)
        object.__setattr__(self, "execution_type", lane)

    def _check_numbers(self, owner: str) -> None:
        whole(owner, "workers", self.workers)
        whole(owner, "queue_size", self.queue_size)
        whole(owner, "pool_restarts", self.pool_restarts, least=0)
        for name in ("queue_bytes", "max_item_bytes"):
            if getattr(self, name) is not None:
                whole(owner, name, getattr(self, name))
        for name in ("timeout_s", "queue_timeout_s"):
            if getattr(self, name) is not None:
                number(owner, name, getattr(self, name), positive=True)
        if self.chunk != "auto":
            whole(owner, "chunk", self.chunk)

    def _check_policies(self, owner: str) -> None:
        flag(owner, "ordered", self.ordered)
        choice(owner, "on_error", self.on_error, ("fail_run", "dead_letter", "skip"))
        choice(owner, "on_duplicate", self.on_duplicate, ("fail", "skip", "allow"))
        gather = Gather() if self.gather is True else (self.gather or None)
        object.__setattr__(self, "gather", gather)
        for name, kind in (("retry", Retry), ("batch", Batch), ("gather", Gather), ("rate_limit", RateLimit)):
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"{owner}: {name} must be a {kind.__name__}, not {type(value).__name__}")
        if self.setup is not None and not callable(self.setup):
            raise TypeError(f"{owner}: setup must be callable, not {type(self.setup).__name__}")

    def _check_pairs(self, owner: str) -> None:
        if self.gather is not None and self.batch is not None:
            raise ValueError(f"{owner}: gather takes all items, so batch has nothing to do; set one of them")
        if self.gather is not None and self.ordered:
            raise ValueError(f"{owner}: gather gives one item, so ordered has nothing to do; set one of them")
        if self.chunk != "auto" and not self.execution_type.in_child:
            raise ValueError(f"{owner}: chunk is for lanes in children, and {self.execution_type} is none")
        if self.options and self.execution_type is not ExecutionType.DASK:
            raise ValueError(f"{owner}: options are for the dask lane, not for {self.execution_type}")


def check_available(owner: str, lane: ExecutionType) -> None:
    """Raise `ValueError` when this Python has no such lane."""
    if lane is ExecutionType.INTERPRETER and sys.version_info < (3, 14):
        here = ".".join(map(str, sys.version_info[:2]))
        raise ValueError(f"{owner}: the interpreter lane needs Python 3.14, and this is {here}; use process")


@dataclass(frozen=True, slots=True, kw_only=True)
class ETLPipelineConfig:
    """The stages in order, and what holds for the whole run.

    ``queue_refresh_rate`` is the longest wait in seconds before a source is looked at again once there
    is room. ``stats_interval_seconds=0`` is silent. ``enable_tracking`` keeps times and results of every
    item; ``keep_data`` keeps what each ended with in its result. ``loop_blocked_after_s`` logs the stack
    of whatever blocks the event loop that long. ``dask_address`` is the cluster of every dask stage whose
    own ``options`` name none.
    """

    stages: Sequence[StageConfig]
    pipeline_name: str = "pipeline"
    queue_refresh_rate: float = 1.0
    stats_interval_seconds: float = 10.0
    enable_tracking: bool = True
    keep_data: bool = False
    loop_blocked_after_s: float | None = None
    dask_address: str | None = None

    def __post_init__(self) -> None:
        owner = "ETLPipelineConfig"
        text(owner, "pipeline_name", self.pipeline_name)
        number(owner, "queue_refresh_rate", self.queue_refresh_rate)
        number(owner, "stats_interval_seconds", self.stats_interval_seconds)
        flag(owner, "enable_tracking", self.enable_tracking)
        flag(owner, "keep_data", self.keep_data)
        if self.loop_blocked_after_s is not None:
            number(owner, "loop_blocked_after_s", self.loop_blocked_after_s, positive=True)
        if self.dask_address is not None:
            text(owner, "dask_address", self.dask_address)
        self._check_stages(owner)

    def _check_stages(self, owner: str) -> None:
        if not isinstance(self.stages, list | tuple):
            raise TypeError(f"{owner}: stages must be a list of StageConfig")
        if not self.stages:
            raise ValueError(f"{owner}: at least one stage is needed")
        seen: set[str] = set()
        for stage in self.stages:
            if not isinstance(stage, StageConfig):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"{owner}: stages must hold StageConfig, not {type(stage).__name__}")
            if stage.name in seen:
                raise ValueError(f"{owner}: two stages are called {stage.name!r}")
            seen.add(stage.name)
        object.__setattr__(self, "stages", tuple(self.stages))

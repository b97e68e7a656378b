"""
What runs on a Dask worker: one unit a task, its handler loaded once a process, and only plain tuples returned.

A task whose handler raises, exits or returns what cannot be sent is still a task that succeeded: it
returns the description of the failure. So nothing a handler does can upset the cluster.
"""

from __future__ import annotations

import asyncio
import pickle
from threading import Lock
from time import monotonic_ns
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from cableway.flow.lanes.failure import Failure, describe
from cableway.flow.lanes.hooked import Hooked
from cableway.flow.lanes.loading import Plan, load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


class Answer(NamedTuple):
    """What a unit gave: a pickle, or the pickles of a generator's values, or a failure; and what the hook gathered."""

    started_ns: int
    finished_ns: int
    value: bytes | None = None
    values: list[bytes] | None = None
    failure: tuple[Any, ...] | None = None
    report: bytes | None = None


class _Bench:
    """A pool's handler and hook in this worker process."""

    def __init__(self, body: bytes) -> None:
        self.plan = Plan(*pickle.loads(body))
        self.shared: dict[str, Any] = {}
        self.handler: Callable[..., Any] = load(self.plan, self.shared)
        self.hooked = Hooked(self.plan)


_benches: dict[str, _Bench] = {}
_lock = Lock()


def prepare(pool: str, plan: bytes) -> tuple[Any, ...] | None:
    """Load the handler; return the description of why it does not load, or None."""
    try:
        _bench(pool, plan)
    except BaseException as error:
        return tuple(describe(error, "handler"))
    return None


def work(pool: str, plan: bytes, seq: int, call: bytes, shared: Mapping[str, Any]) -> Answer:
    """Work on one unit."""
    _tell_started(pool, seq)
    started = monotonic_ns()
    try:
        bench = _bench(pool, plan)
        bench.shared.update(shared)
    except BaseException as error:
        return Answer(started, monotonic_ns(), failure=tuple(describe(error, "handler")))
    try:
        job_id, data, metadata, carrier = pickle.loads(call)
    except BaseException as error:
        return Answer(started, monotonic_ns(), failure=tuple(describe(error, "unpicklable_input")))
    span = bench.hooked.enter(carrier, job_id)
    started = monotonic_ns()
    failed: BaseException | None = None
    answer: Answer
    try:
        answer = _called(bench, job_id, data, metadata, started)
    except BaseException as error:
        failed = error
        answer = Answer(started, monotonic_ns(), failure=tuple(describe(error)))
    bench.hooked.leave(span, failed)
    return answer._replace(report=_report(bench))


def retire(pool: str) -> bytes | None:
    """Forget the pool; return what its hook still had."""
    bench = _benches.pop(pool, None)
    if bench is None:
        return None
    report = _report(bench)
    bench.hooked.close()
    return report


def _bench(pool: str, plan: bytes) -> _Bench:
    with _lock:
        bench = _benches.get(pool)
        if bench is None:
            bench = _benches[pool] = _Bench(plan)
        return bench


def _called(bench: _Bench, job_id: str, data: Any, metadata: Any, started: int) -> Answer:
    plan = bench.plan
    value = bench.handler(job_id, data, metadata) if plan.wants_metadata else bench.handler(job_id, data)
    if isinstance(value, CoroutineType):
        value = asyncio.run(cast("CoroutineType[Any, Any, Any]", value))
    if isinstance(value, AsyncGeneratorType):
        value = _driven(cast("AsyncGeneratorType[Any, None]", value))
    streams = isinstance(value, GeneratorType)
    values: list[Any] = list(cast("Iterator[Any]", value)) if streams else [value]
    finished = monotonic_ns()
    try:
        bodies = [pickle.dumps(each, 5) for each in values]
    except BaseException as error:
        return Answer(started, finished, failure=tuple(describe(error, "unpicklable_result")))
    largest, limit = max(map(len, bodies), default=0), plan.max_item_bytes
    if limit is not None and largest > limit:
        told = f"{largest:,} bytes are more than the {limit:,} that an item may have"
        return Answer(started, finished, failure=tuple(Failure("too_large", "TooLargeError", told, "")))
    return Answer(started, finished, values=bodies) if streams else Answer(started, finished, value=bodies[0])


def _driven(generator: AsyncGeneratorType[Any, None]) -> Iterator[Any]:
    async def step() -> Any:
        return await generator.__anext__()

    with asyncio.Runner() as runner:
        while True:
            try:
                value = runner.run(step())
            except StopAsyncIteration:
                return
            yield value


def _tell_started(pool: str, seq: int) -> None:
    from distributed import get_worker

    worker: Any = get_worker()
    worker.log_event(pool, {"seq": seq, "worker": worker.address})


def _report(bench: _Bench) -> bytes | None:
    report = bench.hooked.drained()
    try:
        return pickle.dumps(report, 5) if report else None
    except Exception:
        return None

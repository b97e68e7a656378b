"""
The Dask lane: units run as tasks on a cluster that is already there, so that a run outgrows one machine.

Dask itself runs a task again elsewhere when its worker dies, and gives up on one that keeps killing
workers. A running task cannot be killed: at a timeout or a cancel it is let go of. What a generator
gives comes back together, not one by one.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import uuid
from collections import deque
from concurrent.futures import CancelledError as LostError
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from cableway.errors import DefinitionError, ItemError, UnavailableError, WorkersLostError
from cableway.flow.lanes import dask_worker
from cableway.flow.lanes.failure import Failure
from cableway.flow.lanes.loading import Built
from cableway.flow.lanes.planning import name_of, planned, refusal, wants_metadata
from cableway.flow.lanes.protocol import HandlerFactory, UnitResult
from cableway.flow.lanes.unit import revive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from cableway.flow.lanes.protocol import PoolConfig, PoolEvents, UnitCall

_CONNECT_S = 10.0
_WORKERS_S = 300.0
_LOOK_EVERY_S = 5.0
_SCATTER_BYTES = 1024 * 1024


class DaskPool:
    """Units of one bloc in one stage on an existing Dask cluster.

    ``options`` holds its ``address`` and, where wanted, ``connect_s``: how long to wait for it, and ``workers_s``: for
    how long it may have no worker while units wait.
    """

    lane: ClassVar[str] = "dask"

    def __init__(self, config: PoolConfig, events: PoolEvents) -> None:
        address = config.options.get("address")
        if not isinstance(address, str) or not address:
            raise DefinitionError(
                f"stage {config.stage!r}: the dask lane needs the address of a cluster in its options"
            )
        if config.chunk is not None:
            raise DefinitionError(f"stage {config.stage!r}: the dask lane takes no chunk; a unit is a task")
        self._config = config
        self._events = events
        self._address = address
        self._connect_s = float(config.options.get("connect_s", _CONNECT_S))
        self._workers_s = float(config.options.get("workers_s", _WORKERS_S))
        self._wants_metadata = wants_metadata(config)
        self._pool = f"cableway-{uuid.uuid4().hex}"
        self._client: Any = None
        self._plan = b""
        self._seq = 0
        self._clocks: dict[int, _Clock] = {}
        self._shares: dict[str, asyncio.Task[Any]] = {}
        self._letting_go: set[asyncio.Future[Any]] = set()

    @property
    def window(self) -> int:
        """How many units the pool wants in its hands now: as many as may run at once."""
        return self._config.workers

    async def start(self) -> None:
        """Connect, and see that the handler loads there.

        Raise `UnavailableError` when the cluster does not answer or has no worker within
        ``connect_s``, and `DefinitionError` when the handler does not load on a worker.
        """
        distributed: Any = import_module("distributed")
        self._plan = self._planned()
        try:
            async with asyncio.timeout(self._connect_s):
                self._client = distributed.Client(
                    self._address, asynchronous=True, timeout=self._connect_s, set_as_default=False
                )
                await self._client
                await self._client.wait_for_workers(1)
        except (OSError, TimeoutError) as error:
            await self._disconnect()
            told = f"no Dask cluster with a worker at {self._address} within {self._connect_s:g} s"
            raise UnavailableError(f"stage {self._config.stage!r}: {told}") from error
        try:
            self._client.subscribe_topic(self._pool, self._started)
            await self._check()
        except BaseException:
            await self._disconnect()
            raise

    def share(self, name: str, value: Any) -> None:
        """Send *value* to the cluster's workers, once; units submitted from now on see it."""
        self._shares[name] = asyncio.ensure_future(self._client.scatter(value, broadcast=True, hash=False))

    async def run(self, call: UnitCall) -> UnitResult:
        """Work on one unit and return what it gave; see `WorkerPool.run` for the errors."""
        body = self._packed(call)
        shared = {name: await asyncio.shield(task) for name, task in self._shares.items()}
        self._seq += 1
        seq = self._seq
        clock = self._clocks[seq] = _Clock(call)
        future: Any = None
        try:
            if len(body) > _SCATTER_BYTES:
                body = await self._client.scatter(body, hash=False)
            future = self._client.submit(
                dask_worker.work,
                self._pool,
                self._plan,
                seq,
                body,
                shared,
                key=f"{self._pool}-{seq}",
                pure=False,
            )
            answer = dask_worker.Answer(*await self._awaited(future, clock))
        except BaseException:
            if future is not None:
                self._let_go(future.cancel())
            raise
        finally:
            clock.stop()
            del self._clocks[seq]
            if future is not None:
                future.release()
        return self._given(answer)

    async def close(self, grace_s: float) -> None:
        """Leave the cluster: what still runs there is let go of."""
        if self._client is None:
            return
        for share in self._shares.values():
            share.cancel()
        with contextlib.suppress(Exception):
            async with asyncio.timeout(max(grace_s, 1.0)):
                if self._letting_go:
                    await asyncio.wait(self._letting_go)
                for report in (await self._client.run(dask_worker.retire, self._pool)).values():
                    self._report(report)
        await self._disconnect()

    # Steps

    async def _check(self) -> None:
        future = self._client.submit(dask_worker.prepare, self._pool, self._plan, pure=False)
        try:
            async with asyncio.timeout(max(self._connect_s, _CONNECT_S)):
                failure = await future.result()
        except TimeoutError as error:
            raise UnavailableError(f"stage {self._config.stage!r}: the cluster's workers do not answer") from error
        except Exception as error:
            told = f"the cluster's workers cannot run cableway: {type(error).__name__}: {error}"
            raise DefinitionError(f"stage {self._config.stage!r}: {told}") from error
        if failure is not None:
            raise refusal(self._config, self.lane, Failure(*failure))

    async def _awaited(self, future: Any, clock: _Clock) -> Any:
        result = asyncio.ensure_future(future.result())
        try:
            await self._seen_through(result, clock.due)
            if not result.done():
                told = f"it took longer than {clock.call.timeout_s} s in stage {self._config.stage!r}"
                raise ItemError("timeout", told)
            return result.result()
        except LostError as error:
            raise WorkersLostError(f"stage {self._config.stage!r}: the cluster lost a task: {error}") from error
        except Exception as error:
            if type(error).__name__ == "KilledWorker":
                told = f"its workers died, one after the other: {error}"
                self._events.worker_died(told, [clock.call.job_id])
                raise ItemError("worker_died", told) from error
            raise
        finally:
            result.cancel()

    async def _seen_through(self, result: asyncio.Future[Any], due: asyncio.Future[None]) -> None:
        """Return when *result* is there or *due*. Raise `WorkersLostError` where the cluster stays without workers."""
        loop = asyncio.get_running_loop()
        look_every_s = min(_LOOK_EVERY_S, self._workers_s)
        last_seen_s = loop.time()
        while True:
            done, _ = await asyncio.wait({result, due}, timeout=look_every_s, return_when=asyncio.FIRST_COMPLETED)
            if done:
                return
            if await self._has_workers():
                last_seen_s = loop.time()
            elif loop.time() - last_seen_s >= self._workers_s:
                told = f"the Dask cluster at {self._address} has had no worker for {self._workers_s:g} s"
                raise WorkersLostError(f"stage {self._config.stage!r}: {told}")

    async def _has_workers(self) -> bool:
        try:
            async with asyncio.timeout(self._connect_s):
                return bool(await self._client.nthreads())
        except (OSError, TimeoutError):
            return False

    def _given(self, answer: dask_worker.Answer) -> UnitResult:
        self._report(answer.report)
        if answer.failure is not None:
            raise revive(Failure(*answer.failure))
        result = UnitResult(None, answer.started_ns, answer.finished_ns)
        if answer.values is not None:
            result.stream = _one_by_one(deque(answer.values))
            return result
        try:
            result.value = pickle.loads(answer.value or b"")
        except Exception as error:
            told = f"it cannot be read here: {type(error).__name__}: {error}"
            raise ItemError("unpicklable_result", told, error_type=type(error).__name__) from error
        return result

    def _packed(self, call: UnitCall) -> bytes:
        metadata = call.metadata if self._wants_metadata else None
        try:
            body = pickle.dumps((call.job_id, call.data, metadata, call.carrier), 5)
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
            raise ItemError("unpicklable_input", told, error_type=type(error).__name__) from error
        limit = self._config.max_item_bytes
        if limit is not None and len(body) > limit:
            raise ItemError("too_large", f"{len(body):,} bytes are more than the {limit:,} that an item may have")
        return body

    def _planned(self) -> bytes:
        config = self._config
        setup = None if config.setup is None else self._by_value(config.setup)
        plan = planned(config, self.lane, self._by_value(config.handler), setup)
        return pickle.dumps(tuple(plan._replace(sys_path=[], argv=[], main_path=None, main_name=None)), 5)

    def _by_value(self, handler: Any) -> bytes:
        """What is importable goes by name, what is not by value: the cluster has the image, not the script."""
        if isinstance(handler, HandlerFactory):
            return pickle.dumps(Built(handler.path, handler.args), 5)
        cloudpickle: Any = import_module("cloudpickle")
        try:
            body: bytes = cloudpickle.dumps(handler, 5)
        except Exception as error:
            told = f"stage {self._config.stage!r}: {name_of(handler)} cannot be sent to the {self.lane} lane ({error})"
            raise DefinitionError(told) from error
        return body

    def _started(self, event: tuple[Any, Any]) -> None:
        message = event[1]
        clock = self._clocks.get(message["seq"])
        if clock is None:
            return
        if clock.worker is not None:
            self._events.worker_died(f"the Dask worker {clock.worker} went away", [clock.call.job_id])
        clock.start(message["worker"])

    def _report(self, body: bytes | None) -> None:
        if body is not None:
            self._events.worker_reported(pickle.loads(body))

    def _let_go(self, cancelled: Awaitable[Any]) -> None:
        task = asyncio.ensure_future(cancelled)
        self._letting_go.add(task)
        task.add_done_callback(self._letting_go.discard)

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):
                await client.close(timeout=2)


class _Clock:
    """A unit's timeout, counted from when its task started; started anew when the task runs again."""

    def __init__(self, call: UnitCall) -> None:
        self.call = call
        self.worker: str | None = None
        self.due: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._timer: asyncio.TimerHandle | None = None

    def start(self, worker: str) -> None:
        """The task runs now, on *worker*."""
        self.worker = worker
        self.stop()
        if self.call.timeout_s is not None:
            self._timer = asyncio.get_running_loop().call_later(self.call.timeout_s, self._strike)

    def stop(self) -> None:
        """The task does not run any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _strike(self) -> None:
        if not self.due.done():
            self.due.set_result(None)


async def _one_by_one(bodies: deque[bytes]) -> AsyncIterator[Any]:
    while bodies:
        yield pickle.loads(bodies.popleft())

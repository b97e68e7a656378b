"""
One attempt: a container that holds a run's lease works it off and records what became of it.

`Attempt` knows the run store's port, the flow and the blocs' protocol, and nothing of Postgres. It
never raises for what happens to the run: `Attempt.work` returns the result, and it is recorded.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cableway.assembly import Assembly
from cableway.blocs.kinds import Bloc, Ending
from cableway.errors import (
    EXIT_INTERRUPTED,
    CablewayError,
    InterruptedRunError,
    ItemsFailedError,
    LeaseLostError,
    RunCancelledError,
    RunTimeoutError,
    SinkError,
)
from cableway.flow.clock import Clock
from cableway.flow.observer import FlowEnded, Observer, Outcome
from cableway.flow.pipeline import ETLPipeline
from cableway.letters import DeadLetterBox

if TYPE_CHECKING:
    from cableway.store.port import Lease, RunStore

log = logging.getLogger("cableway.job")

LETTERS_EVERY_S = 2.0
"""Seconds between two writes of dead letters while a run goes on."""


@dataclass(slots=True)
class Worked:
    """What came of the items, before anything is recorded."""

    counts: dict[str, int]
    error: BaseException | None


class Attempt:
    """Runs an assembled pipeline under a lease. *watch* is entered, with the flow, while items are on their way."""

    def __init__(
        self,
        assembly: Assembly,
        store: RunStore,
        lease: Lease,
        letters: DeadLetterBox,
        observers: Sequence[Observer],
        *,
        clock: Clock | None = None,
        watch: Callable[[ETLPipeline], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._assembly = assembly
        self._watch = watch
        self._store = store
        self._lease = lease
        self._letters = letters
        self._stopped_by: CablewayError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tally = _Tally()
        self.pipeline = ETLPipeline(
            assembly.config(), source=[assembly.root()], observers=(self._tally, letters, *observers), clock=clock
        )
        assembly.register(self.pipeline)

    @property
    def lost(self) -> bool:
        """Whether the lease is gone, so that nothing may be written any more."""
        return isinstance(self._stopped_by, LeaseLostError)

    @property
    def abandoned(self) -> bool:
        """Whether a handler that could not be stopped may still be at work."""
        return any(stage.abandoned for stage in self.pipeline.stage_statistics())

    def lease_lost(self) -> None:
        """Stop at once: another attempt may hold the run. Safe from any thread."""
        self._stop_from_outside(LeaseLostError("the lease could not be renewed in time"), grace_s=0)

    def cancel(self) -> None:
        """End the run because somebody asked for it. Safe from any thread."""
        self._stop_from_outside(RunCancelledError("the run was cancelled"), grace_s=self._grace_s)

    async def work(self) -> Worked:
        """Open the blocs, let the items through, close the blocs, and say how it went."""
        self._loop = asyncio.get_running_loop()
        error: BaseException | None = None
        opened: list[Bloc] = []
        with self._signals():
            try:
                await self._open(opened)
                await self._run()
            except Exception as exc:  # noqa: BLE001 - whatever it is becomes the run's recorded outcome
                error = exc
            error = self._stopped_by or error or self._too_many_errors()
            await self._flush_letters()
            error = await self._close(opened, error)
        return Worked(self._counts(), error)

    async def _open(self, opened: list[Bloc]) -> None:
        for bloc in self._assembly.blocs.values():
            opened.append(bloc)
            if type(bloc).open is not Bloc.open:
                await _call(bloc.open, self._assembly.context(bloc.name))

    async def _run(self) -> None:
        timeout_s = self._assembly.definition.settings.timeout_s
        letters = asyncio.create_task(self._letters_now_and_then())
        try:
            with self._watch(self.pipeline):
                async with asyncio.timeout(timeout_s):
                    await self.pipeline.run()
        except TimeoutError:
            if self.pipeline.is_running():
                await self.pipeline.cancel(0)
            raise RunTimeoutError(f"the run took longer than its timeout of {timeout_s:g} s") from None
        finally:
            letters.cancel()

    async def _close(self, opened: Sequence[Bloc], error: BaseException | None) -> BaseException | None:
        for bloc in opened:
            if type(bloc).close is Bloc.close:
                continue
            try:
                await _call(bloc.close, self._ending(error))
            except Exception as exc:
                log.debug("bloc %s failed to close", bloc.name, exc_info=True)
                if error is None:
                    error = exc if isinstance(exc, CablewayError) else SinkError(_naming(bloc, exc))
        return error

    def _ending(self, error: BaseException | None) -> Ending:
        match error:
            case None:
                return Ending.COMPLETED_WITH_ERRORS if self._failed() else Ending.SUCCEEDED
            case InterruptedRunError() | LeaseLostError():
                return Ending.INTERRUPTED
            case _:
                return Ending.FAILED

    def _too_many_errors(self) -> CablewayError | None:
        failed = self._failed()
        if failed <= self._allowed_errors():
            return None
        where, error = self._letters.first_error or ("an item", RuntimeError("unknown"))
        message = f"{failed} item{'s' if failed != 1 else ''} failed, {self._allowed_errors()} allowed; first: {where}"
        return ItemsFailedError(f"{message}: {_words(error)}")

    def _allowed_errors(self) -> int:
        allowed = self._assembly.definition.settings.max_errors
        if isinstance(allowed, int):
            return allowed
        return int(float(allowed.rstrip("%")) / 100 * self._tally.emitted)

    def _failed(self) -> int:
        return self._tally.outcomes[Outcome.FAILED] + self._tally.outcomes[Outcome.LOST]

    def _counts(self) -> dict[str, int]:
        return {"emitted": self._tally.emitted, **{str(name): count for name, count in self._tally.outcomes.items()}}

    async def _letters_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(LETTERS_EVERY_S)
            await self._flush_letters()

    async def _flush_letters(self) -> None:
        letters = self._letters.take()
        if letters:
            await asyncio.to_thread(self._store.add_dead_letters, self._lease, letters)

    @property
    def _grace_s(self) -> float:
        return self._assembly.definition.settings.grace_s

    def _stop_from_outside(self, reason: CablewayError, grace_s: float) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._stop, reason, grace_s)

    def _stop(self, reason: CablewayError, grace_s: float) -> None:
        if self._stopped_by is None:
            self._stopped_by = reason
            self._stopping = asyncio.ensure_future(self.pipeline.cancel(grace_s))

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT drain the run within its grace; the second one ends the process at once."""
        loop = asyncio.get_running_loop()
        caught: list[float] = []

        def stop() -> None:
            if caught:
                os._exit(EXIT_INTERRUPTED)
            caught.append(time.monotonic())
            self._stop(InterruptedRunError("the run was stopped by a signal"), self._grace_s)

        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.getsignal(number) for number in numbers}
        try:
            for number in numbers:
                loop.add_signal_handler(number, stop)
        except (RuntimeError, ValueError):
            # Not the main thread: whoever owns the process owns its signals.
            yield
            return
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)
                signal.signal(number, before[number])


class _Tally(Observer):
    """How many items there were, and how they ended."""

    def __init__(self) -> None:
        self.emitted = 0
        self.outcomes = dict.fromkeys(Outcome, 0)

    def run_ended(self, event: FlowEnded) -> None:
        """Keep the flow's own account."""
        self.emitted = event.emitted
        self.outcomes.update(event.outcomes)


async def _call(method: Callable[..., Awaitable[None] | None], *args: Any) -> None:
    if inspect.iscoroutinefunction(method):
        await method(*args)
    else:
        await asyncio.to_thread(method, *args)


def _naming(bloc: Bloc, error: BaseException) -> str:
    return f"bloc {bloc.name!r} could not finish: {_words(error)}"


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if not isinstance(error, CablewayError) else str(error)

"""
One attempt: a container that holds a run's lease lets the run's items through and says how it went.

`Attempt` knows the run store's port, the flow and the blocs' protocol, and nothing of Postgres. It
never raises for what happens to the run: `Attempt.work` returns it, to be recorded.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from cableway.blocs.kinds import Bloc, Ending, ExporterBloc, LoaderBloc
from cableway.errors import (
    ENDS_ATTEMPT,
    CablewayError,
    FinalizeError,
    InterruptedRunError,
    LeaseLostError,
    RecordError,
    RunFailedError,
    RunTimeoutError,
    SinkError,
    SourceError,
)
from cableway.flow.clock import Clock
from cableway.flow.observer import Observer
from cableway.flow.pipeline import ETLPipeline
from cableway.running.assembly import Assembly
from cableway.running.letters import CHECKPOINT_EVERY_S, DeadLetterBox, LetterPost
from cableway.running.report import full_words_of, lack_of
from cableway.running.stopping import Stop
from cableway.running.threads import called
from cableway.running.upkeep import Upkeep
from cableway.running.verdict import Verdict

if TYPE_CHECKING:
    from cableway.definition import JsonObject
    from cableway.items import WorkItem
    from cableway.running.line import Line
    from cableway.running.payload_folder import PayloadFolder
    from cableway.store.port import Lease, RunStore

log = logging.getLogger("cableway.job")

DRAIN_SHARE = 0.8
"""How much of the grace items get; the rest is for closing and recording."""
CLOSE_AT_LEAST_S = 0.3
"""Seconds that blocs get to close in, though the grace is over."""


@dataclass(slots=True)
class Worked:
    """What came of the items, before anything is recorded. ``committed``: what the exporters held was kept."""

    counts: dict[str, int]
    error: BaseException | None
    committed: bool = False


class Attempt:
    """Runs an assembled pipeline under a lease, until it is through or *stop* says otherwise.

    *watch* is entered, with the flow, while items are on their way. *time_left_s* is what earlier attempts have left
    of the run's timeout. *line* is the lap to be worked on, where there is one; *taken_up*: earlier attempts have
    been at work on it. *payloads*: where those go that are too large for a dead letter.
    """

    def __init__(  # noqa: PLR0913 - what an attempt is made of
        self,
        assembly: Assembly,
        store: RunStore,
        lease: Lease,
        stop: Stop,
        *,
        observers: Sequence[Observer] = (),
        span_context: Callable[[WorkItem], tuple[str, str] | None] | None = None,
        clock: Clock | None = None,
        time_left_s: float | None = None,
        watch: Callable[[ETLPipeline], AbstractContextManager[object]] = nullcontext,
        line: Line | None = None,
        taken_up: bool = False,
        checkpoint_s: float = CHECKPOINT_EVERY_S,
        payloads: PayloadFolder | None = None,
    ) -> None:
        self._assembly = assembly
        self._watch = watch
        self._stop = stop
        self._settings = assembly.definition.settings
        stop.grace_s = self._settings.grace_s
        self._verdict = Verdict(assembly.readers.sources, self._settings.max_errors, stop)
        box = DeadLetterBox(
            assembly.payload,
            span_context,
            blocs=assembly.names,
            spills=payloads is not None,
            source=assembly.given_by,
        )
        self._upkeep = Upkeep(assembly, line, store, lease, taken_up=taken_up)
        mark = self._upkeep.mark
        self._post = LetterPost(box, store, lease, stop, mark=mark, checkpoint_s=checkpoint_s, payloads=payloads)
        self._body: asyncio.Task[None] | None = None
        self._cancelling: asyncio.Task[None] | None = None
        self._closing: asyncio.Timeout | None = None
        self._time_left_s = time_left_s
        self._deadline: float | None = None
        self._loop_s = 0.0
        self._flow_s = 0.0
        self.pipeline = ETLPipeline(
            assembly.config(),
            source=[assembly.root()],
            observers=tuple(filter(None, (self._verdict, box, self._upkeep.observer, *observers))),
            clock=clock,
        )
        assembly.register(self.pipeline)

    async def work(self) -> Worked:
        """Open the blocs, let the items through, close the blocs, and say how it went."""
        loop = asyncio.get_running_loop()
        timeout_s = self._settings.timeout_s if self._time_left_s is None else self._time_left_s
        self._deadline = None if timeout_s is None else loop.time() + timeout_s
        opened: list[Bloc] = []
        self._body = loop.create_task(self._open_and_flow(opened))
        self._stop.listen(partial(_soon, loop, self._end_early))
        self._post.start()
        await asyncio.wait((self._body,))
        error = self._outcome(self._body)
        try:
            await self._post.close()
        except CablewayError as unsent:
            error = error or unsent
        error = await self._close(opened, self._stop.reason if self._stop.lost else error)
        committed = error is None
        if not self._stop.lost:
            error = await self._kept_up(error)
        self._stop.close()
        await self._assembly.close()
        return Worked(self._verdict.counts(), error, committed=committed)

    def ending(self) -> str:
        """What the end row of a transaction for the whole run holds."""
        return self._upkeep.ending(self._verdict)

    async def _kept_up(self, error: BaseException | None) -> BaseException | None:
        """*error*, once it is stored where to go on; without one, that this could not be stored."""
        try:
            await self._upkeep.end(self._post, self._verdict, error)
        except LeaseLostError as lost:
            return lost
        except Exception as unsent:  # noqa: BLE001 - whatever it is, the run says so
            log.warning("how far the run is could not be stored: %s", unsent)
            return error or RecordError(f"how far the source was read could not be stored: {unsent}")
        return error

    async def _open_and_flow(self, opened: list[Bloc]) -> None:
        limit = asyncio.timeout_at(self._deadline)
        began_s = time.thread_time()
        try:
            async with limit:
                for bloc in self._assembly.blocs.values():
                    opened.append(bloc)
                    await self._open(bloc)
                await self._upkeep.begin(self._post, self._verdict)
                with self._watch(self.pipeline):
                    await self._flow()
        except TimeoutError:
            if not limit.expired():
                raise
            raise self._too_slow() from None
        finally:
            self._loop_s = time.thread_time() - began_s

    def profile(self) -> JsonObject:
        """How long workers were busy, for explanations."""
        return self._assembly.profile(self.pipeline, flow_s=self._flow_s, loop_s=self._loop_s)

    async def _flow(self) -> None:
        began_s = time.monotonic()
        try:
            await self.pipeline.run()
        finally:
            self._flow_s = time.monotonic() - began_s

    async def _open(self, bloc: Bloc) -> None:
        if type(bloc).open is Bloc.open:
            return
        try:
            await called(bloc.open, self._assembly.context(bloc.name))
        except CablewayError:
            raise
        except Exception as error:
            raise lack_of(error) or _failing(bloc)(
                f"bloc {bloc.name!r} could not start: {full_words_of(error)}"
            ) from error

    def _end_early(self) -> None:
        """On the loop: there is a reason to stop, or a better one than before."""
        loop = asyncio.get_running_loop()
        if self._closing is not None:
            until = self._closing.when()
            at_latest = self._close_by()
            if until is None or at_latest < until:
                self._closing.reschedule(at_latest)
        elif self.pipeline.is_running():
            drain_s = 0.0 if self._stop.lost else self._settings.grace_s * DRAIN_SHARE
            self._cancelling = loop.create_task(self.pipeline.cancel(drain_s))
        elif self._body is not None and not self._body.done():
            self._body.cancel()

    def _close_by(self) -> float:
        """When blocs must be closed, by the loop's clock, in a run that ends early."""
        now, loop_now = time.monotonic(), asyncio.get_running_loop().time()
        return loop_now + max(min(self._settings.grace_s, self._stop.until - now), CLOSE_AT_LEAST_S)

    def _outcome(self, body: asyncio.Task[None]) -> BaseException | None:
        reason = self._stop.reason
        raised = None if body.cancelled() else body.exception()
        if isinstance(reason, LeaseLostError):
            return reason
        through = not body.cancelled() and raised is None and self._verdict.complete
        # What ends the attempt does so of the last item as well, which is in no dead letter.
        if reason is not None and (not through or isinstance(reason, ENDS_ATTEMPT)):
            return reason
        error = self._verdict.error(raised)
        return error if error is None else lack_of(error) or error

    async def _close(self, opened: Sequence[Bloc], error: BaseException | None) -> BaseException | None:
        """Close every bloc, within what time there is; the first that cannot makes the others give up too."""
        in_a_hurry = error is not None or self._stop.reason is not None
        until = self._close_by() if in_a_hurry else self._deadline
        bloc: Bloc | None = None
        try:
            async with asyncio.timeout_at(until) as self._closing:
                for bloc in opened:
                    if type(bloc).close is not Bloc.close:
                        error = await self._closed(bloc, error)
        except TimeoutError:
            late = self._stop.reason or (self._too_slow() if error is None else None)
            name = bloc.name if bloc is not None else ""
            log.warning("bloc %s did not close in time; what it had not committed is given up", name)
            error = error or late
        return self._stop.reason if self._stop.lost else error

    async def _closed(self, bloc: Bloc, error: BaseException | None) -> BaseException | None:
        try:
            await called(bloc.close, self._ending(error))
        except Exception as failed:
            log.debug("bloc %s failed to close", bloc.name, exc_info=True)
            if error is not None:
                return error
            if isinstance(failed, CablewayError) and not isinstance(failed, SinkError | SourceError):
                return failed
            return FinalizeError(f"bloc {bloc.name!r} could not finish: {full_words_of(failed)}")
        return error

    def _ending(self, error: BaseException | None) -> Ending:
        match error:
            case None:
                return Ending.COMPLETED_WITH_ERRORS if self._verdict.failed else Ending.SUCCEEDED
            case InterruptedRunError() | LeaseLostError():
                return Ending.INTERRUPTED
            case _:
                return Ending.FAILED

    def _too_slow(self) -> RunTimeoutError:
        return RunTimeoutError(f"the run took longer than its timeout of {self._settings.timeout_s:g} s")


def _failing(bloc: Bloc) -> type[RunFailedError]:
    match bloc:
        case LoaderBloc():
            return SourceError
        case ExporterBloc():
            return SinkError
        case _:
            return RunFailedError


def _soon(loop: asyncio.AbstractEventLoop, tell: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop has ended meanwhile
        loop.call_soon_threadsafe(tell)

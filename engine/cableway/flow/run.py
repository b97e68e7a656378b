"""One run of a flow: its tasks, from the first item's fetching to the last worker's end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

from cableway.flow import lean, quick
from cableway.flow.attempt import CLEANUP_S, SetupError
from cableway.flow.audience import Audience
from cableway.flow.build import Crew, Registered
from cableway.flow.channel import Hand
from cableway.flow.clock import Clock
from cableway.flow.config import ETLPipelineConfig
from cableway.flow.leash import Leash, close, leashed
from cableway.flow.ledger import Ledger
from cableway.flow.leftovers import Leftovers
from cableway.flow.observer import FlowEnded, FlowStarted, Observer, Outcome
from cableway.flow.source import Feed, Source
from cableway.flow.stage import Stage
from cableway.flow.tracker import CompletionCallback, ItemTracker
from cableway.flow.units import set_up
from cableway.flow.watchdog import Watchdog

log = logging.getLogger("cableway.flow")

# How long pools may take to end when nothing is at work in them any more.
CLOSE_S = 5.0


class FlowRun:
    """Starts, drains or cancels the work of one run, and accounts for it at the end."""

    def __init__(
        self,
        config: ETLPipelineConfig,
        registered: Mapping[str, Registered],
        source: Source,
        *,
        observers: Iterable[Observer] = (),
        callbacks: list[CompletionCallback],
        shared: Mapping[str, Any],
        clock: Clock,
    ) -> None:
        self.config = config
        self.error: BaseException | None = None
        self.audience = Audience(observers)
        names = [stage.name for stage in config.stages]
        self.tracker = ItemTracker(names, keep_data=config.keep_data) if config.enable_tracking else None
        self.ledger = Ledger(
            audience=self.audience,
            clock=clock,
            tracker=self.tracker,
            callbacks=callbacks,
            keep_data=config.keep_data,
            abort=self.abort,
        )
        self.now_ns = clock.now_ns
        self.crews = self._build(registered, shared, clock)
        self.feed = Feed(source, self.crews[0].stage, config.queue_refresh_rate)
        self._leashes: dict[asyncio.Task[None], Leash] = {}
        self._stopping: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        blocked_s = config.loop_blocked_after_s
        self._watchdog = Watchdog(config.pipeline_name, blocked_s) if blocked_s is not None else None
        self._leftovers = Leftovers()
        self.main = asyncio.get_running_loop().create_task(self._run())

    def _build(self, registered: Mapping[str, Registered], shared: Mapping[str, Any], clock: Clock) -> list[Crew]:
        stages = [Stage(index, config, self.ledger) for index, config in enumerate(self.config.stages)]
        for stage, following in pairwise(stages):
            stage.next = following
        cluster = self.config.dask_address
        return [Crew(stage, registered[stage.name], shared, clock, cluster) for stage in stages]

    def share(self, name: str, value: Any) -> None:
        """Send *value* to the workers of every pool whose handler asks for *name*."""
        for crew in self.crews:
            for factory, pool in crew.factories:
                if name in factory.shared:
                    pool.share(name, value)

    def stop(self) -> None:
        """Ask the source for nothing more; what is on its way goes to its end."""
        self.feed.stop()

    def abort(self, error: BaseException) -> None:
        """The run cannot go on: end what is under way, and raise *error* at the end."""
        if self.error is None:
            self.error = error
        self.cancel(0.0)

    def cancel(self, grace_s: float) -> None:
        """End the run: what waits is cancelled now, what is at work after at most *grace_s* seconds."""
        self.ledger.cancelled = True
        self.feed.stop()
        if grace_s <= 0:
            self._hurry.set()
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(self._cancel(grace_s))

    async def _cancel(self, grace_s: float) -> None:
        for crew in self.crews:
            crew.close()
            self._sweep(crew)
        if self._leashes:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self._hurry.wait()
        await self._end_tasks()

    async def _all_ended(self) -> None:
        while self._leashes:
            await asyncio.wait(tuple(self._leashes))

    async def _end_tasks(self) -> None:
        tasks = dict(self._leashes)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tuple(tasks), timeout=CLEANUP_S)
        for task, leash in tasks.items():
            if not task.done():
                log.warning("a handler does not let itself be cancelled; it is abandoned")
                leash.let_go = True
                task.cancel()

    async def _run(self) -> None:
        self._leftovers.mark()
        try:
            self._tell_started()
            feed = self._spawn(self.feed.run, None)
            await self._start_pools()
            if not self.ledger.cancelled:
                self._man_all()
            await self._drain(feed)
        except asyncio.CancelledError:
            self.cancel(0.0)
        except Exception as error:
            log.exception("the flow itself failed")
            self.abort(error)
        try:
            await self._finish()
            self._leftovers.tell()
        finally:
            if self._watchdog is not None:
                self._watchdog.close()

    async def _start_pools(self) -> None:
        """Every lane stands before the first handler runs; the source is asked meanwhile."""
        starts = [pool.start for crew in self.crews for pool in crew.pools]
        tasks = [self._spawn(partial(_started, start), None) for start in starts]
        if tasks:
            await asyncio.wait(tasks)

    def _man_all(self) -> None:
        for crew in self.crews:
            if crew.stage.expiry is not None:
                crew.stage.expiry.open()
            if crew.intake is not None:
                self._spawn(crew.intake.run, crew)
            if crew.pools:
                crew.work.surplus = partial(self._balance, crew)
            for _ in range(crew.window()):
                self._spawn(self._server(crew), crew)

    def _server(self, crew: Crew) -> Callable[[Hand], Awaitable[None]]:
        stage, work = crew.stage, crew.work
        serve: Callable[[Hand], Awaitable[None]] = work.serve
        if lean.is_lean(stage):
            followed = self.tracker is not None or self.audience.hears_hops
            serve = partial(lean.serve if followed else quick.serve, stage, work)
        setup = stage.config.setup
        if setup is None or crew.pools or crew.thread_pools:
            return serve

        async def serve_after_setup(hand: Hand) -> None:
            try:
                await set_up(setup)
            except Exception as error:
                raise SetupError(f"stage {stage.name!r}: setup raised {type(error).__name__}: {error}") from error
            await serve(hand)

        return serve_after_setup

    def _balance(self, crew: Crew, hand: Hand) -> bool:
        """Whether a worker of this crew is one too many; call more in when the pool wants more in its hands."""
        window, working = crew.window(), len(crew.hands)
        queue = crew.stage.queue
        if queue.items or queue.held or not queue.closed:  # else each one called in would end and make room for another
            for _ in range(working, window):
                self._spawn(self._server(crew), crew)
        if working <= window:
            return False
        crew.hands.discard(hand)  # at once: others ask in the same turn of the loop, and not all of them may go
        return True

    def _spawn(self, serve: Callable[[Hand], Awaitable[None]], crew: Crew | None) -> asyncio.Task[None]:
        hand, leash = Hand(), Leash()
        work = _awaited(serve, hand)
        task = asyncio.get_running_loop().create_task(leashed(work, leash))
        task.add_done_callback(lambda _: close(work))  # a task cancelled before its first step never began it
        self._leashes[task] = leash
        if crew is not None:
            crew.tasks.add(task)
            crew.hands.add(hand)
        task.add_done_callback(partial(self._ended, crew, hand))
        return task

    def _ended(self, crew: Crew | None, hand: Hand, task: asyncio.Task[None]) -> None:
        self._leashes.pop(task, None)
        if self.ledger.cancelled and not self._leashes:
            self._hurry.set()
        if crew is not None:
            crew.tasks.discard(task)
            crew.hands.discard(hand)
        error = None if task.cancelled() else task.exception()
        if hand.item is not None:
            self.ledger.end(hand.item, Outcome.LOST if error is not None else Outcome.CANCELLED, self.now_ns(), error)
            hand.item = None
        if error is not None:
            self.abort(error)

    async def _drain(self, feed: asyncio.Task[None]) -> None:
        """Wait for each stage in turn: when nobody feeds it any more, its queue is closed and runs empty."""
        await asyncio.wait((feed,))
        for crew in self.crews:
            crew.stage.inbox.close()
            while crew.tasks:
                await asyncio.wait(tuple(crew.tasks))
            crew.close()

    async def _finish(self) -> None:
        if self._stopping is not None:
            await asyncio.wait((self._stopping,))
        await self._all_ended()
        for crew in self.crews:
            self._sweep(crew)
        await self._close_pools()
        await self.ledger.settled(CLOSE_S)
        if self.error is None:
            self.error = self.feed.error
        try:
            self.ledger.check()
        except Exception as error:
            self.error = self.error or error
        self._tell_ended()

    async def _close_pools(self) -> None:
        grace_s = 0.0 if self.ledger.cancelled else CLOSE_S
        closing = [pool.close(grace_s) for crew in self.crews for pool in crew.pools]
        for outcome in await asyncio.gather(*closing, return_exceptions=True):
            if isinstance(outcome, Exception):
                log.error("a pool could not be closed", exc_info=outcome)
        for crew in self.crews:
            for threads in crew.thread_pools:
                threads.close()

    def _sweep(self, crew: Crew) -> None:
        now = self.now_ns()
        for item in crew.sweep():
            crew.stage.counts.cancelled += 1
            self.ledger.end(item, Outcome.CANCELLED, now)

    def _tell_started(self) -> None:
        if self.audience.run_started is not None:
            stages = tuple(
                (
                    crew.stage.name,
                    tuple(unit.bloc.name for unit in crew.stage.units),
                    str(crew.stage.config.execution_type),
                )
                for crew in self.crews
            )
            self.audience.run_started(
                FlowStarted(pipeline=self.config.pipeline_name, stages=stages, at_ns=self.now_ns())
            )

    def _tell_ended(self) -> None:
        if self.audience.run_ended is not None:
            outcomes = self.ledger.outcomes
            self.audience.run_ended(
                FlowEnded(emitted=self.ledger.emitted, outcomes=outcomes, error=self.error, at_ns=self.now_ns())
            )


async def _awaited(serve: Callable[[Hand], Awaitable[None]], hand: Hand) -> None:
    await serve(hand)


async def _started(start: Callable[[], Awaitable[None]], _: Hand) -> None:
    await start()

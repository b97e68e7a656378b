"""The units of one visit: run until each has given its result, failed for good, or waits to be tried again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cableway.flow.attempt import end, failure, is_ours
from cableway.flow.leash import Leash, leashed
from cableway.flow.visit import Refusal, Visit

if TYPE_CHECKING:
    from cableway.flow.stage import Stage
    from cableway.flow.units import Unit


class Units:
    """Runs the units of a stage's visits."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._alone = len(stage.units) == 1
        for unit in stage.units:
            stage.counts.bloc(unit.bloc.name)

    async def run(self, visit: Visit) -> float | None:
        """Run what is due of *visit*.

        Return None when all blocs have given their results, else the time (by the loop's clock) at which
        the next is tried again. Raise `Refusal` when one failed for good.
        """
        if self._alone:
            return await self._attempt(self._stage.units[0], visit)
        return await self._run_all(visit)

    async def _run_all(self, visit: Visit) -> float | None:
        """Side by side. A bloc that waits for its next attempt is tried here while a neighbour is at work.

        When one has failed for good its neighbours finish what they are at, and nothing new begins: ending
        them would kill children and leave threads behind.
        """
        running: dict[asyncio.Task[float | None], tuple[Unit, Leash]] = {}
        refusal: Refusal | None = None
        try:
            while True:
                if refusal is None:
                    self._start_due(visit, running)
                if not running:
                    break
                refusal = await self._wait(visit, running) or refusal
        finally:
            for task, (_, leash) in running.items():
                await end(task, leash, self._stage.left_behind)
        if refusal is not None:
            raise refusal
        return min(visit.due.values(), default=None)

    def _start_due(self, visit: Visit, running: dict[asyncio.Task[float | None], tuple[Unit, Leash]]) -> None:
        loop = asyncio.get_running_loop()
        at_work = {unit.bloc.name for unit, _ in running.values()}
        now = loop.time() + 0.001
        for unit in self._stage.units:
            name = unit.bloc.name
            if name not in visit.results and name not in at_work and visit.due.get(name, 0.0) <= now:
                visit.due.pop(name, None)
                leash = Leash()
                running[loop.create_task(leashed(self._attempt(unit, visit), leash))] = unit, leash

    async def _wait(
        self, visit: Visit, running: dict[asyncio.Task[float | None], tuple[Unit, Leash]]
    ) -> Refusal | None:
        due = min(visit.due.values(), default=None)
        timeout = None if due is None else max(0.0, due - asyncio.get_running_loop().time())
        done, _ = await asyncio.wait(running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        refusal = None
        for task in done:
            unit, _ = running.pop(task)
            try:
                due = task.result()
            except Refusal as refused:
                refusal = refused
            else:
                if due is not None:
                    visit.due[unit.bloc.name] = due
        return refusal

    async def _attempt(self, unit: Unit, visit: Visit) -> float | None:
        stage, name = self._stage, unit.bloc.name
        item = visit.seen_by(name)
        attempt = visit.attempts[name] = visit.attempts.get(name, 0) + 1
        counts = stage.counts.blocs[name]
        counts.attempts += 1
        began = stage.now_ns()
        self._tell_started(unit, visit, began)
        try:
            result = visit.results[name] = await unit.attempt(item, attempt)
        except BaseException as error:
            if is_ours(error):
                raise
            ended = stage.now_ns()
            counts.work_ns += ended - began
            self._tell_finished(name, visit, error, ended)
            return self.retry_at(unit, visit, failure(error))
        counts.work_ns += result.finished_ns - result.started_ns
        self._tell_finished(name, visit, None, result.finished_ns)
        return None

    def retry_at(self, unit: Unit, visit: Visit, error: BaseException) -> float:
        """When the unit is tried again after *error*. Raise `Refusal` when it is not."""
        stage, name = self._stage, unit.bloc.name
        attempts = visit.attempts[name]
        counts = stage.counts.blocs[name]
        retry = unit.bloc.retry
        if retry is None or not retry.allows(error, attempts):
            counts.failed += 1
            raise Refusal(name, error, attempts) from None
        counts.retried += 1
        stage.counts.retried += 1
        delay = retry.delay_s(error, attempts)
        if stage.audience.item_retried is not None:
            stage.audience.item_retried(visit.item, stage.name, name, error, attempts, delay)
        return asyncio.get_running_loop().time() + delay

    def _tell_started(self, unit: Unit, visit: Visit, at_ns: int) -> None:
        if not self._alone and self._stage.audience.bloc_started is not None:
            self._stage.audience.bloc_started(visit.item, self._stage.name, unit.bloc.name, at_ns)

    def _tell_finished(self, name: str, visit: Visit, error: BaseException | None, at_ns: int) -> None:
        if not self._alone and self._stage.audience.bloc_finished is not None:
            self._stage.audience.bloc_finished(visit.item, self._stage.name, name, error, at_ns)

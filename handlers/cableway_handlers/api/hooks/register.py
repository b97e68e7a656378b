"""
Hooks and deliveries over Postgres: looked up, recorded and kept in groups, over a few connections of their own.

A group of deliveries is one statement and one commit, durable before anybody is answered. A connection that
broke while it lay idle is made anew and the group asked again: a key makes one run however often it is recorded.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

import psycopg

from cableway.errors import (
    CablewayError,
    CredentialsError,
    OverlapError,
    SchemaVersionError,
    SettingsError,
    UnavailableError,
    UnknownPipelineError,
    UnknownRunError,
)
from cableway.runs import Decision, NotRun, RecordedRun, Refused, record_many_async
from cableway.settings import DatabaseSettings
from cableway.store.connect import connect_async
from cableway.store.executor import AsyncExecutor
from cableway.store.faults import lacks_tables
from cableway.store.storable import storable_json, storable_text
from cableway_handlers.api.hooks.deliveries import Delivery, Outcome, Recorded
from cableway_handlers.api.hooks.groups import Groups
from cableway_handlers.api.hooks.hook import Hook, make_hook
from cableway_handlers.api.hooks.records import Keeper, Record
from cableway_handlers.api.problems import KeyReusedError

DEADLINE_S = 1.8
"""Seconds within which the database must have answered a question, or the caller is told to come again."""
WRITERS = 1
"""Groups that are recorded at once."""
FRESH_S = 0.02
"""Seconds for which what is known of a name is not asked again: under load a question for each request is too many."""
TIDY_S = 60.0
"""Seconds between two looks at what need not be kept any more."""
MAX_HOOKS = 10_000
"""Hooks that are kept ready."""
UNAVAILABLE = "The database is not available. Ask again; the same webhook makes one run however often it is sent."

_log = logging.getLogger("cableway.api")
_FAULTS = (TimeoutError, UnavailableError, CredentialsError, SettingsError, SchemaVersionError)
_Result = TypeVar("_Result")


class HookDesk:
    """The register of hooks. Make it anywhere; it connects in the loop that first asks it something."""

    def __init__(self, settings: DatabaseSettings, *, deadline_s: float = DEADLINE_S, writers: int = WRITERS) -> None:
        # Not to be held up for longer than a caller waits.
        self._settings = replace(
            settings,
            connect_budget_s=0,
            statement_timeout_s=min(settings.statement_timeout_s or deadline_s, deadline_s * 0.8),
            lock_timeout_s=min(settings.lock_timeout_s or deadline_s, deadline_s * 0.8),
        )
        self._deadline_s = deadline_s
        self._idle: list[AsyncExecutor] = []
        self._known: dict[str, tuple[float, Hook | SettingsError | None]] = {}
        self._made: dict[tuple[str, str, str], Hook | SettingsError] = {}
        self._found = Groups(self._find_all)
        self._recorded = Groups(self._record_all, lanes=writers)
        self._outcomes = Groups(self._outcomes_of)
        self._keeper = Keeper(self._keep_all)
        self._tidied_s = time.monotonic()
        self._tidying: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Answer what waits, keep what is to be kept, and let go of connections."""
        await self.flush()
        await self._keeper.close()
        if self._tidying is not None:
            await self._tidying
        while self._idle:
            await self._idle.pop().connection.close()

    async def flush(self) -> None:
        """Return when nothing waits to be answered or kept."""
        for groups in (self._found, self._recorded, self._outcomes):
            await groups.drain()
        await self._keeper.flush()

    async def find_hook(self, name: str) -> Hook | None:
        """The enabled webhook trigger of this name. Raise `UnavailableError`, or `SettingsError` for a bad config."""
        # A name with a character that Postgres has no form for is nobody's, and must not find another's.
        asked = name if name == storable_text(name) else ""
        known = self._known.get(asked)
        now_s = time.monotonic()
        if known is not None and now_s - known[0] < FRESH_S:
            found = known[1]
        else:
            found = await self._found.ask(asked)
            if len(self._known) >= MAX_HOOKS:
                self._known.clear()
            # Not fresher than the question: one that is there and one that is not are remembered alike.
            self._known[asked] = (now_s, found)
        if isinstance(found, SettingsError):
            raise found
        return found

    async def record(self, delivery: Delivery) -> Recorded | None:
        """Commit the delivery's run, or find the one that the same key made before; None: it is filtered."""
        return await self._recorded.ask(delivery)

    async def outcome(self, run_id: str) -> Outcome:
        """How the run stands. Raise `UnavailableError` or `UnknownRunError`."""
        return await self._outcomes.ask(run_id)

    def keep(self, record: Record) -> None:
        """Keep the record of a delivery soon."""
        self._keeper.add(record)

    async def _find_all(self, names: Sequence[str]) -> Sequence[Hook | SettingsError | None]:
        rows = await self._ask(lambda executor: executor.rows("hooks_of_names", names=sorted(set(names))))
        found = {row["name"]: self._hook(row["name"], row["pipeline"], row["config"]) for row in rows}
        return [found.get(name) for name in names]

    def _hook(self, name: str, pipeline: str, config: str) -> Hook | SettingsError:
        made = self._made.get((name, pipeline, config))
        if made is None:
            try:
                made = make_hook(name, pipeline, json.loads(config))
            except SettingsError as error:
                made = error
            if len(self._made) >= MAX_HOOKS:
                self._made.clear()
            self._made[name, pipeline, config] = made
        return made

    async def _record_all(self, deliveries: Sequence[Delivery]) -> Sequence[Recorded | Exception | None]:
        requests = [delivery.request() for delivery in deliveries]
        wanted = [number for number, request in enumerate(requests) if request is not None]
        answers: dict[int, Recorded | Exception | None] = {}
        if wanted:
            asked = [request for request in requests if request is not None]
            decisions = await self._ask(lambda executor: record_many_async(executor, asked))
            for number, decision in zip(wanted, decisions, strict=True):
                answers[number] = _answer(deliveries[number], decision)
        rest = [(number, each) for number, each in enumerate(deliveries) if requests[number] is None]
        if rest:
            answers.update(await self._made_before(rest))
        self._tidy_at_times()
        return [answers[number] for number in range(len(deliveries))]

    async def _made_before(self, deliveries: Sequence[tuple[int, Delivery]]) -> dict[int, Recorded | Exception | None]:
        wishes = [
            {"n": number, "pipeline": each.hook.pipeline, "key": each.key, "body_hash": each.body_hash}
            for number, each in deliveries
        ]
        rows = await self._ask(lambda executor: executor.rows("runs_of_deliveries", wishes=storable_json(wishes)))
        answers: dict[int, Recorded | Exception | None] = {number: each.refusal for number, each in deliveries}
        for row in rows:
            answers[row["n"]] = Recorded(row["run_id"], replayed=True) if row["same_body"] else _reused()
        return answers

    async def _outcomes_of(self, run_ids: Sequence[str]) -> Sequence[Outcome | Exception]:
        rows = await self._ask(lambda executor: executor.rows("run_outcomes", runs=sorted(set(run_ids))))
        found = {row["run_id"]: row for row in rows}
        return [
            UnknownRunError("There is no run with this id.")
            if (row := found.get(run_id)) is None
            else Outcome(row["state"], row["ended"], {name: value for name, value in row.items() if name != "ended"})
            for run_id in run_ids
        ]

    async def _keep_all(self, records: list[Record]) -> None:
        rows = storable_json([record.row() for record in records])
        await self._ask(lambda executor: executor.rows("keep_deliveries", records=rows))

    def _tidy_at_times(self) -> None:
        if time.monotonic() - self._tidied_s > TIDY_S:
            self._tidied_s = time.monotonic()
            self._tidying = asyncio.create_task(self._tidy_quietly())

    async def _tidy_quietly(self) -> None:
        try:
            await self.tidy()
        except Exception:  # noqa: BLE001 - a task has nobody to raise to
            # Another look follows; nobody waits for this one.
            _log.warning("old deliveries were not let go of", exc_info=True)

    async def tidy(self) -> None:
        """Forget keys that were remembered for long enough, and records that are too old or too many."""
        await self._ask(lambda executor: executor.rows("forget_keys"))
        await self._ask(lambda executor: executor.rows("drop_delivery_records"))

    async def _ask(self, question: Callable[[AsyncExecutor], Awaitable[_Result]]) -> _Result:
        """What *question* brings back. All that is the database's fault becomes one `UnavailableError`."""
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self._ask_until_answered(question)
        except _FAULTS as error:
            _log.warning("the database did not answer: %s", str(error) or type(error).__name__)
            raise UnavailableError(UNAVAILABLE) from error
        except psycopg.Error as error:
            if not lacks_tables(error):
                raise
            _log.warning("the database has no schema %r of this version", self._settings.schema)
            raise UnavailableError(UNAVAILABLE) from error

    async def _ask_until_answered(self, question: Callable[[AsyncExecutor], Awaitable[_Result]]) -> _Result:
        while True:
            was_idle = bool(self._idle)
            executor = self._idle.pop() if was_idle else await self._connected()
            try:
                answer = await question(executor)
            except UnavailableError:
                # One that broke while it lay idle says nothing about the database; every question may be asked twice.
                if not (executor.connection.closed and was_idle):
                    raise
            else:
                self._idle.append(executor)
                return answer
            finally:
                # What was given up in the middle is not in a state to be used again.
                if executor not in self._idle:
                    with suppress(psycopg.Error):
                        await executor.connection.close()

    async def _connected(self) -> AsyncExecutor:
        return AsyncExecutor(await connect_async(self._settings), self._settings)


def _answer(delivery: Delivery, decision: Decision) -> Recorded | Exception:
    match decision:
        case RecordedRun():
            return Recorded(decision.run_id, replayed=not decision.created) if decision.same_body else _reused()
        case NotRun():
            return OverlapError("The pipeline has as many runs open as it may have, and wants no further one.")
        case Refused(UnknownPipelineError() as error):
            # Its own words list the pipelines that there are, which is nothing for a sender of webhooks.
            _log.warning("hook %r: %s", delivery.hook.name, error)
            return UnknownPipelineError("The pipeline of this hook is not there.")
        case Refused(CablewayError() as error):
            return error


def _reused() -> KeyReusedError:
    return KeyReusedError("This delivery's key was taken before, with another body.")

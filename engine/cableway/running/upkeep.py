"""
The upkeep of a line by one attempt: it takes up what earlier ones have left, and says how far this one is.

A run without a source that can be kept has no line to keep up; its exporters' ledgers are asked all the same.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from cableway import failpoints
from cableway.blocs.kinds import ExporterBloc, LinePlace, LoaderBloc, PartPlace
from cableway.errors import CablewayError, DefinitionError, RunTimeoutError, SourceError
from cableway.running.cursor import Completion, CursorKeeper, Mark
from cableway.running.line import Line
from cableway.running.parts import refuse_parts, share_of
from cableway.running.recovery import Recovered, sources_of
from cableway.running.report import full_words_of, lack_of
from cableway.running.threads import in_thread
from cableway.running.whole import WholeLap, refuse_parts_of_another
from cableway.store.port import Held

if TYPE_CHECKING:
    from cableway.blocs.kinds import Bloc
    from cableway.definition import JsonObject
    from cableway.running.assembly import Assembly
    from cableway.running.exactness import Exactness
    from cableway.running.letters import LetterPost
    from cableway.running.stopping import Stop
    from cableway.running.verdict import Verdict
    from cableway.store.port import Lease, RunRecord, RunStore, TakenLine

LOOK_AGAIN_S = 1.0
"""Seconds between two looks at a line that another run holds."""


def take_line(
    exactness: Exactness, store: RunStore, lease: Lease, run: RunRecord, stop: Stop
) -> tuple[str, Line | None]:
    """The line of *run*, and the lap that it is to work on where its source is one to be kept.

    The line of a cursor is waited for while another run holds it. Raise *stop*'s reason, or `RunTimeoutError`,
    when that comes first, and `DefinitionError` for a part of what cannot be done in parts.
    """
    loader = exactness.source
    if run.part is not None:
        refuse_parts(exactness)
    if run.replay is not None:
        return run.line, _replayed_line(exactness, run) if run.replay.whole else None
    if loader is None or not (exactness.kept or loader.repeats(loader.config)):
        return run.line, None
    line = Line.at(run.cursor, run.run_id, loader, kept=False)
    if run.part is not None:
        if exactness.kept:
            taken = None if line.begun else _taken(loader, store, lease, run, stop)
            line.whole = WholeLap(store, lease, loader, taken)
        line.share = partial(share_of, loader, run.part, store, lease, line.whole)
        return run.line, line
    if not exactness.kept:
        return run.line, line
    taken = _taken(loader, store, lease, run, stop)
    refuse_parts_of_another(taken, loader)
    return taken.line, Line.at(taken.cursor, run.run_id, loader, kept=True)


def _taken(loader: LoaderBloc, store: RunStore, lease: Lease, run: RunRecord, stop: Stop) -> TakenLine:
    """The line of *loader*'s cursor, once no other run holds it."""
    until = math.inf if run.time_left_s is None else time.monotonic() + run.time_left_s
    idle_until = math.inf
    while isinstance(taken := store.take_line(lease, loader.name), Held):
        now = time.monotonic()
        if stop.reason is not None:
            raise stop.reason
        if now > until:
            raise RunTimeoutError(f"another run holds the cursor of loader {loader.name!r}; the time is up")
        # Its parts may wait for the place that we have.
        idle_until = math.inf if taken.expires_in_s else min(idle_until, now + lease.ttl_s)
        if now > idle_until:
            raise SourceError(
                f"a run in parts holds the cursor of loader {loader.name!r}, and nobody works on its parts"
            )
        stop.wait(min(LOOK_AGAIN_S, taken.expires_in_s or LOOK_AGAIN_S))
    return taken


def _replayed_line(exactness: Exactness, run: RunRecord) -> Line | None:
    """The lap that is read again from its beginning, as it was planned. Raise `DefinitionError` for a kept cursor."""
    loader = exactness.source
    if exactness.kept and loader is not None:
        raise DefinitionError(
            f"loader {loader.name!r} keeps a cursor: what it has read is not read again as a whole; set its state back "
            f"with `cableway state set {run.pipeline}`, or replay single dead letters"
        )
    if loader is None or not loader.repeats(loader.config):
        return None
    plan = (run.cursor or {}).get("plan")
    return Line.at({"plan": plan} if plan else None, run.run_id, loader, kept=False)


def part_place(exactness: Exactness, run: RunRecord, store: RunStore, lease: Lease) -> PartPlace | None:
    """Which part of what *run* is, where its exporters have to know."""
    if run.part is None or not exactness.aside:
        return None
    return PartPlace(line=store.whole_line(lease), number=run.part.number, parts=run.part.parts)


def place_of(
    bloc: Bloc, exactness: Exactness, line: Line | None, cursor: Callable[[], str], part: PartPlace | None = None
) -> LinePlace:
    """What *bloc* is told about its place on the line. *cursor* gives what an end row holds."""
    if line is None:
        return LinePlace(whole_run=exactness.whole_run)
    return LinePlace(
        whole_run=exactness.whole_run,
        lap=line.lap,
        end_key=line.end_key,
        cursor=cursor if isinstance(bloc, ExporterBloc) else None,
        part=part,
    )


class Upkeep:
    """Keeps the line of an attempt up: `begin` after the blocs were opened, `end` after they were closed.

    *line* is None where the source has no positions. *taken_up*: earlier attempts, or runs, have been at work.
    """

    def __init__(self, assembly: Assembly, line: Line | None, store: RunStore, lease: Lease, *, taken_up: bool) -> None:
        self._assembly = assembly
        self._exactness = assembly.exactness
        self._line = line
        self._store = store
        self._lease = lease
        self._taken_up = taken_up
        self._seen: Mark | None = None
        self._read: frozenset[str] = frozenset()
        self._replay = assembly.replay
        follow = line is not None and self._exactness.resumable and not line.over and self._replay is None
        self.observer: Completion | None = None
        if line is not None:
            assembly.gate.prefix = line.prefix
            line.made = partial(assembly.rows_in_and_out, committed=False)
            first = assembly.definition.stages[0].name
            self.observer = CursorKeeper(first, assembly.gate.passed_before) if follow else Completion()
        # Without one by item nobody looks at an item's id again.
        of_letters = self._replay is not None and not self._replay.whole
        assembly.gate.exact = not of_letters and (follow or bool(self._exactness.by_item))

    async def begin(self, post: LetterPost, verdict: Verdict) -> None:
        """Take up what there is, before the first item. Raise `SourceChangedError` where the source is another now."""
        exactness, gate, line = self._exactness, self._assembly.gate, self._line
        for cutter in self._assembly.cutters.values():
            cutter.stored = post.stored
        ended: dict[str, str | None] = {}
        if self._taken_up:
            ended = await self._recover()
            if gate.recovered is not None:
                verdict.know(gate.recovered)
        if line is None:
            return
        if not line.over and not exactness.by_item and ended and None not in ended.values():
            line.adopt(next(iter(ended.values())) or "")
        verdict.passed_over = lambda: gate.passed_over
        verdict.carried = line.counts
        gate.closed = line.over
        if not line.over:
            await self._begin_lap(line, post)
            verdict.carried = line.counts

    async def _recover_replay(self) -> None:
        """What exporters have they know by its key; of units that failed only this run's own count."""
        dead = await in_thread(self._store.dead_units, self._lease, "")
        self._assembly.gate.recovered = Recovered({}, {}, finishes=False, dead=dead)

    async def _recover(self) -> dict[str, str | None]:
        """Ask the ledgers and the dead letters. Returns what stands in the end rows, by exporter that commits runs."""
        exactness, assembly = self._exactness, self._assembly
        if self._replay is not None and not self._replay.whole:
            await self._recover_replay()
            return {}
        keys: dict[str, frozenset[str]] = {}
        ended: dict[str, str | None] = {}
        for name, commits in exactness.commits.items():
            bloc = assembly.blocs[name]
            if commits is not None and isinstance(bloc, ExporterBloc):
                found, end = await in_thread(_written, bloc)
                if commits == "item":
                    keys[name] = found
                else:
                    ended[name] = end
        if keys or (self._line is not None and exactness.resumable):
            prefix = assembly.gate.prefix
            self._read = frozenset(sources_of(keys.values(), prefix))
            dead = await in_thread(self._store.dead_units, self._lease, prefix)
            finishes = exactness.last_effect is not None and len(keys) == len(exactness.commits)
            assembly.gate.recovered = recovered = Recovered(keys, exactness.batch_stages, finishes=finishes, dead=dead)
            for number, cutter in assembly.cutters.items():
                cutter.known = recovered.cuts(number)
        elif not exactness.resumable and all(end is None for end in ended.values()):
            # All is worked on again, and what failed may go through now.
            await in_thread(partial(self._store.take_letters, self._lease, own=True))
        return ended

    async def _begin_lap(self, line: Line, post: LetterPost) -> None:
        loader = line.loader
        try:
            planned = await in_thread(line.begin, self._assembly.context(loader.name))
            if planned is not None and self._replay is None:
                await post.checkpoint(lambda: planned)
                failpoints.reach("planned")
            await in_thread(partial(line.take_up, self._read, from_start=not self._exactness.resumable))
        except CablewayError:
            raise
        except Exception as error:
            raise lack_of(error) or _unreadable(loader, error) from error

    def mark(self) -> Callable[[], JsonObject] | None:
        """What gives the cursor to be stored now, in a thread; None: it stands where it stood."""
        if self._line is None or not isinstance(self.observer, CursorKeeper):
            return None
        mark = self.observer.mark()
        if mark.position is None or mark == self._seen:
            return None
        self._seen = mark
        return partial(self._line.cursor, mark)

    def ending(self, verdict: Verdict) -> str:
        """What the end row of a transaction for the whole run holds."""
        if self._line is None:
            return ""
        return self._line.ending(verdict.counted(), self._assembly.rows_in_and_out(committed=True))

    async def end(self, post: LetterPost, verdict: Verdict, error: BaseException | None) -> None:
        """Store where to go on, or that all is done. The letters have been stored. Raise as `RunStore.checkpoint`."""
        line, observer = self._line, self.observer
        if self._replay is not None:
            return None  # it moves no cursor
        if line is None or observer is None or line.plan is None:
            return await self._end_adopted(post, error)
        done = observer.complete and not verdict.source_failed
        done = done and (error is None or "run" not in self._exactness.commits.values())
        if done and (line.kept or line.whole is not None or error is not None):
            await post.checkpoint(partial(line.cursor, Mark(None, _own(verdict)), complete=True))
        elif error is not None:
            mark = observer.mark()
            if mark.position is not None:
                await post.checkpoint(partial(line.cursor, mark))
        if done and line.whole is not None:
            await in_thread(line.whole.close)
        return None

    async def _end_adopted(self, post: LetterPost, error: BaseException | None) -> None:
        """A lap that was found over in the destination is over in the state database too."""
        line = self._line
        if line is not None and line.kept and line.over and error is None:
            await post.checkpoint(partial(line.cursor, Mark(None, {}), complete=True))
        if line is not None and line.whole is not None and line.over:
            await in_thread(line.whole.close)


def _own(verdict: Verdict) -> Mapping[str, int]:
    """What this attempt has counted beyond what was carried."""
    return {name: count - verdict.carried.get(name, 0) for name, count in verdict.counted().items()}


def _written(bloc: ExporterBloc) -> tuple[frozenset[str], str | None]:
    written = bloc.written()
    return frozenset(written.keys), written.ended


def _unreadable(loader: LoaderBloc, error: Exception) -> SourceError:
    return SourceError(f"loader {loader.name!r} could not begin: {full_words_of(error)}")

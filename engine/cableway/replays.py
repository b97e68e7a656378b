"""
What failed is worked on again: dead letters by a new run, a run that ended without success by one more attempt.

A replay is a run of its own, linked to the one that it replays and on the line of it, so that exporters know what they
have. Recording it takes the letters in the same statement: of two who ask for the same letters one gets them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cableway.definition import DOCUMENT_FORMAT, PipelineDefinition
from cableway.errors import ReplayError, UnknownRunError
from cableway.recording import facts_of
from cableway.store.executor import Row, Step, Steps
from cableway.store.ids import is_id, new_id
from cableway.store.port import RunState
from cableway.store.storable import storable_json, storable_text

if TYPE_CHECKING:
    from cableway.catalog import Catalog
    from cableway.definition import StageDefinition

MOST_LETTERS = 100_000
"""Letters that one wish takes at most."""

_SUCCESS = frozenset({RunState.SUCCEEDED, RunState.COMPLETED_WITH_ERRORS})


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterWish:
    """Which open dead letters are to be worked on again; None does not narrow."""

    run_id: str | None = None
    letters: Sequence[int] | None = None
    pipeline: str | None = None
    stage: str | None = None
    bloc: str | None = None
    error_type: str | None = None
    limit: int = MOST_LETTERS
    """Units at most, the oldest first; an item comes with all that failed of it."""
    version: int | None = None
    """Of the pipeline; unset: the version that failed."""
    latest: bool = False
    """Take the active version."""
    pipelines: Sequence[str] | None = None
    """Those that the caller may see; None: all."""

    @property
    def other_version(self) -> bool:
        """Whether it may be another version than the one that failed."""
        return self.latest or self.version is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """A run that works on something again."""

    run_id: str
    replay_of: str
    stage: str
    letters: int
    """Units that it took."""


def replay(wish: LetterWish, catalog: Catalog | None = None) -> Steps[tuple[Replayed, ...]]:
    """Record one run for each run and stage of the letters that are wanted.

    *catalog* lets faults be told now that the job would find. Raise `UnknownRunError`, or `ReplayError` with the way
    out; then nothing has changed.
    """
    if wish.run_id is not None:
        yield from _known_run(wish.run_id)
    groups = yield from _groups(wish)
    if not groups:
        raise (yield from _none_open(wish.run_id))
    ids = list({group["run_id"]: None for group in groups})
    runs = {row["run_id"]: row for row in (yield Step("runs_to_replay", {"run_ids": ids}))}
    wishes: list[dict[str, Any]] = []
    for group in groups:
        run = runs[group["run_id"]]
        version = (yield from _version(run, wish)) if wish.other_version else None
        _Judge(run if version is None else {**run, **version}, catalog).letters(group, other=version is not None)
        facts = None if version is None else facts_of(version["version"], version["settings"])
        line = None if version is None else new_id()
        wishes.append(_wish(run, group["stage"], group["letters"], facts=facts, line=line))
    made = yield _recorded(wishes)
    if not made:
        raise ReplayError("somebody else replays these dead letters already")
    return _replayed(made, wishes)


def retry(run_id: str) -> Steps[RunState]:
    """Give a run that ended without success one more attempt, on its own line: it goes on where it stopped.

    Raise `UnknownRunError`, or `ReplayError` for a run in any other state.
    """
    rows = (yield Step("retry_run", {"run_id": run_id})) if is_id(run_id) else []
    if not rows:
        raise _unknown(run_id)
    if rows[0]["parts"] is not None:
        raise ReplayError(f"run {run_id} is made of {rows[0]['parts']} parts: retry those that ended without success")
    if not rows[0]["retried"]:
        state = RunState(rows[0]["state"])
        if state is RunState.SUCCEEDED:
            way = "`cableway run` with its pipeline's name does all of it anew"
        elif state in _SUCCESS:
            way = f"replay what failed of it with `cableway runs replay {run_id} --failed`"
        else:
            way = "wait for its end, or cancel it"
        raise ReplayError(f"run {run_id} is {state}, and only one that ended without success is tried again: {way}")
    return RunState.QUEUED


def redo(run_id: str, stage: str, catalog: Catalog | None = None) -> Steps[Replayed]:
    """Record a run that reads the whole source of *run_id* again, and writes from *stage* on.

    On the line of a run without success it passes over what exporters have; after one that committed all it had, on a
    line of its own. Raise `UnknownRunError`, or `ReplayError` with the way out; then nothing has changed.
    """
    run = yield from _known_run(run_id)
    if run["parts"] is not None:
        raise ReplayError(f"run {run_id} is one of parts, whose shares are not read again: retry what failed of it")
    groups = yield from _groups(LetterWish(run_id=run_id))
    renewed = run["state"] in _SUCCESS
    _Judge(run, catalog).whole(stage, groups, renewed=renewed)
    letters = [letter for group in groups for letter in group["letters"]]
    wishes = [_wish(run, stage, letters, whole=True, line=new_id() if renewed else None)]
    made = yield _recorded(wishes)
    if not made:
        raise _open_run(run)
    return _replayed(made, wishes)[0]


def _known_run(run_id: str) -> Steps[Row]:
    rows = (yield Step("runs_to_replay", {"run_ids": [run_id]})) if is_id(run_id) else []
    if not rows:
        raise _unknown(run_id)
    return rows[0]


def _groups(wish: LetterWish) -> Steps[list[Row]]:
    texts = {"pipeline": wish.pipeline, "stage": wish.stage, "bloc": wish.bloc, "error_type": wish.error_type}
    values: dict[str, Any] = {name: None if text is None else storable_text(text) for name, text in texts.items()}
    values |= {"run_id": wish.run_id, "limit": max(0, min(wish.limit, MOST_LETTERS))}
    values["letters"] = None if wish.letters is None else list(wish.letters)
    values["pipelines"] = None if wish.pipelines is None else list(wish.pipelines)
    return (yield Step("letters_to_replay", values))


def _none_open(run_id: str | None) -> Steps[ReplayError]:
    if run_id is None:
        return ReplayError("no open dead letter is meant by this")
    rows = yield Step("letters_by_state", {"run_id": run_id})
    there = ", ".join(f"{row['count']} {row['state']}" for row in rows) or "none"
    return ReplayError(f"no open dead letter is meant by this; there are: {there}")


def _version(run: Row, wish: LetterWish) -> Steps[Row | None]:
    rows = yield Step("version_to_replay", {"pipeline": run["pipeline"], "version": wish.version})
    if not rows:
        raise ReplayError(f"pipeline {run['pipeline']!r} has no version {wish.version}")
    return None if rows[0]["version"] == run["version"] else rows[0]


def _wish(
    run: Row,
    stage: str,
    letters: Sequence[int],
    *,
    whole: bool = False,
    line: str | None = None,
    facts: dict[str, Any] | None = None,
) -> dict[str, Any]:
    named = {"run_id": new_id(), "replay_of": run["run_id"], "stage": stage}
    return {**named, "whole": whole, "line": line, "letters": list(letters), "facts": facts}


def _recorded(wishes: list[dict[str, Any]]) -> Step:
    return Step("record_replays", {"wishes": storable_json(wishes)}, (Step("commit_durably", {}),))


def _replayed(made: Sequence[Row], wishes: Sequence[dict[str, Any]]) -> tuple[Replayed, ...]:
    of = {wish["run_id"]: wish["replay_of"] for wish in wishes}
    return tuple(
        Replayed(run_id=row["run_id"], replay_of=of[row["run_id"]], stage=row["stage"], letters=row["letters"])
        for row in made
    )


def _unknown(run_id: str) -> UnknownRunError:
    return UnknownRunError(f"no run {storable_text(run_id)[:80]!r}")


def _open_run(run: Row) -> ReplayError:
    return ReplayError(f"run {run['run_id']} is {run['state']}: wait for its end, or cancel it")


class _Judge:
    """Says of one run what can be worked on again, seen from its version; with a catalog, from its blocs too."""

    def __init__(self, run: Row, catalog: Catalog | None) -> None:
        self._run = run
        self._definition = _definition_of(run, catalog)
        self._blocs = {} if self._definition is None else _built(self._definition, catalog)

    def letters(self, group: Row, *, other: bool) -> None:
        """Raise `ReplayError` where the *group* of letters cannot be worked on; *other*: by another version."""
        run, stage = self._run, group["stage"]
        again = f"`cableway runs retry {run['run_id']} --from {stage}` works on everything again"
        if not run["ended"]:
            raise _open_run(run)
        stages = self._from(stage)
        if self._definition is not None and stages and stages[0] is self._definition.stages[0]:
            raise ReplayError(
                f"what failed in stage {stage!r} failed as it was read, so there is no item to go on with: correct the "
                f"source, and start a new run, or `cableway runs retry {run['run_id']}` where the run failed"
            )
        gathers = [each.name for each in stages if each.gather]
        if gathers:
            raise ReplayError(f"stage {gathers[0]!r} gathers all items, so single ones cannot be replayed; {again}")
        if group["without"]:
            raise ReplayError(
                f"of {group['without']} dead letters in stage {stage!r} only the size was kept (with CABLEWAY_PAYLOADS "
                f"large ones are kept too); {again}"
            )
        refused = [name for name in group["row_blocs"] or () if self._kind(name) == "loader"]
        if refused:
            raise ReplayError(f"loader {refused[0]!r} refused rows of its source, which no stage can take; {again}")
        self._exporters(stages, again, other=other)

    def whole(self, stage: str, groups: Sequence[Row], *, renewed: bool) -> None:
        """Raise `ReplayError` where the whole cannot be worked on again from *stage* on."""
        run = self._run
        if not run["ended"]:
            raise _open_run(run)
        after = {each.name for each in self._from(stage)}
        before = [group["stage"] for group in groups if after and group["stage"] not in after]
        if before:
            raise ReplayError(f"items failed in stage {before[0]!r} already: begin there")
        for name, bloc in self._blocs.items():
            if bloc.kind == "loader" and bloc.keeps_cursor(bloc.config):
                raise ReplayError(
                    f"loader {name!r} keeps a cursor, so its source is not read again as a whole; replay dead letters, "
                    f"or set it back with `cableway state set {run['pipeline']}`"
                )
            names = {each.name for part in self._from(stage) for each in part.blocs}
            adds = bloc.kind == "exporter" and bloc.commits(bloc.config) == "item" and not bloc.in_order(bloc.config)
            if renewed and adds and name in names:
                raise ReplayError(
                    f"bloc {name!r} adds rows to those that are there, and run {run['run_id']} has committed its own: "
                    "they would be there twice"
                )

    def _from(self, stage: str) -> Sequence[StageDefinition]:
        if self._definition is None:
            return ()
        names = [each.name for each in self._definition.stages]
        if stage not in names:
            raise ReplayError(
                f"version {self._run['version']} of pipeline {self._run['pipeline']!r} has no stage {stage!r}; "
                f"it has: {', '.join(names)}"
            )
        return self._definition.stages[names.index(stage) :]

    def _kind(self, name: str) -> str | None:
        return self._blocs[name].kind if name in self._blocs else None

    def _exporters(self, stages: Sequence[StageDefinition], again: str, *, other: bool) -> None:
        keyed = [name for name, bloc in self._blocs.items() if bloc.kind == "exporter" and bloc.commits(bloc.config)]
        if other and (keyed or not self._blocs):
            raise ReplayError(
                f"another version would not know what {', '.join(keyed) or 'its exporters'} wrote of this run: "
                "replay with the version that failed"
            )
        for bloc in (self._blocs[each.name] for stage in stages for each in stage.blocs if each.name in self._blocs):
            if bloc.kind != "exporter" or not self._commits_run(bloc):
                continue
            aside = self._run["parts"] is not None and bloc.builds_aside(bloc.config)
            if self._run["state"] not in _SUCCESS and not aside:
                raise ReplayError(
                    f"bloc {bloc.name!r} commits with its run, and that run is {self._run['state']}, so nothing of it "
                    f"is there: `cableway runs retry {self._run['run_id']}`"
                )
            if bloc.commits(bloc.config) == "run" and not (bloc.takes_replays and getattr(bloc.config, "key", None)):
                how = "without a 'key' " if bloc.takes_replays else ""
                raise ReplayError(f"bloc {bloc.name!r} writes its target as a whole {how}and takes no items; {again}")

    def _commits_run(self, exporter: Any) -> bool:
        commits = exporter.commits(exporter.config)
        first = () if self._definition is None else self._definition.stages[0].blocs
        loaders = [made for bloc in first if (made := self._blocs.get(bloc.name)) and made.kind == "loader"]
        repeats = any(each.batched and each.repeats(each.config) for each in loaders)
        return commits == "run" or (
            commits == "item" and not repeats and not all(each.repeats(each.config) for each in loaders)
        )


def _definition_of(run: Row, catalog: Catalog | None) -> PipelineDefinition | None:
    if run["document_format"] == DOCUMENT_FORMAT:
        return PipelineDefinition.restore(run["document"])
    if catalog is None:
        return None
    from cableway.checks import check_document

    return check_document(run["document"], catalog=catalog)


def _built(definition: PipelineDefinition, catalog: Catalog | None) -> dict[str, Any]:
    """The blocs that can be built here, by name: code may be elsewhere, and configs may wait for parameters."""
    from cableway.errors import CablewayError

    found: dict[str, Any] = {}
    for bloc in (bloc for stage in definition.stages for bloc in stage.blocs if catalog is not None):
        try:
            found[bloc.name] = catalog.build(bloc, checked=True) if catalog is not None else None
        except CablewayError:
            continue
    return found

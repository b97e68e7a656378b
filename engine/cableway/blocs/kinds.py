"""
What a bloc is: a class with a config, written by its author and built from a definition.

A bloc type describes itself: `bloc_type`, `summary`, `Config`, `example` and `lanes` are all that
the catalog, the docs and the checks need. `Config` is a pydantic model or a dataclass whose fields
hold JSON values; either way pydantic validates it when a definition is saved, unknown keys are
refused, and a bloc with a dataclass config runs a checked version without loading pydantic.

Methods may be sync or async. A sync bloc runs in a thread unless its stage says otherwise.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from cableway.errors import SourceError

if TYPE_CHECKING:
    from cableway.context import RunContext
    from cableway.definition import JsonObject
    from cableway.settings import DatabaseSettings, HttpSettings

Kind = Literal["loader", "transformer", "exporter"]
Frames = Literal["pandas", "arrow"]
Commits = Literal["item", "run"]
ALL_LANES = ("async", "thread", "process", "interpreter", "dask")
LOCAL_LANES = ("async", "thread")


class Ending(StrEnum):
    """How the run's items ended, as `Bloc.close` is told."""

    SUCCEEDED = "succeeded"
    COMPLETED_WITH_ERRORS = "completed_with_errors"
    FAILED = "failed"
    INTERRUPTED = "interrupted"

    @property
    def commits(self) -> bool:
        """Whether what was written in one transaction for the whole run is kept."""
        return self in {Ending.SUCCEEDED, Ending.COMPLETED_WITH_ERRORS}


@dataclass(frozen=True, slots=True, kw_only=True)
class PartPlace:
    """Which part of a run in parts a run is."""

    line: str
    """The line of the whole, which is none of its parts'."""
    number: int
    """From 1 on."""
    parts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LinePlace:
    """Where a run stands on its line: what an exporter with a ledger has to know beside line and token.

    A run line is one lap. The line of a cursor is a lap for each time that the source was read to its end; its
    item keys begin with the lap, so that keys of two laps never meet.
    """

    whole_run: bool = False
    """The items before this bloc cannot be read again as they were, so whatever its config says it commits once,
    at the end of the run, and writes no item's key."""
    lap: int = 0
    """Counted from 0. Keys of earlier laps are not asked for any more."""
    end_key: str = "end"
    """The key of the row that a transaction for the whole run writes."""
    cursor: Callable[[], str] | None = field(default=None, repr=False)
    """Asked just before such a transaction commits: the text that its end row holds as its position."""
    replay: bool = False
    """Single items of a run that has ended are worked on again, under its line and their keys: what writes its
    target as a whole puts their rows among those that are there, by key."""
    part: PartPlace | None = None
    """Of a part, for exporters that build aside; None: it is a run by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a line has in a destination already."""

    keys: Iterable[str] = ()
    """Keys of the items whose rows are there, in any order."""
    ended: str | None = None
    """The position in the end row; None where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What the job lends to the blocs that run beside it. Holds secrets: it never goes to a child, a log or a row."""

    database: DatabaseSettings | None = field(default=None, repr=False)
    """The state database, for a bloc that is given no ``dsn`` of its own. No bloc writes to its schema."""
    root: str | None = None
    """The folder below which file blocs must stay; None: anywhere."""
    http: HttpSettings | None = field(default=None, repr=False)
    """Where requests may go, and through which proxy; None: to public addresses alone."""
    place: LinePlace = LinePlace()
    """Where the run stands on its line, as seen from this bloc."""
    as_csv: bool = False
    """Everyone who reads what this bloc makes `ExporterBloc.takes_csv`."""


class Bloc:
    """A configured step. The job builds it once, or once in each worker of a child lane."""

    bloc_type: ClassVar[str]
    """The name that definitions use."""
    kind: ClassVar[Kind]
    summary: ClassVar[str]
    """One sentence: what it does."""
    Config: ClassVar[type]
    """A pydantic model, or a dataclass of JSON values."""
    example: ClassVar[Mapping[str, Any]]
    """A config that works."""
    lanes: ClassVar[tuple[str, ...]] = ALL_LANES
    """Where it can run."""
    worker: ClassVar[str | None] = None
    """For the interpreter lane: ``module:function`` in a module without pydantic.

    It is called as ``function(config: dict, context)`` for each item.
    """
    frames: ClassVar[Frames | None] = "pandas"
    """What tabular input arrives as: a pandas DataFrame, an Arrow table, or (None) as the bloc before made it."""

    def __init__(self, name: str, config: Any) -> None:
        self.name = name
        self.config = config

    @classmethod
    def faults(cls, config: Any) -> Iterable[tuple[str, str]]:  # noqa: ARG003 - for those who extend it
        """What is wrong with *config* that its model cannot say: field names with messages. Nothing else happens."""
        return ()

    @classmethod
    def code_paths(cls, config: Any) -> Iterable[tuple[str, str]]:  # noqa: ARG003 - as above
        """Fields of *config* with the ``module:name`` of code that they name: the catalog says what is allowed."""
        return ()

    def bind(self, resources: Resources) -> None:
        """Called once before `open`, in the job's own process alone, with what the job lends."""

    def open(self, context: RunContext) -> Awaitable[None] | None:
        """Called once before the first item. Raising fails the run before anything moved."""
        return None

    def outputs(self) -> JsonObject:
        """What the run left where, for people: ``{"table": "public.flights"}``. Asked for after `close`.

        Of an exporter only where what it wrote is kept.
        """
        return {}

    def close(self, ending: Ending) -> Awaitable[None] | None:
        """Called once after the last item and before the run's outcome is written, whatever happened.

        Commit here what was written for the whole run when ``ending.commits``, else roll it
        back. Raising fails the run.
        """
        return None


class LoaderBloc(Bloc):
    """Brings data in.

    Of a batched loader of the first stage the job keeps, for the line, how far it has been worked off. It calls,
    after `open` and in a thread, one after the other:

    1. `plan`, once for a lap: what is fixed when it begins. It is stored before the first item is made.
    2. `follow`, in every attempt, the first included: the stored plan.
    3. `resume`, where an earlier attempt left a cursor. `load` then begins with the item at that position.

    While `load` goes on, any other thread may ask for `fingerprint` and `reached`.
    """

    kind = "loader"
    repeatable: ClassVar[bool] = False
    """The same position gives the same rows again."""

    @classmethod
    def repeats(cls, config: Any) -> bool:  # noqa: ARG003 - for those who extend it
        """Whether, with *config*, the same position gives the same rows again and `load` can begin at one.

        Where it does not, exporters behind this loader commit once for the whole run.
        """
        return cls.repeatable

    @classmethod
    def keeps_cursor(cls, config: Any) -> bool:
        """Whether how far the source was read is kept from run to run: by default, with ``incremental`` set.

        Not while that has an ``end_value``: such a run loads a stretch of its own and moves no cursor.
        """
        incremental: Any = getattr(config, "incremental", None)
        if isinstance(incremental, Mapping):  # as it is restored from a stored version
            return cast("Mapping[str, Any]", incremental).get("end_value") is None
        return incremental is not None and getattr(incremental, "end_value", None) is None

    @property
    def batched(self) -> bool:
        """Whether `load` gives an iterator of ``(position, value)``; by default, whether ``batch_size`` is set."""
        return getattr(self.config, "batch_size", None) is not None

    def load(self, context: RunContext) -> Any | Iterator[tuple[str, Any]] | AsyncIterator[tuple[str, Any]]:
        """One value that holds everything or, where `batched`, an iterator of ``(position, value)``.

        A position names one item of the lap, and holds no dot where the loader `repeats`: what comes out of an
        item is named after it (``position.1``), and a batch after its ends (``first..last``).
        """
        raise NotImplementedError

    def plan(self, context: RunContext, state: Mapping[str, Any]) -> JsonObject:
        """What is fixed when a lap begins: the sorted files with their fingerprints, the upper end of a key, a
        start value. JSON values; empty: nothing is to be fixed, and nothing is stored.

        *state* is what `reached` gave at the end of the last lap; empty at first, and where no cursor is kept.
        """
        return {}

    @classmethod
    def divides(cls, config: Any) -> bool:  # noqa: ARG003 - for those who extend it
        """Whether what is loaded with *config* can be shared out among parts of a run: then `shares` does it."""
        return False

    def shares(self, context: RunContext, parts: int, state: Mapping[str, Any]) -> Sequence[JsonObject]:
        """A plan for each of so many *parts*, in place of one by `plan`: together they are what one run would load.

        Called after `open`, in the first part that begins; stored, and given to `follow` in each part. *state* is as
        `plan` is given it.
        """
        raise NotImplementedError

    def reached_together(self, reached: Sequence[Mapping[str, Any]]) -> JsonObject:
        """With a cursor kept: what `reached` would have given in one run, from what it gave in each part."""
        raise NotImplementedError

    def follow(self, plan: Mapping[str, Any], reached: Mapping[str, Any]) -> None:
        """Load what *plan* says. Raise `SourceChangedError` where the source is no longer what it was then.

        *reached* is what an earlier attempt at this lap had seen by its last checkpoint; `reached` goes on from it.
        """

    def recut(self, positions: Iterable[str]) -> None:
        """Give the items at *positions* again as they were: exporters have rows of them beyond the cursor.

        Called between `follow` and `resume`, where there are such; of a batch its two ends. For a loader whose cuts
        hang on what the source holds by now, such as ranges of a table's key; others cut the same way anyhow.
        """

    def reached(self) -> JsonObject:
        """With a cursor kept: what the next lap begins with, given all that was read so far."""
        return {}

    def fingerprint(self, position: str) -> JsonObject:
        """What `resume` compares: how the source looked up to *position*. Only of a loader that `repeats`."""
        raise SourceError(f"loader {self.name!r} cannot start again at a position")

    def resume(self, position: str, fingerprint: Mapping[str, Any]) -> None:
        """Let `load` begin with the item at *position*.

        Raise `SourceChangedError`, with both, when the source no longer looks as *fingerprint* says.
        """
        raise SourceError(f"loader {self.name!r} cannot start again at a position")


class TransformerBloc(Bloc):
    """Makes something new of what the blocs before it gave.

    In a stage with ``gather`` the flow calls `initial` once, `fold` for each item and `finish` at
    the end instead of `transform`; what is held is the state, not the items.
    """

    kind = "transformer"

    def transform(self, context: RunContext) -> Any:
        """The result for this item; `DROP` ends the item here; a generator gives several."""
        raise NotImplementedError

    def initial(self) -> Any:
        """The state that a gather begins with."""
        return []

    def fold(self, state: Any, context: RunContext) -> Any:
        """The state with one more item in it."""
        state.append(context.input())
        return state

    def finish(self, state: Any) -> Any:
        """The result of the gather."""
        return state


class ExporterBloc(Bloc):
    """Writes data out. Runs where its connection lives, so in the async or the thread lane."""

    kind = "exporter"
    lanes: ClassVar[tuple[str, ...]] = LOCAL_LANES
    takes_replays: ClassVar[bool] = False
    """Where it writes its target as a whole, it puts single items among what is there if `LinePlace.replay` is set."""

    @classmethod
    def sole_target(cls, config: Any) -> str | None:  # noqa: ARG003 - for those who extend it
        """What this exporter writes as a whole, so that no other exporter of the pipeline may; None: it shares."""
        return None

    @classmethod
    def target(cls, config: Any) -> str | None:
        """What this exporter writes to, so that none that writes it as a whole comes beside it; None: nobody asks."""
        return cls.sole_target(config)

    @classmethod
    def commits(cls, config: Any) -> Commits | None:
        """When what it writes counts: with each ``item``, under the item's key, or with the ``run``, in `close`.

        None, the default of an exporter without `sole_target`: at once, and again where an item is worked on again.
        """
        return None if cls.sole_target(config) is None else "run"

    @classmethod
    def builds_aside(cls, config: Any) -> bool:  # noqa: ARG003 - for those who extend it
        """Whether the parts of a run can write aside, item by item, what the last of them to end puts in its place.

        That is for an exporter that else commits a run as a whole; without it a run in parts is refused.
        """
        return False

    @classmethod
    def in_order(cls, config: Any) -> bool:  # noqa: ARG003 - as above
        """Whether items must be written one at a time and in the order of the source, as an upsert's must."""
        return False

    @classmethod
    def takes_csv(cls, config: Any) -> bool:  # noqa: ARG003 - as above
        """Whether rows may come as `cableway.blocs.csv_files.rows.CsvRows`, whose bytes can be written as they are."""
        return False

    def written(self) -> Written:
        """What the line has in the destination already.

        Asked once after `open` and before the first item, where there may be something: in a second attempt, and
        on the line of a cursor. Of keys, those of the lap in `LinePlace` are enough.
        """
        return Written()

    def export(self, context: RunContext) -> Any:
        """Write this item's data; return the number of rows written."""
        raise NotImplementedError

"""Dead letters: what failed for good becomes rows, in groups, while the run goes on."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Any

from cableway import failpoints
from cableway.errors import ENDS_ATTEMPT, CablewayError, ItemError, LeaseLostError, RecordError, UnavailableError
from cableway.flow.observer import Observer
from cableway.redaction import redacted, redacted_json, redacted_piece
from cableway.running.payloads import payload_of
from cableway.running.threads import in_thread
from cableway.store.port import DeadLetter

if TYPE_CHECKING:
    from cableway.definition import JsonObject
    from cableway.items import WorkItem
    from cableway.running.payload_folder import PayloadFolder
    from cableway.running.stopping import Stop
    from cableway.store.port import Lease, RunStore

log = logging.getLogger("cableway.job")

ROOT = "root"
"""The id of the item that a run begins with."""
CROWDED_LETTERS = 500
"""Letters at which the next group is stored at once."""
KEPT_AT_MOST = 10_000
"""Letters that wait to be stored; what comes beyond them is counted and not kept."""
KEPT_BYTES = 32 * 1024 * 1024
"""Bytes of payload that wait to be stored; beyond them letters are kept without."""
CHECKPOINT_EVERY_S = 3.0
"""Seconds between two checkpoints."""
STORE_EVERY_S = 2.0
"""Seconds between two groups while a run goes on."""

CUT_CHARS = 8_000
"""Characters from which on a text may have been cut where it was made, in a worker."""


class DeadLetterBox(Observer):
    """Gathers failed units until they are taken out. *payload* gives what of an item's data is worth keeping.

    *blocs* are the names that an item's data goes by, so that a single row that was refused is told apart. With
    *spills* what is too large for a letter waits beside it, to be kept elsewhere. *source* gives the items of a replay:
    where it fails, the run does, and there is no item.
    """

    def __init__(
        self,
        payload: Callable[[WorkItem], Any] | None = None,
        span_context: Callable[[WorkItem], tuple[str, str] | None] | None = None,
        *,
        blocs: Collection[str] | None = None,
        spills: bool = False,
        source: str | None = None,
    ) -> None:
        self._source = source
        self._blocs = blocs
        self._spills = spills
        self.crowded = asyncio.Event()
        self.left_out = 0
        self._letters: list[DeadLetter] = []
        self._bytes = 0
        self._payload = payload
        self._span_context = span_context

    def item_failed(
        self, item: WorkItem, stage: str, bloc: str, error: BaseException, attempts: int, at_ns: int
    ) -> None:
        """Keep the unit as a letter until it is stored."""
        if isinstance(error, ENDS_ATTEMPT) or bloc == self._source:
            return  # the next attempt works on it
        if len(self._letters) >= KEPT_AT_MOST:
            self.left_out += 1
            return
        data = item.data if self._payload is None else self._payload(item)
        payload = payload_of(data, self._blocs)
        crowded = self._bytes + payload.size_bytes > KEPT_BYTES
        spilled = payload.text is None and payload.size_bytes > 0 and self._spills and not crowded
        if spilled or (payload.text is not None and not crowded):
            self._bytes += payload.size_bytes
        trace_id, span_id = (self._span_context(item) if self._span_context is not None else None) or (None, None)
        letter = DeadLetter(
            item_id=item.job_id,
            stage=stage,
            bloc=bloc,
            error_type=error_type(error),
            message=_without_secrets(str(error)) or type(error).__name__,
            stack=_without_secrets(_stack(error) or "") or None,
            attempts=attempts,
            payload=None if payload.text is None or crowded else redacted_json(json.loads(payload.text)),
            payload_bytes=payload.size_bytes,
            shape=payload.shape,
            frames=payload.frames,
            overflow=partial(_whole, data, self._blocs) if spilled else None,
            trace_id=trace_id,
            span_id=span_id,
        )
        self._letters.append(letter)
        if len(self._letters) >= CROWDED_LETTERS or self._bytes > KEPT_BYTES // 4:
            self.crowded.set()

    @property
    def waiting(self) -> bool:
        """Whether letters have gathered."""
        return bool(self._letters)

    def take(self) -> list[DeadLetter]:
        """What has gathered since the last call."""
        letters, self._letters, self._bytes = self._letters, [], 0
        self.crowded.clear()
        return letters

    def put_back(self, letters: list[DeadLetter]) -> None:
        """They could not be stored yet."""
        self._letters = letters + self._letters
        self._bytes += sum(letter.payload_bytes for letter in letters if letter.payload is not None or letter.overflow)


class LetterPost:
    """Stores what gathers in *box* while a run goes on, and the rest at its end; and how far the run is.

    The store serves one thread at a time, so there is one group on its way at most, and `close` waits for it. A
    checkpoint goes after the letters of what it counts as finished.
    """

    def __init__(
        self,
        box: DeadLetterBox,
        store: RunStore,
        lease: Lease,
        stop: Stop,
        *,
        mark: Callable[[], Callable[[], JsonObject] | None] | None = None,
        checkpoint_s: float = CHECKPOINT_EVERY_S,
        payloads: PayloadFolder | None = None,
    ) -> None:
        self._mark = mark
        self._payloads = payloads
        self._checkpoint_s = checkpoint_s
        self._turn = asyncio.Lock()
        self._box = box
        self._store = store
        self._lease = lease
        self._stop = stop
        self._round: asyncio.Task[None] | None = None
        self._sending: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Store from now on, in rounds of its own; needs the loop."""
        self._round = asyncio.get_running_loop().create_task(self._go_round())

    async def close(self) -> None:
        """Store what is left. Raise `LeaseLostError`, or `RecordError` where the store is away for too long."""
        if self._round is not None:
            self._round.cancel()
            await asyncio.wait((self._round,))
        if self._sending is not None:
            await asyncio.wait((self._sending,))
        if self._box.left_out:
            log.warning("%d dead letters could not be kept: too many items failed at once", self._box.left_out)
        try:
            await self._send()
        except LeaseLostError:
            raise
        except CablewayError as error:
            raise RecordError(f"dead letters could not be stored: {error}") from error

    async def stored(self) -> None:
        """Return when every letter that has gathered by now is stored. Raise what no waiting would mend."""
        while (self._box.waiting or self._turn.locked()) and not self._stop.lost:
            try:
                await self._send()
            except LeaseLostError as error:
                self._stop.ask(error)
            except UnavailableError as error:
                log.warning("a batch waits until dead letters can be stored: %s", error)
                await asyncio.sleep(STORE_EVERY_S)

    async def checkpoint(self, cursor: Callable[[], JsonObject]) -> None:
        """Store what *cursor*, called in a thread, gives: how far the run is. Raise as `RunStore.checkpoint`."""
        async with self._turn:
            await in_thread(self._checkpoint, cursor)

    def _checkpoint(self, cursor: Callable[[], JsonObject]) -> None:
        position = cursor()
        failpoints.reach("before_checkpoint")
        self._store.checkpoint(self._lease, position)
        failpoints.reach("after_checkpoint")

    async def _go_round(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + self._checkpoint_s
        while True:
            if self._mark is not None and loop.time() >= due:
                due = loop.time() + self._checkpoint_s
                self._sending = loop.create_task(self._checkpoint_for_now())
                await asyncio.wait((self._sending,))
            try:
                async with asyncio.timeout(min(STORE_EVERY_S, self._checkpoint_s)):
                    await self._box.crowded.wait()
            except TimeoutError:
                pass
            self._sending = loop.create_task(self._send_for_now())
            await asyncio.wait((self._sending,))

    async def _checkpoint_for_now(self) -> None:
        cursor = None if self._mark is None else self._mark()
        if cursor is None:
            return
        try:
            await self._send()
            await self.checkpoint(cursor)
        except LeaseLostError as error:
            self._stop.ask(error)
        except Exception as error:  # noqa: BLE001 - the cursor may lag; a source that has changed tells it itself
            log.warning("how far the run is could not be stored: %s", error)

    async def _send_for_now(self) -> None:
        try:
            await self._send()
        except LeaseLostError as error:
            self._stop.ask(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the end of the run tries again and says so
            log.warning("dead letters could not be stored yet: %s", error)
            await asyncio.sleep(STORE_EVERY_S)

    async def _send(self) -> None:
        async with self._turn:
            await self._send_in_turn()

    async def _send_in_turn(self) -> None:
        letters = self._box.take()
        if not letters:
            return
        failpoints.reach("before_letters")
        try:
            letters = await in_thread(self._spilled, letters)
            await in_thread(self._store.add_dead_letters, self._lease, letters)
        except BaseException:
            self._box.put_back(letters)
            raise

    def _spilled(self, letters: list[DeadLetter]) -> list[DeadLetter]:
        """*letters*, those with more payload than a row takes with where it is now."""
        payloads = self._payloads
        if payloads is None:
            return letters
        return [letter if letter.overflow is None else payloads.keep(self._lease.run_id, letter) for letter in letters]


def _whole(data: Any, blocs: Collection[str] | None) -> tuple[str | None, JsonObject | None]:
    payload = payload_of(data, blocs, limit=None)
    return payload.text, payload.frames


def _without_secrets(text: str) -> str:
    return redacted(text) if len(text) < CUT_CHARS else redacted_piece(text)


def error_type(error: BaseException) -> str:
    """The name under which an error is stored: its class, the class in the child, or the flow's own code."""
    if isinstance(error, ItemError):
        return error.error_type or error.item_code
    return type(error).__name__


def _stack(error: BaseException) -> str | None:
    if isinstance(error, ItemError) and error.stack:
        return error.stack
    carried = getattr(error.__cause__, "stack", None)  # of an error that came home from a worker
    if isinstance(carried, str):
        return carried
    if error.__traceback__ is None:
        return None
    return "".join(traceback.format_tb(error.__traceback__)[-12:])

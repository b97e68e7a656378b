"""Dead letters: what failed for good becomes rows, in groups, while the run goes on."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cableway.errors import ItemError
from cableway.flow.observer import Observer
from cableway.store.port import DeadLetter

if TYPE_CHECKING:
    from cableway.items import WorkItem

PAYLOAD_LIMIT = 256 * 1024
"""Bytes of JSON above which a payload is left out and only its size is kept."""

KEPT_AT_MOST = 10_000
"""Letters waiting to be written; beyond it the oldest are counted and let go."""


class DeadLetterBox(Observer):
    """Gathers failed units; the job takes them out with `take` and stores them."""

    def __init__(self, span_context: Callable[[WorkItem], tuple[str, str] | None] | None = None) -> None:
        self._letters: list[DeadLetter] = []
        self._span_context = span_context
        self.first_error: tuple[str, BaseException] | None = None
        self.left_out = 0

    def item_failed(
        self, item: WorkItem, stage: str, bloc: str, error: BaseException, attempts: int, at_ns: int
    ) -> None:
        """Keep the unit as a letter until the job stores it."""
        if self.first_error is None:
            self.first_error = (f"stage {stage!r}, bloc {bloc!r}, item {item.job_id!r}", error)
        if len(self._letters) >= KEPT_AT_MOST:
            self.left_out += 1
            return
        context = self._span_context(item) if self._span_context is not None else None
        self._letters.append(_letter(item, stage, bloc, error, attempts, context))

    def take(self) -> Sequence[DeadLetter]:
        """What has gathered since the last call."""
        letters, self._letters = self._letters, []
        return letters


def _letter(
    item: WorkItem, stage: str, bloc: str, error: BaseException, attempts: int, context: tuple[str, str] | None
) -> DeadLetter:
    payload, size_bytes = payload_of(item.data)
    trace_id, span_id = context or (None, None)
    return DeadLetter(
        item_id=item.job_id,
        stage=stage,
        bloc=bloc,
        error_type=error_type(error),
        message=str(error) or type(error).__name__,
        stack=_stack(error),
        attempts=attempts,
        payload=payload,
        payload_bytes=size_bytes,
        trace_id=trace_id,
        span_id=span_id,
    )


def error_type(error: BaseException) -> str:
    """The name under which an error is stored: its class, the class in the child, or the flow's own code."""
    if isinstance(error, ItemError):
        return error.error_type or error.item_code
    return type(error).__name__


def payload_of(data: Any) -> tuple[Any, int]:
    """*data* as JSON values with its size in bytes; None in their place above `PAYLOAD_LIMIT`."""
    try:
        text = json.dumps(_jsonable(data), allow_nan=False, default=str)
    except (TypeError, ValueError, RecursionError):
        return None, 0
    size_bytes = len(text)
    if size_bytes > PAYLOAD_LIMIT:
        return None, size_bytes
    # Postgres refuses NUL in jsonb, and a letter must never fail to be stored for its content.
    return json.loads(text.replace("\\u0000", "\\ufffd")), size_bytes


def _jsonable(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {str(key): _jsonable(value) for key, value in data.items()}
    to_pylist = getattr(data, "to_pylist", None)
    if to_pylist is not None:
        return to_pylist()
    to_dict = getattr(data, "to_dict", None)
    if to_dict is not None:
        return json.loads(data.to_json(orient="records", date_format="iso"))
    return data


def _stack(error: BaseException) -> str | None:
    if isinstance(error, ItemError) and error.stack:
        return error.stack
    if error.__traceback__ is None:
        return None
    return "".join(traceback.format_tb(error.__traceback__)[-12:])

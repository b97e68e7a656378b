"""Where batches were cut before: for a flow that is taken up again and must cut them there once more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from cableway.items import WorkItem


class KnownBatch(Protocol):
    """A batch that was made before. Two of them are compared by identity."""

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do with it, so that its members end here."""
        ...

    def ends_with(self, item: WorkItem) -> bool:
        """Whether *item* is its last member."""
        ...

    def name(self, members: Sequence[WorkItem]) -> str:
        """The job id that it had, now that it has *members*."""
        ...


class Cuts(Protocol):
    """Asked by a stage that makes batches, for each item in turn."""

    def known_batch(self, item: WorkItem) -> KnownBatch | None:
        """The batch that *item* was in; None: in none, so that the stage's own limits decide."""
        ...

    async def ready(self) -> None:
        """Return when the batch at hand may go on."""
        ...

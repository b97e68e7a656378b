"""``cableway run --parts``: a run whose parts run side by side, as many as the pipeline's concurrency allows."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from cableway.errors import EXIT_OK
from cableway.runs import RunRequest
from cableway_handlers.cli import screen, show
from cableway_handlers.cli.deaths import end_lease
from cableway_handlers.cli.processes import next_launch, signals_passed_on
from cableway_handlers.cli.workplace import Workplace, workplace
from cableway_handlers.launch.protocol import Launch

if TYPE_CHECKING:
    from cableway_handlers.launch.local import LocalLauncher


def run_parts(request: RunRequest, parts: int, *, verbose: bool, json: bool) -> int:
    """Record a run in so many *parts*, run them as processes of their own, and return the exit code of the whole.

    SIGINT and SIGTERM are passed on to the parts at work, which drain; those that have not begun stay recorded.
    """
    with workplace() as place, place.storage() as storage:
        recorded = storage.record_parts(request, parts)
        at_once = storage.get_pipeline(request.pipeline).definition.settings.concurrency
        if not json:
            screen.say(
                f"run {recorded.run_id} has {screen.count(len(recorded.parts), 'part')}; {at_once} run at a time"
            )
        launches = [Launch(part, storage.get_run(part).run.attempt + 1) for part in recorded.parts]
        codes = _Parts(place, place.launcher(show_log=verbose)).run(launches, at_once)
        details = storage.get_run(recorded.run_id)
    run = details.run
    if json:
        screen.as_json({"run": run, "parts": recorded.parts})
    elif run.ended_at is not None:
        show.run_summary(details)
    else:
        screen.say(f"run {run.run_id} has not ended: `cableway runs show {run.run_id}` tells of its parts")
    return run.exit_code if run.exit_code is not None else next(filter(None, codes), EXIT_OK)


class _Parts:
    """Processes side by side."""

    def __init__(self, place: Workplace, launcher: LocalLauncher) -> None:
        self._place = place
        self._launcher = launcher
        self._at_work: set[str] = set()
        self._stopped = False

    def run(self, launches: Sequence[Launch], at_once: int) -> list[int | None]:
        """The exit code of each once all have ended; None where it was not begun, or not found out."""
        signals = signals_passed_on(self._stop, "stopping: the parts drain; once more ends them at once")
        with ThreadPoolExecutor(max_workers=min(at_once, len(launches) or 1)) as pool, signals:
            return list(pool.map(self._one, launches))

    def _one(self, launch: Launch) -> int | None:
        launcher = self._launcher
        launch = next_launch(launcher, launch)
        if self._stopped:
            return None
        external_id = launcher.launch(launch)
        self._at_work.add(external_id)
        if self._stopped:  # between the two looks
            launcher.stop(external_id)
        try:
            code = launcher.wait(external_id)
        finally:
            self._at_work.discard(external_id)
        end_lease(self._place, launcher, launch, code)
        return code

    def _stop(self) -> None:
        self._stopped = True
        for external_id in self._at_work.copy():
            self._launcher.stop(external_id)

"""Those who listen to a run, looked up once: a method that nobody overrides is None and is not called."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from cableway.flow.observer import Observer

if TYPE_CHECKING:
    from cableway.items import WorkItem

log = logging.getLogger("cableway.flow")

Told = Callable[..., None] | None

_METHODS = tuple(name for name in vars(Observer) if not name.startswith("_") and callable(getattr(Observer, name)))


class _Chorus:
    """Tells several observers in turn; one that raises is taken off and the others hear on."""

    __slots__ = ("_audience", "_name", "_voices")

    def __init__(self, audience: Audience, name: str, voices: list[Observer]) -> None:
        self._audience = audience
        self._name = name
        self._voices = voices

    def __call__(self, *told: Any) -> None:
        for observer in tuple(self._voices):
            try:
                getattr(observer, self._name)(*told)
            except Exception as error:
                self._audience.take_off(observer, self._name, error)


class Audience:
    """One attribute for each method of `Observer`: what to call, or None when nobody listens.

    The few calls that a hop makes (`hop_started`, `hop_finished`, `hop_queued`, `hop_ended`) go straight
    to the observer where there is a single one; whoever calls them must catch, and tell `fault`.
    """

    def __init__(self, observers: Iterable[Observer]) -> None:
        self.observers = list(observers)
        for observer in self.observers:
            if not isinstance(observer, Observer):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"an observer must be an Observer, not {type(observer).__name__}")
        self._look_up()

    def _look_up(self) -> None:
        self.run_started = self._tell("run_started")
        self.run_ended = self._tell("run_ended")
        self.item_queued = self._tell("item_queued")
        self.item_started = self._tell("item_started")
        self.item_finished = self._tell("item_finished")
        self.item_failed = self._tell("item_failed")
        self.item_retried = self._tell("item_retried")
        self.item_dropped = self._tell("item_dropped")
        self.item_derived = self._tell("item_derived")
        self.item_ended = self._tell("item_ended")
        self.bloc_started = self._tell("bloc_started")
        self.bloc_finished = self._tell("bloc_finished")
        self.stage_blocked = self._tell("stage_blocked")
        self.worker_died = self._tell("worker_died")
        self.worker_reported = self._tell("worker_reported")
        self.hop_queued = self._straight("item_queued")
        self.hop_started = self._straight("item_started")
        self.hop_finished = self._straight("item_finished")
        self.hop_ended = self._straight("item_ended")
        self._carriers = self._listening("carrier")

    def carrier(self, item: WorkItem, stage: str, bloc: str) -> Mapping[str, str] | None:
        """The dict that goes with a unit into a child; the first observer that gives one wins."""
        for observer in tuple(self._carriers):
            try:
                carrier = observer.carrier(item, stage, bloc)
            except Exception as error:
                self.take_off(observer, "carrier", error)
            else:
                if carrier is not None:
                    return carrier
        return None

    @property
    def worker_hook(self) -> str | None:
        """The import path of the hook that child workers load; the first observer that names one wins."""
        return next((one.worker_hook for one in self.observers if one.worker_hook is not None), None)

    def take_off(self, observer: Observer, name: str, error: Exception) -> None:
        """Stop telling an observer that raised, and say so once."""
        if observer in self.observers:
            self.observers.remove(observer)
            log.error("observer %s raised in %s and is taken off", type(observer).__name__, name, exc_info=error)
            self._look_up()

    def fault(self, name: str, error: Exception) -> Told:
        """The only observer that listens to *name* raised: take it off, and return what is to be called now."""
        for observer in self._listening(name):
            self.take_off(observer, name, error)
        return self._straight(name)

    def _listening(self, name: str) -> list[Observer]:
        plain = getattr(Observer, name)
        return [one for one in self.observers if getattr(type(one), name) is not plain]

    def _tell(self, name: str) -> Told:
        voices = self._listening(name)
        return _Chorus(self, name, voices) if voices else None

    def _straight(self, name: str) -> Told:
        voices = self._listening(name)
        return getattr(voices[0], name) if len(voices) == 1 else self._tell(name)

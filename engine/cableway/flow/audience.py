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

Hop = Callable[..., None]

_HOPS = ("item_queued", "item_started", "item_finished")


class _Chorus:
    """Tells several observers in turn; one that raises is taken off and the others hear on."""

    __slots__ = ("_audience", "_name", "_voices")

    def __init__(self, audience: Audience, name: str, listening: list[Observer]) -> None:
        self._audience = audience
        self._name = name
        self._voices: list[Hop] = [getattr(observer, name) for observer in listening]

    def __call__(self, *told: Any) -> None:
        for voice in self._voices:
            try:
                voice(*told)
            except Exception as error:
                self._voices = [other for other in self._voices if other is not voice]
                self._audience.take_off(voice, self._name, error)


class Audience:
    """One attribute for each method of `Observer`: what to call, or None when nobody listens.

    The calls that a hop makes (`hop_started`, `hop_finished`, `hop_queued`) go straight to the observer
    where a single one listens to hops; whoever calls them must catch, and tell `fault`.
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
        self._carriers = self._listening("carrier")
        self._look_up_hops()

    def _look_up_hops(self) -> None:
        listening = {one for name in _HOPS for one in self._listening(name)}
        self.hears_hops = bool(listening)
        self._sole = listening.pop() if len(listening) == 1 else None
        told = {name: getattr(self._sole, name) if self._sole else self._tell(name) for name in _HOPS}
        self.hop_queued: Hop = told["item_queued"] or deaf
        self.hop_started: Hop = told["item_started"] or deaf
        self.hop_finished: Hop = told["item_finished"] or deaf

    def carrier(self, item: WorkItem, stage: str, bloc: str) -> Mapping[str, str] | None:
        """The dict that goes with a unit into a child; the first observer that gives one wins."""
        for observer in tuple(self._carriers):
            try:
                carrier = observer.carrier(item, stage, bloc)
            except Exception as error:
                self.take_off(observer.carrier, "carrier", error)
            else:
                if carrier is not None:
                    return carrier
        return None

    @property
    def worker_hook(self) -> str | None:
        """The import path of the hook that child workers load; the first observer that names one wins."""
        return next((one.worker_hook for one in self.observers if one.worker_hook is not None), None)

    def take_off(self, voice: Callable[..., Any], name: str, error: Exception) -> None:
        """Stop telling the observer whose method *voice* raised, and say so once."""
        observer = getattr(voice, "__self__", None)
        if observer in self.observers:
            self.observers.remove(observer)
            log.error("observer %s raised in %s and is taken off", type(observer).__name__, name, exc_info=error)
            self._look_up()

    def fault(self, name: str, error: Exception) -> None:
        """The only observer that listens to hops raised in *name*: take it off."""
        if self._sole is not None:
            self.take_off(getattr(self._sole, name), name, error)

    def _listening(self, name: str) -> list[Observer]:
        plain = getattr(Observer, name)
        return [one for one in self.observers if getattr(type(one), name) is not plain]

    def _tell(self, name: str) -> Told:
        voices = self._listening(name)
        return _Chorus(self, name, voices) if voices else None


def deaf(*_: Any) -> None:
    """What is told when nobody listens."""

"""
What webhooks are signed with: looked up when a hook needs it, kept for a while, and looked up again when it changes.

A reference is ``env:NAME``, a variable of this process, or ``secret:NAME``, asked of the sources of
``CABLEWAY_SECRETS`` as a pipeline's secrets are. No message here quotes a value.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from cableway.aside import aside
from cableway.errors import CablewayError, SettingsError, UnavailableError
from cableway.secret_sources import OWN, SecretSources

FRESH_S = 60.0
"""Seconds for which a source is not asked again; then it is, while the value that is known counts on."""
RENEW_S = 10.0
"""Seconds after which a source is asked again where nobody known here has signed: the secret may be a new one."""
KEPT_S = 3600.0
"""Seconds for which a value counts whose source cannot be asked."""

_log = logging.getLogger("cableway.api")


@dataclass(frozen=True, slots=True)
class _Known:
    """What a source said last."""

    value: str | None
    asked_s: float
    found_s: float
    why: str = ""
    unasked: bool = False
    """Whether the source could not be asked."""


class HookSecrets:
    """The values behind references. Only the first delivery that needs a secret waits for its source.

    One that nobody known here has signed may wait as well, every `RENEW_S` seconds: so a secret that was replaced where
    it is kept is known at once.
    """

    def __init__(
        self, environment: Mapping[str, str], sources: SecretSources, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._environment = environment
        self._sources = sources
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    def value(self, reference: str) -> str:
        """What is behind *reference*, after `ready`. Raise `SettingsError` where nothing is."""
        if (name := _kept_elsewhere(reference)) is None:
            return _variable(reference, self._environment)
        known = self._known.get(name)
        if known is None or known.value is None:
            raise SettingsError(known.why if known is not None else "it was not looked up")
        return known.value

    async def ready(self, references: Iterable[str]) -> None:
        """Have the values of *references* at hand; ask again for those that have grown old, without waiting."""
        for reference in references:
            name = _kept_elsewhere(reference)
            if name is None or self._age_s(name) < FRESH_S:
                continue
            asking = self._ask(name)
            known = self._known.get(name)
            if known is None or known.value is None:
                await asyncio.shield(asking)

    async def renewed(self, references: Iterable[str]) -> bool:
        """Whether any value is another one than before, once all that were not just asked for have been.

        Raise `UnavailableError` where one is not known since its source cannot be asked.
        """
        names = [name for reference in references if (name := _kept_elsewhere(reference)) is not None]
        before = {name: self._known.get(name) for name in names if self._age_s(name) >= RENEW_S}
        for name in before:
            await asyncio.shield(self._ask(name))
        if any(self._known[name].unasked for name in names):
            raise UnavailableError("The webhook cannot be verified for the moment. Send it again.")
        return any(known is None or self._known[name].value != known.value for name, known in before.items())

    def _age_s(self, name: str) -> float:
        known = self._known.get(name)
        if known is None:
            return float("inf")
        # What is not there is looked for more often than what is.
        return self._clock() - known.asked_s + (0 if known.value is not None else FRESH_S - RENEW_S)

    def _ask(self, name: str) -> asyncio.Task[None]:
        """A task of its own, for a delivery that cannot wait must not end it."""
        asking = self._asking.get(name)
        if asking is None:
            asking = self._asking[name] = asyncio.create_task(self._asked(name))
            asking.add_done_callback(lambda _: self._asking.pop(name, None))
        return asking

    async def _asked(self, name: str) -> None:
        before = self._known.get(name)
        try:
            value = await aside(self._sources.find, name)
            now_s = self._clock()
            known = _Known(value, now_s, now_s, "" if value else "no source of CABLEWAY_SECRETS has it")
        except Exception as error:  # noqa: BLE001 - a source, or what it is built on, may fail in any way
            # What is not ours may quote anything, so only its type is told.
            why = str(error) if isinstance(error, CablewayError) else f"{type(error).__name__} came of asking for it"
            now_s = self._clock()
            known = _Known(None, now_s, 0.0, why, not isinstance(error, SettingsError))
            if before is not None and before.value is not None and now_s - before.found_s < KEPT_S:
                _log.warning("the secret %r of webhooks cannot be asked for, and its last value counts: %s", name, why)
                known = _Known(before.value, now_s, before.found_s)
        self._known[name] = known


def resolve_secret(reference: str, environment: Mapping[str, str], sources: SecretSources) -> str:
    """What is behind *reference* now. Raise as `SecretSources.find`, and `SettingsError` where nothing is."""
    if (name := _kept_elsewhere(reference)) is None:
        return _variable(reference, environment)
    value = sources.find(name)
    if value is None:
        raise SettingsError(f"no source of CABLEWAY_SECRETS has the secret {name}")
    return value


def _kept_elsewhere(reference: str) -> str | None:
    return reference.removeprefix("secret:") if reference.startswith("secret:") else None


def _variable(reference: str, environment: Mapping[str, str]) -> str:
    scheme, _, name = reference.partition(":")
    if scheme != "env" or not name or name.startswith(OWN):
        raise SettingsError(
            "a webhook's secret is named as env:NAME or secret:NAME, and not by a variable of the database"
        )
    value = environment.get(name)
    if not value:
        raise SettingsError(f"the variable {name} is not set, and holds the secret")
    return value

"""``notify``: tells people how a run ended, in a chat or by mail."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import MinLen

from cableway.blocs.http.mail import Letter, MailServer, send_letter
from cableway.blocs.http.options import HttpOptions, as_config, options_of, url_faults
from cableway.blocs.http.rows import rows_of
from cableway.blocs.http.speaking import SpeakingBloc
from cableway.blocs.http.templates import filled_text, template_fault
from cableway.blocs.kinds import Ending, ExporterBloc
from cableway.context import MissingDataError, RunContext
from cableway.definition import JsonObject
from cableway.errors import CablewayError
from cableway.redaction import guard, redacted
from cableway.references import is_reference

log = logging.getLogger("cableway.blocs.notify")

_WORDS = ("pipeline", "version", "run_id", "attempt", "scheduled_at", "scheduler", "outcome", "items", "rows", "item")
_GOOD = {"success": {Ending.SUCCEEDED}, "failure": {Ending.FAILED, Ending.COMPLETED_WITH_ERRORS, Ending.INTERRUPTED}}


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyConfig:
    """Whom to tell, when, and what."""

    url: str | None = None
    """A chat's incoming webhook that takes `{"text": ...}`, as Slack's and its like do. Best as `${secret:NAME}`."""
    mail: MailServer | None = None
    """The server that sends mail."""
    to: list[Annotated[str, MinLen(3)]] = field(default_factory=list[str])
    """The addresses that mail goes to."""
    sender: str | None = None
    """The address that mail comes from."""
    when: Literal["always", "success", "failure"] = "always"
    """Which ends of a run are told; `failure` is any end but a clean one."""
    each: Literal["run", "item"] = "run"
    """One message when the run ends, or one for each item as it comes."""
    subject: str = "{pipeline}: {outcome}"
    """The subject of mail."""
    text: str = "{pipeline} (run {run_id}): {outcome}, rows: {rows}, items: {items}"
    """The message. It knows `{pipeline}`, `{version}`, `{run_id}`, `{attempt}`, `{scheduler}`, `{scheduled_at}`,
    `{outcome}`, `{items}` and `{rows}`, and with `each: item` also `{item}`."""
    required: bool = False
    """Whether a message that cannot be sent fails the run, or the item; else it is a warning in the log."""
    http: HttpOptions = field(default_factory=HttpOptions)
    """How patient it is."""
    source_bloc: str | None = None
    """The bloc whose items are counted; unset: the one of the previous stage."""


class NotifyBloc(SpeakingBloc, ExporterBloc):
    """Counts the items that reach it and, when the run closes its blocs, says how it ended.

    A run that fails before its first bloc is open tells nobody.
    """

    bloc_type = "notify"
    summary = "Tells people how a run ended, in a chat or by mail."
    Config = NotifyConfig
    example: ClassVar[Mapping[str, Any]] = {"url": "${secret:chat_webhook}", "when": "failure"}

    config: NotifyConfig

    def __init__(self, name: str, config: NotifyConfig) -> None:
        super().__init__(name, config)
        self._mail = as_config(MailServer, config.mail)
        self._items = self._rows = self._sent = 0
        self._context: RunContext | None = None

    @classmethod
    def faults(cls, config: NotifyConfig) -> Iterable[tuple[str, str]]:
        """Nobody to tell, half a mail, places that nothing is known for."""
        if config.url is None and config.mail is None:
            yield "url", "or mail is required: where is the message to go?"
        if config.url is not None:
            yield from url_faults("url", config.url)
        if config.mail is not None:
            if not config.to or not config.sender:
                yield "to", "and sender are required for mail"
            password = config.mail.password
            if password and "${secret:" not in password and redacted(password) == password:
                yield "mail/password", "has no place in a definition; write ${secret:NAME}"
        for name, text in (("subject", config.subject), ("text", config.text)):
            if not is_reference(text):
                yield from _template_faults(name, text)

    async def open(self, context: RunContext) -> None:
        """Remember whose run it is."""
        await super().open(context)
        self._context = context
        guard(word for word in (self.config.url, self._mail.password if self._mail else None) if word)

    async def export(self, context: RunContext) -> int:
        """Count the item, or tell of it. Raise where that cannot be done and is ``required``."""
        rows = sum(len(rows_of(context.get_data(name), name)) for name in context.inputs if context.has_data(name))
        self._items += 1
        self._rows += rows
        if self.config.each == "item":
            await self._tell(context, {"outcome": "item", "items": 1, "rows": rows, "item": context.item_id})
        return rows

    async def close(self, ending: Ending) -> None:
        """Tell how the run ended."""
        context, self._context = self._context, None
        try:
            if context is not None and self.config.each == "run" and self._wants(ending):
                words = {"outcome": ending.value.replace("_", " "), "items": self._items, "rows": self._rows}
                await self._tell(context, words)
        finally:
            await super().close(ending)

    def outputs(self) -> JsonObject:
        """How many messages were sent."""
        return {"messages": self._sent}

    def _wants(self, ending: Ending) -> bool:
        return self.config.when == "always" or ending in _GOOD[self.config.when]

    async def _tell(self, context: RunContext, more: Mapping[str, Any]) -> None:
        try:
            words = {**_facts(context), **more}
            text = redacted(filled_text(self.config.text, words, f"bloc {self.name!r}, text"))
            if self.config.url is not None:
                await self._post(self.config.url, text, context.item_id)
            if self._mail is not None:
                subject = redacted(filled_text(self.config.subject, words, f"bloc {self.name!r}, subject"))
                await self._write(self._mail, " ".join(subject.split()), text)
            self._sent += 1
        except (CablewayError, MissingDataError, OSError) as error:
            if self.config.required:
                raise
            log.warning("bloc %r could not tell anybody: %s", self.name, error)

    async def _post(self, url: str, text: str, key: str) -> None:
        from cableway.blocs.http.addresses import parsed
        from cableway.blocs.http.message import Request, json_body

        request = Request(
            method="POST",
            url=parsed(url),
            headers={"Content-Type": "application/json"},
            body=json_body({"text": text}),
            follows=False,
        )
        await self.client.send(request, key=key)

    async def _write(self, server: MailServer, subject: str, text: str) -> None:
        letter = Letter(sender=self.config.sender or "", to=tuple(self.config.to), subject=subject, text=text)
        allow = self._settings.allow if self._settings is not None else ()
        async with asyncio.timeout(options_of(self.config.http).timeout_s):
            await send_letter(letter, server, allow)


def _facts(context: RunContext) -> dict[str, Any]:
    facts = context.facts
    return {
        "pipeline": facts.pipeline,
        "version": facts.version,
        "run_id": facts.run_id,
        "attempt": facts.attempt,
        "scheduler": facts.scheduler_name,
        "scheduled_at": facts.scheduled_at,
    }


def _template_faults(name: str, text: str) -> Iterable[tuple[str, str]]:
    if reason := template_fault(text):
        yield name, reason
        return
    known: dict[str, Any] = dict.fromkeys(_WORDS, "")
    try:
        filled_text(text, known, name)
    except MissingDataError:
        yield name, f"has a place that nothing is known for; known are {', '.join(_WORDS)}"

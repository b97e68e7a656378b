"""``run_adk_agents``: has an agent answer, over the API server of the Agent Development Kit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from annotated_types import MinLen

from cableway.blocs.http.options import Auth, HttpOptions, auth_faults, header_faults, url_faults
from cableway.blocs.http.rows import input_rows
from cableway.blocs.http.speaking import SpeakingBloc
from cableway.blocs.http.templates import filled_text, template_fault
from cableway.blocs.http.tokens import user_headers
from cableway.blocs.kinds import TransformerBloc
from cableway.context import RunContext
from cableway.errors import HttpError
from cableway.references import is_reference

if TYPE_CHECKING:
    from cableway.blocs.http.message import Reply

_PATIENT = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAdkAgentsConfig:
    """Which agent is told what, and by whom."""

    base_url: Annotated[str, MinLen(1)]
    """Where the agents' API server is."""
    agent_id: Annotated[str, MinLen(1)]
    """The agent, by the name of its app."""
    user_id: Annotated[str, MinLen(1)]
    """The user in whose name it is asked."""
    message_text: Annotated[str, MinLen(1)]
    """What the agent is told."""
    per_row: bool = False
    """Asks for each row, in a session of its own; `{column}` in `message_text` is then a value of the row."""
    keep_events: bool = False
    """Keeps all that the agent sent beside its answer, as `events`."""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    """Headers of every request."""
    auth: Auth | None = None
    """Who asks; unset: the user, by a token signed with the setting ENCRYPT_KEY, where there is one."""
    http: HttpOptions = field(default_factory=lambda: HttpOptions(timeout_s=_PATIENT, idle_s=_PATIENT))
    """How patient it is; unset, it waits five minutes for an answer."""
    source_bloc: str | None = None
    """The bloc after whose data it asks; unset: the one of the previous stage."""


class RunAdkAgentsBloc(SpeakingBloc, TransformerBloc):
    """Gives a row an answer: ``agent_id``, ``session_id`` and ``text``, with ``per_row`` beside the columns of its row.

    Asking is not repeated once the agent may have begun to work. A session's id is made of run, item and row.
    """

    bloc_type = "run_adk_agents"
    summary = "Has an agent answer, over the API server of the Agent Development Kit."
    Config = RunAdkAgentsConfig
    example: ClassVar[Mapping[str, Any]] = {
        "base_url": "https://agents.example.com",
        "agent_id": "summarizer",
        "user_id": "u-1042",
        "message_text": "Summarize yesterday's orders.",
    }

    config: RunAdkAgentsConfig

    @classmethod
    def faults(cls, config: RunAdkAgentsConfig) -> Iterable[tuple[str, str]]:
        """A URL that is none, a template that is none, credentials that are incomplete."""
        yield from url_faults("base_url", config.base_url)
        yield from header_faults(config.headers)
        yield from auth_faults(config.auth)
        if config.per_row and not is_reference(config.message_text) and (reason := template_fault(config.message_text)):
            yield "message_text", reason

    async def transform(self, context: RunContext) -> list[dict[str, Any]]:
        """The answers. Raise `HttpError` where there is none."""
        config = self.config
        rows = input_rows(context, f"bloc {self.name!r}") if config.per_row else [dict[str, Any]()]
        answers: list[dict[str, Any]] = []
        for number, row in enumerate(rows):
            where = f"bloc {self.name!r}, row {number + 1}"
            text = filled_text(config.message_text, row, where) if config.per_row else config.message_text
            session = str(uuid5(NAMESPACE_URL, f"{context.facts.run_id}/{self.name}/{context.item_id}/{number}"))
            answers.append({**row, **await self._answer(text, session)})
        return answers

    async def _answer(self, text: str, session: str) -> dict[str, Any]:
        config = self.config
        await self._begin(session)
        asked = {
            "appName": config.agent_id,
            "userId": config.user_id,
            "sessionId": session,
            "newMessage": {"role": "user", "parts": [{"text": text}]},
        }
        reply = await self._send("POST", "/run", asked, key=session)
        events = _events(reply)
        answer: dict[str, Any] = {"agent_id": config.agent_id, "session_id": session, "text": _last_text(events)}
        return {**answer, "events": events} if config.keep_events else answer

    async def _begin(self, session: str) -> None:
        """Make the session; one that an earlier attempt made is taken as it is."""
        config = self.config
        parts = (quote(part, safe="") for part in (config.agent_id, config.user_id, session))
        path = "/apps/{}/users/{}/sessions/{}".format(*parts)
        try:
            await self._send("POST", path, {}, key=f"{session}/begin")
        except HttpError as error:
            if error.http_status not in {400, 409}:
                raise
            try:
                await self._send("GET", path, None, key=f"{session}/look")
            except HttpError:
                raise error from None

    async def _send(self, method: str, path: str, value: Any, *, key: str) -> Reply:
        from cableway.blocs.http.addresses import parsed
        from cableway.blocs.http.message import Request, json_body

        config = self.config
        named = {} if config.auth is not None else user_headers(config.user_id, self._settings)
        headers = {"Accept": "application/json", **named, **config.headers}
        if value is not None:
            headers = {"Content-Type": "application/json", **headers}
        request = Request(
            method=method,
            url=parsed(config.base_url.rstrip("/") + path),
            headers=headers,
            body=None if value is None else json_body(value),
        )
        return await self.client.send(request, key=key)


def _events(reply: Reply) -> list[dict[str, Any]]:
    events = reply.json()
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in cast("list[Any]", events)):
        raise HttpError("the agent's answer is no list of events", place=reply.place, reason="content")
    return cast("list[dict[str, Any]]", events)


def _last_text(events: Sequence[Mapping[str, Any]]) -> str | None:
    """What the agent said last; None where it said nothing."""
    for event in reversed(events):
        content = event.get("content")
        parts = cast("Mapping[str, Any]", content).get("parts") if isinstance(content, Mapping) else None
        said = [
            str(cast("Mapping[str, Any]", part)["text"])
            for part in cast("list[Any]", parts or [])
            if isinstance(part, Mapping) and isinstance(cast("Mapping[str, Any]", part).get("text"), str)
        ]
        if said and event.get("author") != "user":
            return "".join(said)
    return None

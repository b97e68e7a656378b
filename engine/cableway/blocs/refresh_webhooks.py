"""``refresh_webhooks``: asks a service to renew the webhooks of a user."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import MinLen

from cableway.blocs.http.options import Auth, HttpOptions, auth_faults, header_faults, url_faults
from cableway.blocs.http.speaking import SpeakingBloc
from cableway.blocs.http.tokens import user_headers
from cableway.blocs.kinds import TransformerBloc
from cableway.context import RunContext


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshWebhooksConfig:
    """Where to ask, and for whom."""

    url: Annotated[str, MinLen(1)]
    """The address that renews webhooks."""
    user_id: Annotated[str, MinLen(1)]
    """The user whose webhooks they are; the request is sent in that user's name."""
    method: Literal["POST", "PUT", "GET"] = "POST"
    """How it is asked; with POST and PUT the user is in the body, as `{"user_id": ...}`, with GET in the URL."""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    """Headers of the request."""
    auth: Auth | None = None
    """Who asks; unset: the user, by a token signed with the setting ENCRYPT_KEY, where there is one."""
    http: HttpOptions = field(default_factory=HttpOptions)
    """How patient it is, and how much it takes."""
    source_bloc: str | None = None
    """The bloc after whose data it asks, once for each item; unset: the one of the previous stage."""


class RefreshWebhooksBloc(SpeakingBloc, TransformerBloc):
    """Gives the answer, or `{"status": 204}` with the status where there is none. Renewing twice is renewing once."""

    bloc_type = "refresh_webhooks"
    summary = "Asks a service to renew a user's webhooks."
    Config = RefreshWebhooksConfig
    example: ClassVar[Mapping[str, Any]] = {"url": "https://api.example.com/webhooks/refresh", "user_id": "u-1042"}

    config: RefreshWebhooksConfig

    @classmethod
    def faults(cls, config: RefreshWebhooksConfig) -> Iterable[tuple[str, str]]:
        """A URL that is none, credentials that are incomplete."""
        yield from url_faults("url", config.url)
        yield from header_faults(config.headers)
        yield from auth_faults(config.auth)

    async def transform(self, context: RunContext) -> Any:
        """What the service says. Raise `HttpError` where it does not do it."""
        from cableway.blocs.http.addresses import parsed
        from cableway.blocs.http.message import Request, json_body

        config = self.config
        url, user = parsed(config.url), {"user_id": config.user_id}
        named = {} if config.auth is not None else user_headers(config.user_id, self._settings)
        headers = {"Accept": "application/json", **named, **config.headers}
        if config.method == "GET":
            request = Request(method="GET", url=url.copy_merge_params(user), headers=headers)
        else:
            headers = {"Content-Type": "application/json", **headers}
            request = Request(method=config.method, url=url, headers=headers, body=json_body(user), repeatable=True)
        reply = await self.client.send(request, key=context.item_id)
        return reply.json() if reply.body.strip() else {"status": reply.status}

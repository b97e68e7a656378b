"""``webhook_exporter``: sends each item to a web service, signed as Standard Webhooks are."""

from __future__ import annotations

import hmac
import time
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b, sha256
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import MinLen

from cableway.blocs.http.options import Auth, HttpOptions, auth_faults, header_faults, url_faults
from cableway.blocs.http.rows import rows_of
from cableway.blocs.http.speaking import SpeakingBloc
from cableway.blocs.kinds import ExporterBloc, Resources
from cableway.context import RunContext
from cableway.definition import JsonObject
from cableway.errors import DefinitionError, RowError
from cableway.redaction import guard, redacted

if TYPE_CHECKING:
    from cableway.blocs.http.message import Request

_PREFIX = "whsec_"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookExporterConfig:
    """Where to send items, and how to sign them."""

    url: Annotated[str, MinLen(1)]
    """The address of the receiver."""
    secret: str | None = None
    """What is signed with, a reference to a secret: `whsec_` and base64, or a text. Unset: nothing is signed."""
    type: Annotated[str, MinLen(1)] = "cableway.item"
    """The type of the event, in the body."""
    each: Literal["item", "row"] = "item"
    """One message for an item, with all its rows, or one for each row."""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    """Headers of every message."""
    auth: Auth | None = None
    """Who sends; unset: nobody in particular."""
    http: HttpOptions = field(default_factory=HttpOptions)
    """How patient it is."""
    source_bloc: str | None = None
    """The bloc whose data is sent; unset: the one of the previous stage."""


class WebhookExporterBloc(SpeakingBloc, ExporterBloc):
    """Delivers at least once: what is sent again bears the same ``webhook-id``, by which the receiver knows it.

    The id is made of the run's line, the bloc and the item, so it is the same in every attempt and replay.
    """

    bloc_type = "webhook_exporter"
    summary = "Sends items to a web service, signed as Standard Webhooks."
    Config = WebhookExporterConfig
    example: ClassVar[Mapping[str, Any]] = {
        "url": "https://hooks.example.com/orders",
        "secret": "${secret:orders_signing}",
        "type": "order.loaded",
    }

    config: WebhookExporterConfig

    def __init__(self, name: str, config: WebhookExporterConfig) -> None:
        super().__init__(name, config)
        self._key: bytes | None = None
        self._sent = 0

    @classmethod
    def faults(cls, config: WebhookExporterConfig) -> Iterable[tuple[str, str]]:
        """A URL that is none, a secret that is written out."""
        yield from url_faults("url", config.url)
        yield from header_faults(config.headers)
        yield from auth_faults(config.auth)
        if config.secret and "${secret:" not in config.secret and redacted(config.secret) == config.secret:
            yield "secret", "has no place in a definition; write ${secret:NAME}"

    def bind(self, resources: Resources) -> None:
        """Read the signing key. Raise `DefinitionError` where it is none."""
        super().bind(resources)
        self._key = _signing_key(self.config.secret, self.name)

    async def export(self, context: RunContext) -> int:
        """Send the item. Raise `HttpError` where the receiver does not take it."""
        rows = rows_of(context.input(), f"bloc {self.name!r}")
        if self.config.each == "item":
            await self._send(rows, context, context.item_id)
        else:
            for number, row in enumerate(rows):
                await self._send(row, context, f"{context.item_id}/{number}")
        return len(rows)

    def outputs(self) -> JsonObject:
        """How many messages were taken, by whom."""
        from cableway.blocs.http.addresses import parsed

        return {"messages": self._sent, "host": parsed(self.config.url).host}

    async def _send(self, data: Any, context: RunContext, key: str) -> None:
        facts = context.facts
        digest = blake2b(f"{facts.line or facts.run_id}\0{self.name}\0{key}".encode(), digest_size=16)
        await self.client.send(self._request(data, f"msg_{digest.hexdigest()}"), key=key)
        self._sent += 1

    def _request(self, data: Any, message_id: str) -> Request:
        from cableway.blocs.http.addresses import parsed
        from cableway.blocs.http.message import Request, json_body

        try:
            body = json_body({"type": self.config.type, "data": data})
        except (TypeError, ValueError) as error:
            raise RowError(f"cannot be said in JSON: {error}", where=f"bloc {self.name!r}") from None
        headers = {"Content-Type": "application/json", **self.config.headers, "webhook-id": message_id}
        return Request(
            method="POST",
            url=parsed(self.config.url),
            headers=headers,
            body=body,
            repeatable=True,
            follows=False,
            stamp=self._signed,
        )

    def _signed(self, request: Request) -> Request:
        """Anew each time that it is sent, for a receiver takes no old timestamp."""
        message_id = request.headers["webhook-id"]
        timestamp = str(int(time.time()))
        headers = {**request.headers, "webhook-timestamp": timestamp}
        if self._key is not None:
            said = f"{message_id}.{timestamp}.".encode() + (request.body or b"")
            headers["webhook-signature"] = f"v1,{b64encode(hmac.digest(self._key, said, sha256)).decode()}"
        return replace(request, headers=headers)


def _signing_key(secret: str | None, bloc: str) -> bytes | None:
    if secret is None:
        return None
    guard([secret, secret.removeprefix(_PREFIX)])
    if not secret.startswith(_PREFIX):
        return secret.encode()
    try:
        return b64decode(secret.removeprefix(_PREFIX), validate=True)
    except ValueError:
        raise DefinitionError(f"bloc {bloc!r}: what follows whsec_ in its secret is no base64") from None

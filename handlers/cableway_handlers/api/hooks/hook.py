"""A webhook trigger made ready: who may sign, what it is for, and how a payload becomes a run's parameters."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from urllib.parse import parse_qsl

from cableway.definition import SecretDefinition, TriggerDefinition, TriggerKind
from cableway.definitions.expressions import MISSING, Condition, Path, Scene, parse_condition, parse_path
from cableway.errors import CablewayError, Fault, SettingsError
from cableway_handlers.api import strict_json
from cableway_handlers.api.asgi import JSON
from cableway_handlers.api.hooks.senders import Claim, Sent
from cableway_handlers.api.problems import InvalidRequestError, MediaTypeError, PayloadError, RequestError
from cableway_handlers.api.rates import Rates
from cableway_handlers.api.signature import decode_secret

FORM = "application/x-www-form-urlencoded"
MAX_ID = 255
"""Characters of what names a delivery."""
MAX_FIELDS = 1000
"""Fields of a form."""

_log = logging.getLogger("cableway.api")
_SLACKS_TYPE, _SLACKS_CHALLENGE = parse_path("$.type"), parse_path("$.challenge")
_OWN_KEYS: Mapping[str, tuple[Path, ...]] = {
    "stripe": (parse_path("$.id"),),
    "slack": (parse_path("$.event_id"),),
}


@dataclass(frozen=True, slots=True)
class Secret:
    """A reference to what signs, and until when it counts."""

    reference: str
    expires: datetime | None


@dataclass(slots=True, kw_only=True)
class Mapped:
    """What a run is to be given: by name, and as text that is read by the parameter's type."""

    parameters: Mapping[str, Any]
    texts: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A webhook trigger. Its expressions are parsed once."""

    name: str
    pipeline: str
    trigger: TriggerDefinition
    secrets: tuple[Secret, ...]
    when: Condition | None
    key: Path | None
    mapping: Mapping[str, Path | Any]
    """Paths, and values that stand as they are."""
    rates: Rates | None
    references: tuple[str, ...]
    """What names its secrets."""

    @property
    def takes_forms(self) -> bool:
        """Whether its body may be an HTML form."""
        form = self.trigger.form
        return self.trigger.auth == "slack" if form is None else form

    def scene(self, media_type: str, sent: Sent) -> Scene:
        """The payload and the headers, for expressions. Raise `RequestError`, `MediaTypeError` or `PayloadError`."""
        if media_type == FORM:
            return Scene(self._form(sent.body), sent.headers)
        # Nothing sent is nothing said: schema and parameters decide whether that will do.
        return Scene(strict_json.parse(sent.body) if sent.body else {}, sent.headers)

    def challenge(self, scene: Scene) -> str | None:
        """What Slack wants back when it is told the hook's address."""
        if self.trigger.auth != "slack" or _SLACKS_TYPE.find(scene) != "url_verification":
            return None
        found = _SLACKS_CHALLENGE.find(scene)
        return found if isinstance(found, str) else None

    def check(self, scene: Scene) -> None:
        """Raise `InvalidRequestError` unless the payload fits the trigger's schema."""
        if self.trigger.body_schema is None:
            return
        from cableway.definitions.json_schema import fitted

        _, faults = fitted(self.trigger.body_schema, scene.payload)
        if faults:
            raise InvalidRequestError(Fault(f"/body{fault.pointer}", fault.code, fault.message) for fault in faults)

    def identity(self, claim: Claim, sent: Sent, scene: Scene) -> str | None:
        """What makes two deliveries the same one; None where nothing does.

        Raise `RequestError` where the hook says what it is, and it is not there.
        """
        if self.trigger.key == "digest":
            return hashlib.sha256(sent.body).hexdigest()
        if self.key is not None:
            return _named(self.key.find(scene), self.trigger.key or "")
        for path in _OWN_KEYS.get(self.trigger.auth, ()):
            if (found := path.find(scene)) is not MISSING:
                return _named(found, "$")
        if claim.identity is not None:
            return claim.identity
        if claim.timestamp is not None:
            # What nobody signed must not make two deliveries out of one that is sent again.
            return claim.digest
        return sent.headers.get("idempotency-key")

    def mapped(self, scene: Scene) -> Mapped:
        """The run's parameters, not yet checked. Raise `PayloadError` where the payload cannot be any."""
        if not self.mapping:
            payload: object = scene.payload
            if not isinstance(payload, dict):
                raise PayloadError("The body must be a JSON object: its members are the run's parameters.")
            members = cast("Mapping[str, Any]", payload)
            if self.takes_forms and all(isinstance(value, str) for value in members.values()):
                return Mapped(parameters={}, texts=members)
            return Mapped(parameters=members, texts={})
        values: dict[str, Any] = {}
        texts: dict[str, str] = {}
        for name, place in self.mapping.items():
            found = place.find(scene) if isinstance(place, Path) else place
            if found is MISSING:
                continue
            is_text = isinstance(place, Path) and isinstance(found, str) and (place.is_text or self.takes_forms)
            (texts if is_text else values)[name] = found
        return Mapped(parameters=values, texts=texts)

    def _form(self, body: bytes) -> Any:
        if not self.takes_forms and self.trigger.auth != "github":
            raise MediaTypeError(f"Send the body as {JSON} in UTF-8.")
        try:
            pairs = parse_qsl(
                body.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict",
                max_num_fields=MAX_FIELDS,
            )  # fmt: skip
        except ValueError:
            raise RequestError("The body is no form in UTF-8.") from None
        fields = dict(pairs)
        if len(fields) < len(pairs) or any("\x00" in text for pair in pairs for text in pair):
            raise RequestError("The form holds a field twice, or a NUL character.")
        if self.trigger.auth == "github":
            return strict_json.parse(fields.get("payload", "").encode())
        return fields


def make_hook(name: str, pipeline: str, config: Mapping[str, Any], kind: TriggerKind = "webhook") -> Hook:
    """The hook of a stored trigger. Raise `SettingsError` where its config was written past the checks."""
    try:
        trigger = TriggerDefinition.of_row(kind, config)
        if trigger.auth == "hmac" and trigger.signature is None:
            raise KeyError("signature")
        per_minute = trigger.rate_per_minute
        secrets = tuple(map(_secret, trigger.secrets))
        return Hook(
            name=name,
            pipeline=pipeline,
            trigger=trigger,
            secrets=secrets,
            references=tuple(secret.reference for secret in secrets),
            when=None if trigger.when is None else parse_condition(trigger.when),
            key=None if trigger.key in {None, "digest"} else parse_path(trigger.key or ""),
            mapping={parameter: _place(value) for parameter, value in trigger.parameters.items()},
            rates=None if per_minute is None else Rates(per_minute / 60, max(1, math.ceil(per_minute / 10))),
        )
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise SettingsError(f"the config of trigger {name!r} is none of a webhook ({type(error).__name__})") from None


def usable_secrets(hook: Hook | None, value: Callable[[str], str], *, now_s: float) -> list[str]:
    """The secrets that count now; *value* gives what is behind a reference.

    Those that cannot be had are logged: a caller learns nothing of it.
    """
    found: list[str] = []
    for secret in () if hook is None else hook.secrets:
        if secret.expires is not None and secret.expires.timestamp() <= now_s:
            continue
        try:
            known = value(secret.reference)
            if hook is not None and hook.trigger.auth == "standard":
                decode_secret(known)
            found.append(known)
        except SettingsError as error:
            _log.error("hook %r: the secret %r: %s", hook and hook.name, secret.reference, error)
    return found


def refusal_of(error: CablewayError) -> str:
    """The step at which a delivery was refused, for its record."""
    match error.status:
        case 401 | 400 | 413 | 415:
            return "signature" if error.status == 401 else "form"
        case 409:
            return "overlap"
        case 429:
            return "rate"
        case _:
            return "idempotency" if error.code == "key_reused" else "mapping"


def _secret(written: str | SecretDefinition) -> Secret:
    if isinstance(written, str):
        return Secret(written, None)
    expires = None if written.expires is None else datetime.fromisoformat(written.expires)
    if expires is not None and expires.tzinfo is None:
        raise ValueError("expires")
    return Secret(written.secret, expires)


def _place(value: Any) -> Path | Any:
    if not isinstance(value, str) or not value.startswith("$"):
        return value
    return value[1:] if value.startswith("$$") else parse_path(value)


def _named(found: Any, path: str) -> str:
    if isinstance(found, bool) or not isinstance(found, str | int) or not 0 < len(str(found)) <= MAX_ID:
        raise RequestError(f"What names the delivery ({path[:80]}) must be there: 1 to {MAX_ID} characters.")
    text = str(found)
    if not text.isprintable():
        raise RequestError(f"What names the delivery ({path[:80]}) must be printable.")
    return text

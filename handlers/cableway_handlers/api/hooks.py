"""
``POST /hooks/{trigger}``: a signed webhook comes in, and once its run is committed a 202 goes out.

The route stands beside FastAPI, on ASGI itself: the signature is over the raw bytes, and an answer
costs no more than its commit. In order: media type and size, headers, signature, JSON, one
transaction, then the launch in the background. Whatever is refused leaves no row behind.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from cableway.errors import CablewayError, SettingsError, UnavailableError
from cableway.telemetry.propagation import Remote, parse_remote
from cableway_handlers.api import strict_json
from cableway_handlers.api.asgi import (
    PROBLEM,
    ClientGoneError,
    Receive,
    Scope,
    Send,
    problem_body,
    read_json_body,
    send_json,
    send_problem,
)
from cableway_handlers.api.problems import MethodError, PayloadError, UnauthenticatedError
from cableway_handlers.api.signature import WebhookHeaders, decode_secret, read_headers, verify
from cableway_handlers.launch.protocol import Launch

PREFIX = "/hooks/"

_log = logging.getLogger("cableway.api")


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook trigger: what it runs, and references (``env:NAME``) to the secrets that may sign for it."""

    name: str
    pipeline: str
    secrets: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A webhook that was verified and may become a run."""

    hook: Hook
    webhook_id: str
    body_hash: str
    parameters: Mapping[str, strict_json.Json]
    caller: Remote | None


@dataclass(frozen=True, slots=True)
class Recorded:
    """The run that a delivery made; ``replayed`` if an earlier delivery of the same webhook had made it."""

    run_id: str
    replayed: bool


class Register(Protocol):
    """Where hooks are looked up and runs are recorded. Both raise `UnavailableError` while Postgres is away."""

    async def find_hook(self, name: str) -> Hook | None:
        """The enabled webhook trigger of this name."""
        ...

    async def record(self, delivery: Delivery) -> Recorded:
        """Commit the delivery's run, or find the one that the same webhook made before.

        Raise `KeyReusedError`, `ParameterError` or `UnknownPipelineError` where no run can come of it.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a caller may ask of the hook route."""

    body_bytes: int = 1024 * 1024
    body_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HookRoute:
    """The ASGI application behind `PREFIX`. *launch* is called once for each new run, after its commit."""

    register: Register
    launch: Callable[[Launch], object]
    environment: Mapping[str, str] = field(repr=False)
    limits: Limits = Limits()
    clock: Callable[[], float] = time.time

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Never raises: what is not foreseen is logged and answered 500."""
        try:
            recorded = await self._accept(scope, receive)
        except ClientGoneError:
            return
        except CablewayError as error:
            await _refuse(send, error)
        except Exception:  # noqa: BLE001 - no input may end in anything but an answer
            _log.exception("a webhook failed")
            await _refuse(send, CablewayError())
        else:
            await _answer(send, recorded)

    async def _accept(self, scope: Scope, receive: Receive) -> Recorded:
        if scope["method"] != "POST":
            raise MethodError("A webhook is sent with POST.")
        body = await read_json_body(scope, receive, limit_bytes=self.limits.body_bytes, deadline_s=self.limits.body_s)
        headers = read_headers(scope["headers"])
        hook = await self._verified_hook(scope["path"].removeprefix(PREFIX), headers, body)
        recorded = await self.register.record(_delivery(hook, headers, body, scope))
        if not recorded.replayed:
            self.launch(Launch(recorded.run_id, 1))
        return recorded

    async def _verified_hook(self, name: str, headers: WebhookHeaders, body: bytes) -> Hook:
        hook = await self.register.find_hook(name)
        # A hook that is not there is verified too, so that the time taken tells nothing.
        verify(headers, body, self._secrets(hook), now_s=self.clock())
        if hook is None:
            raise UnauthenticatedError
        return hook

    def _secrets(self, hook: Hook | None) -> list[bytes]:
        found: list[bytes] = []
        for reference in hook.secrets if hook else ():
            try:
                found.append(resolve_secret(reference, self.environment))
            except SettingsError as error:
                # The caller learns nothing of it; whoever runs the server must.
                _log.error("hook %r: %s", hook and hook.name, error)
        return found


def resolve_secret(reference: str, environment: Mapping[str, str]) -> bytes:
    """The key behind *reference*. Raise `SettingsError` that names the reference and never its value."""
    scheme, _, name = reference.partition(":")
    if scheme != "env" or not name or name.startswith("DATABASE_"):
        raise SettingsError(f"the secret {reference!r} is no reference such as env:NAME")
    value = environment.get(name)
    if not value:
        raise SettingsError(f"the secret {reference!r} is not there: set the variable {name}")
    try:
        return decode_secret(value)
    except SettingsError as error:
        raise SettingsError(f"the secret {reference!r}: {error}") from None


def _delivery(hook: Hook, headers: WebhookHeaders, body: bytes, scope: Scope) -> Delivery:
    # Nothing sent is nothing said: the pipeline's own parameters decide whether that will do.
    parameters = strict_json.parse(body) if body else {}
    if not isinstance(parameters, dict):
        raise PayloadError("The body must be a JSON object: its members are the run's parameters.")
    return Delivery(
        hook=hook,
        webhook_id=headers.id,
        body_hash=hashlib.sha256(body).hexdigest(),
        parameters=parameters,
        caller=_caller(scope),
    )


def _caller(scope: Scope) -> Remote | None:
    """The caller's span; none where its headers are malformed, which is no reason to refuse a webhook."""
    found: dict[bytes, list[str]] = {b"traceparent": [], b"tracestate": []}
    for name, value in scope["headers"]:
        if name in found:
            found[name].append(value.decode("latin-1"))
    parents = found[b"traceparent"]
    return parse_remote(parents[0], ",".join(found[b"tracestate"])) if len(parents) == 1 else None


async def _answer(send: Send, recorded: Recorded) -> None:
    where = {"location": f"/runs/{recorded.run_id}"}
    if recorded.replayed:
        await send_json(send, 200, {"run_id": recorded.run_id}, {**where, "idempotent-replayed": "true"})
    else:
        await send_json(send, 202, {"run_id": recorded.run_id}, where)


async def _refuse(send: Send, error: CablewayError) -> None:
    if isinstance(error, UnavailableError):
        _log.warning("a webhook was answered 503: %s", error)
    if isinstance(error, MethodError):
        return await send_json(send, error.status, problem_body(error), {"allow": "POST"}, PROBLEM)
    return await send_problem(send, error)

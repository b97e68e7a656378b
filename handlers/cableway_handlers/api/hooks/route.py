"""
``POST /hooks/{trigger}``: a webhook comes in, and once its run is committed a 202 goes out.

The route stands beside FastAPI, on ASGI itself: the signature is over the raw bytes, and an answer costs no
more than its share of a commit. In order: media type, size and form of headers, which are the same for every
hook; the signature; rate, payload, condition and key; one transaction for all that wait; the launch, after
it. Whatever is refused leaves no row of a run behind.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from uuid import uuid4

from cableway.definitions.expressions import Scene
from cableway.errors import CablewayError, SettingsError, UnavailableError
from cableway.telemetry.propagation import Remote, parse_remote
from cableway_handlers.api.asgi import (
    JSON,
    PROBLEM,
    REQUEST_ID,
    ClientGoneError,
    Receive,
    Scope,
    Send,
    check_length,
    plain_type,
    problem_body,
    problem_headers,
    read_pieces,
    send_json,
    too_slow,
)
from cableway_handlers.api.hooks.deadlines import Deadlines
from cableway_handlers.api.hooks.deliveries import Delivery, Recorded, Register
from cableway_handlers.api.hooks.hook import FORM, Hook, Mapped, refusal_of, usable_secrets
from cableway_handlers.api.hooks.records import Record, Verdict, is_wanted
from cableway_handlers.api.hooks.register import UNAVAILABLE
from cableway_handlers.api.hooks.secrets import HookSecrets
from cableway_handlers.api.hooks.senders import Claim, Sent, known, read_fields
from cableway_handlers.api.problems import MethodError, RequestError, TooManyRequestsError, UnauthenticatedError
from cableway_handlers.launch.protocol import Launch

PREFIX = "/hooks/"
TAKEN = frozenset({JSON, FORM})
POLL_S = 0.1
"""Seconds between the first looks at a run whose end a caller waits for; they become rarer."""
MAX_POLL_S = 1.0

_WAIT = re.compile(rb"wait=([0-9]{1,4}(?:\.[0-9]{1,3})?)s?")
_log = logging.getLogger("cableway.api")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a caller may ask of the hook route."""

    body_bytes: int = 1024 * 1024
    body_s: float = 25.0
    """Seconds for the whole body to arrive."""
    database_s: float = 1.8
    """Seconds from the body's arrival to the commit, or the caller is told to come again."""
    wait_s: float = 30.0
    """Seconds for which ``?wait=`` holds a request at most."""
    waiters: int = 256
    """Requests that are held at once; others are answered as without ``?wait=``."""
    unsigned: bool = False
    """Whether hooks with ``auth: none`` are served."""


@dataclass(slots=True)
class _Answer:
    """What goes out."""

    status: int
    body: Mapping[str, object] | None
    headers: dict[str, str]
    media_type: str = JSON
    run_id: str | None = None


@dataclass(slots=True)
class _Visit:
    """A request, as far as it is known by now."""

    sent: Sent
    media_type: str
    wait_s: float
    received_s: float
    hook: Hook | None = None
    key: str | None = None


@dataclass(slots=True, kw_only=True)
class HookRoute:
    """The ASGI application behind `PREFIX`. *launch* is called once for each new run, after its commit."""

    register: Register
    launch: Callable[[Launch], object]
    secrets: HookSecrets = field(repr=False)
    limits: Limits = Limits()
    clock: Callable[[], float] = time.time
    _held: int = 0
    _bodies: Deadlines = field(init=False)
    _decisions: Deadlines = field(init=False)

    def __post_init__(self) -> None:
        self._bodies = Deadlines(self.limits.body_s)
        self._decisions = Deadlines(self.limits.database_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Never raises: what is not foreseen is logged and answered 500."""
        try:
            answer = await self._answer(scope, receive)
        except ClientGoneError:
            return
        except CablewayError as error:
            answer = _problem(error, scope)
        except Exception:  # noqa: BLE001 - no input may end in anything but an answer
            _log.exception("a webhook failed")
            answer = _problem(CablewayError(), scope)
        await _send(send, answer)

    async def _answer(self, scope: Scope, receive: Receive) -> _Answer:
        if scope["method"] != "POST":
            raise MethodError("A webhook is sent with POST.")
        fields = read_fields(scope["headers"])
        declared = plain_type(fields.get("content-type", ""), fields.get("content-encoding", ""), TAKEN)
        wait_s = _wait_s(scope.get("query_string", b""), self.limits.wait_s)
        body = await self._body(fields, receive)
        visit = _Visit(Sent(fields, body), declared, wait_s, self.clock())
        try:
            answer = await self._judged_in_time(scope["path"].removeprefix(PREFIX), visit)
        except CablewayError as error:
            self._keep(visit, "refused", error.status, step=refusal_of(error), error=error.code)
            raise
        if answer.run_id is not None and visit.wait_s:
            return await self._waited(answer.run_id, answer, visit.wait_s)
        return answer

    async def _body(self, fields: Mapping[str, str], receive: Receive) -> bytes:
        check_length(fields.get("content-length"), self.limits.body_bytes)
        try:
            with self._bodies.deadline():
                return await read_pieces(receive, self.limits.body_bytes)
        except TimeoutError:
            raise too_slow(self.limits.body_s) from None

    async def _judged_in_time(self, name: str, visit: _Visit) -> _Answer:
        try:
            with self._decisions.deadline():
                return await self._judged(name, visit)
        except TimeoutError:
            raise UnavailableError(UNAVAILABLE) from None

    async def _judged(self, name: str, visit: _Visit) -> _Answer:
        claim = await self._verified(name, visit)
        hook = visit.hook
        assert hook is not None  # noqa: S101 - nobody vouches for a hook that is not there
        if hook.rates is not None and (wait_s := hook.rates.wait_s("")):
            raise TooManyRequestsError(wait_s)
        scene = hook.scene(visit.media_type, visit.sent)
        challenge = hook.challenge(scene)
        if challenge is not None:
            return _Answer(200, {"challenge": challenge}, {})
        identity = hook.identity(claim, visit.sent, scene)
        visit.key = identity
        # Without anything to tell it by, each delivery is another one; ours is told from its own repetition.
        key = f"webhook:{hook.name}:{identity}" if identity is not None else f"webhook:{hook.name}/{uuid4()}"
        mapped, refusal = _mapped(hook, scene)
        delivery = Delivery(
            hook=hook,
            key=key,
            body_hash=hashlib.sha256(visit.sent.body).hexdigest(),
            mapped=mapped,
            refusal=refusal,
            caller=_caller(visit.sent.headers),
        )
        return await self._recorded(delivery, visit)

    async def _verified(self, name: str, visit: _Visit) -> Claim:
        hook: Hook | None = None
        try:
            hook = await self.register.find_hook(name)
        except UnavailableError:
            raise
        except SettingsError as error:
            # The caller learns nothing of it; whoever runs the server must.
            _log.error("hook %r: %s", name, error)
        if hook is not None and hook.trigger.auth == "none" and not self.limits.unsigned:
            _log.error("hook %r takes anybody's webhooks, and this server does not: CABLEWAY_UNSIGNED_HOOKS=1", name)
            hook = None
        visit.hook = hook
        references = () if hook is None else hook.references
        await self.secrets.ready(references)
        try:
            return self._vouched(visit)
        except UnauthenticatedError:
            if not await self.secrets.renewed(references):
                raise
            return self._vouched(visit)

    def _vouched(self, visit: _Visit) -> Claim:
        """A hook that is not there is verified too, so that the time taken tells nothing."""
        hook = visit.hook
        secrets = usable_secrets(hook, self.secrets.value, now_s=visit.received_s)
        return known(None if hook is None else hook.trigger, visit.sent, secrets, now_s=visit.received_s)

    async def _recorded(self, delivery: Delivery, visit: _Visit) -> _Answer:
        recorded = await self.register.record(delivery)
        if recorded is None:
            self._keep(visit, "filtered", 204)
            return _Answer(204, None, {})
        if recorded.replayed:
            self._keep(visit, "replayed", 200, run_id=recorded.run_id)
        else:
            self.launch(Launch(recorded.run_id, 1))
            self._keep(visit, "accepted", 202, run_id=recorded.run_id)
        answer = _accepted(recorded)
        if delivery.hook.trigger.auth == "slack":
            # Slack takes nothing but a 200 for an answer, and shows its user what stands in it.
            answer.status, answer.body = 200, None
        return answer

    async def _waited(self, run_id: str, answer: _Answer, wait_s: float) -> _Answer:
        """The run's end, if it comes within *wait_s* seconds; else *answer*."""
        if self._held >= self.limits.waiters:
            return answer
        self._held += 1
        pause_s = POLL_S
        try:
            async with asyncio.timeout(wait_s):
                while True:
                    outcome = await self.register.outcome(run_id)
                    if outcome.ended:
                        return _Answer(200, outcome.body, answer.headers)
                    await asyncio.sleep(pause_s)
                    pause_s = min(MAX_POLL_S, pause_s * 1.5)
        except (TimeoutError, UnavailableError):
            # The run is recorded: that is the answer, whatever becomes of it.
            answer.headers["retry-after"] = "5"
            return answer
        finally:
            self._held -= 1

    def _keep(
        self,
        visit: _Visit,
        verdict: Verdict,
        status: int,
        *,
        run_id: str | None = None,
        step: str | None = None,
        error: str | None = None,
    ) -> None:
        hook = visit.hook
        if hook is not None and is_wanted(hook, verdict):
            record = Record(
                hook=hook,
                sent=visit.sent,
                verdict=verdict,
                status=status,
                received_s=visit.received_s,
                key=visit.key,
                run_id=run_id,
                step=step,
                error=error,
            )
            self.register.keep(record)


def _mapped(hook: Hook, scene: Scene) -> tuple[Mapped | None, CablewayError | None]:
    """The parameters, or what keeps a delivery from having any: it may still have made a run before."""
    try:
        hook.check(scene)
        if hook.when is not None and not hook.when(scene):
            return None, None
        return hook.mapped(scene), None
    except RequestError as error:
        return None, error


def _wait_s(query: bytes, most_s: float) -> float:
    if not query:
        return 0.0
    found = _WAIT.fullmatch(query)
    if found is None:
        raise RequestError("The query is wait=SECONDS, or nothing.")
    return min(float(found[1]), most_s)


def _caller(headers: Mapping[str, str]) -> Remote | None:
    """The caller's span; none where its headers are malformed, which is no reason to refuse a webhook."""
    return parse_remote(headers.get("traceparent"), headers.get("tracestate", ""))


def _accepted(recorded: Recorded) -> _Answer:
    headers = {"location": f"/runs/{recorded.run_id}"}
    if recorded.replayed:
        headers["idempotent-replayed"] = "true"
    status = 200 if recorded.replayed else 202
    return _Answer(status, {"run_id": recorded.run_id}, headers, run_id=recorded.run_id)


def _problem(error: CablewayError, scope: Scope) -> _Answer:
    if isinstance(error, UnavailableError):
        _log.warning("a webhook was answered 503: %s", error)
    allow = {"allow": "POST"} if isinstance(error, MethodError) else {}
    return _Answer(
        error.status, problem_body(error, scope.get(REQUEST_ID)), {**problem_headers(error), **allow}, PROBLEM
    )


async def _send(send: Send, answer: _Answer) -> None:
    if answer.body is not None:
        await send_json(send, answer.status, answer.body, answer.headers, answer.media_type)
        return
    length = {} if answer.status == 204 else {"content-length": "0"}
    headers = [(name.encode(), value.encode()) for name, value in {**answer.headers, **length}.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})

"""
``cableway_handlers.aws_lambda.handler``: one function for all that AWS tells, behind whatever tells it.

HTTP (API Gateway in both formats, an ALB, a function URL) goes to the API through Mangum: hooks and resources as
`cableway serve` has them. EventBridge events, S3 notifications and SQS batches go to the triggers of kind
``event``. ``{"cableway": "tick"}``, sent by a rule each minute, decides the ticks that are due and sweeps;
``{"cableway": {"scheduler": "NAME"}}`` decides one scheduler's. What fails is raised, so that AWS sends it again; of
an SQS batch the messages that failed are named, and only they come again.

A Lambda has no database of its own and starts no processes: without ``DATABASE_URL``, or with a launcher that cannot
work here, the process ends with 78 and the log says which variable to set.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from mangum import Mangum

from cableway.errors import CablewayError, SettingsError, UnavailableError
from cableway.logs import set_up_logging
from cableway.secret_sources import SecretSources
from cableway.settings import Settings, environment, read_settings
from cableway.store.session import Session
from cableway_handlers.api.asgi import JSON, PROBLEM, Application, Receive, Scope, Send
from cableway_handlers.api.hooks import PREFIX, HookDesk, HookRoute, Limits
from cableway_handlers.api.hooks.secrets import HookSecrets
from cableway_handlers.events.cloud import CloudEvent, events, is_sqs, messages
from cableway_handlers.events.desk import Told, event_triggers, record_events

if TYPE_CHECKING:
    from cableway_handlers.launch.protocol import Launch, Launcher

PATIENCE_S = 2.0
"""Seconds for which a statement is sent again: a connection may have been cut off while the process was frozen."""

_log = logging.getLogger("cableway.events")
_service: Service | None = None


def handler(event: Mapping[str, Any], context: Any) -> Any:
    """Answer *event*. Raise what AWS is to send again; end the process with 78 where the settings are wrong."""
    global _service  # noqa: PLW0603 - a Lambda's process serves one event after the other, and keeps what it made
    try:
        if _service is None:
            settings = read_settings()
            set_up_logging(settings)
            _service = Service(settings, variables=environment(), launcher=launcher_of(settings))
    except SettingsError as error:
        _log.critical("%s", error)
        raise SystemExit(error.exit_code) from None
    return _service.handle(event, context)


def launcher_of(settings: Settings) -> Launcher | None:
    """What starts containers from here; None where another service's sweep does. Raise `SettingsError`."""
    match settings.launcher:
        case "none":
            return None
        case None | "local":
            raise SettingsError(
                "CABLEWAY_LAUNCHER must name what starts containers: a process started here would end with the "
                "invocation. Set it to none, and let the sweep of `cableway scheduler` or `cableway serve` start runs"
            )
        case other:
            raise SettingsError(f"CABLEWAY_LAUNCHER: there is no launcher {other!r} for Lambda; there is: none")


class Service:
    """All events of one Lambda process: connections are made when they are needed, and kept."""

    def __init__(self, settings: Settings, *, variables: Mapping[str, str], launcher: Launcher | None) -> None:
        self._settings = settings
        self._launcher = launcher
        self._variables = variables
        self._session = Session(settings.state_database, patience_s=PATIENCE_S)
        self._desk = HookDesk(settings.state_database)
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)  # Mangum asks for it by asyncio's old way
        self._launches = _Noted()
        self._hooks = HookRoute(
            register=self._desk,
            launch=self._launches.add,
            secrets=HookSecrets(variables, SecretSources(settings.secrets, variables)),
            limits=Limits(unsigned=settings.unsigned_hooks),
        )
        self._http = Mangum(self._serve, lifespan="off", text_mime_types=["text/", JSON, PROBLEM])
        self._resources: Application | None = None
        self._close_resources: Callable[[], Awaitable[None]] | None = None

    def handle(self, event: Mapping[str, Any], context: Any) -> Any:
        """What *event* is answered with."""
        if is_http(event):
            return self._answered(event, context)
        if "cableway" in event:
            return self._ticked(event["cableway"])
        if is_sqs(event):
            return self._batch(event)
        found = events(event)
        if not found:
            raise SettingsError(
                f"this is no event that is known here; it has: {', '.join(sorted(map(str, event)))[:200]}"
            )
        return self._all_or_none(found)

    def close(self) -> None:
        """Let go of connections."""
        self._loop.run_until_complete(self._desk.close())
        if self._close_resources is not None:
            self._loop.run_until_complete(self._close_resources())
        self._loop.close()
        self._session.close()

    def _answered(self, event: Mapping[str, Any], context: Any) -> Any:
        answer = self._http(cast("dict[str, Any]", event), context)
        # The process is frozen once this returns: nothing can be left for later.
        self._loop.run_until_complete(self._desk.flush())
        if self._launches.take():
            self._sweep()
        return answer

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith(PREFIX):
            return await self._hooks(scope, receive, send)
        if self._resources is None:
            # The framework and the resources, for those alone who ask for them: a webhook needs neither.
            from cableway_handlers.api.app import Access, create_app
            from cableway_handlers.api.database import DatabaseDesk

            desk = DatabaseDesk(self._settings.state_database)
            await desk.open()
            self._close_resources = desk.close
            access = Access(closed=True)
            self._resources = create_app(desk, self._launches, environment=self._variables, access=access)
        return await self._resources(scope, receive, send)

    def _all_or_none(self, found: list[CloudEvent]) -> dict[str, object]:
        told = self._recorded(found)
        for each in told:
            for error in each.errors:
                # What may pass is raised, and AWS sends the event again; the runs that were made are found then.
                if isinstance(error, UnavailableError):
                    raise error
                _log.error("an event makes no run: %s", error)
        return {"events": [each.as_dict() for each in told]}

    def _batch(self, event: Mapping[str, Any]) -> dict[str, object]:
        """Messages that failed, or that no trigger is for, come again, and end in the queue's own dead letters."""
        found = messages(event)
        told = iter(self._recorded([each for message in found for each in message.events]))
        failed: list[dict[str, str]] = []
        for message in found:
            own = [next(told) for _ in message.events]
            wrong = [error for each in own for error in each.errors]
            for error in wrong:
                _log.error("message %r makes no run: %s", message.message_id, error)
            if wrong or any(each.unknown for each in own):
                failed.append({"itemIdentifier": message.message_id})
        return {"batchItemFailures": failed}

    def _recorded(self, found: list[CloudEvent]) -> list[Told]:
        told = record_events(self._session, event_triggers(self._session), found)
        for event, each in zip(found, told, strict=True):
            if each.unknown:
                _log.warning("no trigger is for %r of %r (%r)", event.detail_type, event.source, event.key)
        if any(each.new for each in told):
            self._sweep()
        return told

    def _ticked(self, what: object) -> dict[str, object]:
        from cableway_handlers.cron.ticking import decide_due  # for those alone who have schedules

        names: list[str] | None = None
        if isinstance(what, Mapping):
            names = [str(cast("Mapping[str, Any]", what).get("scheduler"))]
        elif what != "tick":
            raise SettingsError('an event of our own is {"cableway": "tick"} or {"cableway": {"scheduler": "NAME"}}')
        decided = sum(batch.schedulers for batch in decide_due(self._session, names=names))
        self._sweep()
        return {"schedulers": decided}

    def _sweep(self) -> None:
        if self._launcher is None:
            return
        from cableway_handlers.launch.sweep import Sweep

        sweep = Sweep.from_settings(self._settings, self._launcher)
        try:
            sweep.once()
        except CablewayError as error:
            # The runs are recorded; the next sweep finds them.
            _log.warning("nothing was launched: %s", error)
        finally:
            sweep.close()


class _Noted:
    """Whether there is something to launch."""

    def __init__(self) -> None:
        self._any = False

    def add(self, launch: Launch) -> bool:
        """Note that there is something to launch; the sweep of this call does it."""
        del launch
        self._any = True
        return True

    def take(self) -> bool:
        """Whether there was, since it was last asked."""
        noted, self._any = self._any, False
        return noted

    def close(self) -> None:
        """Nothing is left to be done."""


def is_http(event: Mapping[str, Any]) -> bool:
    """Whether *event* is a request: API Gateway's in either format, an ALB's, or a function URL's."""
    around = event.get("requestContext")
    return isinstance(around, Mapping) and ("httpMethod" in event or "http" in cast("Mapping[str, Any]", around))

"""``cableway hooks``: webhooks and what came of them; one sent by hand, one worked on again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args
from uuid import uuid4

from cableway.definition import HookAuth, TriggerDefinition
from cableway.errors import CablewayError, UnavailableError, UnknownNameError, UsageError
from cableway.runs import RunRequest
from cableway.storage import DatabaseStorage
from cableway.store.ids import is_id
from cableway.store.pages import DeliveryRow, page_of_deliveries
from cableway.stored.deliveries import WholeDelivery, read_delivery
from cableway_handlers.api.asgi import JSON
from cableway_handlers.api.hooks.hook import FORM, make_hook
from cableway_handlers.api.hooks.secrets import resolve_secret
from cableway_handlers.api.hooks.senders import Sent, signed
from cableway_handlers.cli import screen
from cableway_handlers.cli.workplace import workplace

TIMEOUT_S = 40.0
UNAUTHENTICATED = 401
EXAMPLES: dict[str, bytes] = {
    "github": b'{"ref": "refs/heads/main", "after": "6113728f27ae82c7b1a177c8d03f9e96e0adf246", '
    b'"repository": {"full_name": "octo/example"}, "pusher": {"name": "octo"}}',
    "stripe": b'{"id": "evt_%s", "object": "event", "type": "invoice.paid", "data": {"object": {"id": "in_1"}}}',
    "slack": b"command=%%2Frun&text=today&user_name=octo&trigger_id=%s",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A webhook to be sent."""

    name: str
    preset: str | None
    sign: bool
    secret: str | None
    body: Path | None
    delivery: str | None
    url: str


def list_hooks(*, json: bool) -> None:
    """Print the webhooks."""
    with workplace() as place, place.storage() as storage:
        rows = [row for row in storage.list_triggers() if row.kind == "webhook"]
        counts = {row["trigger_name"]: row for row in storage.session.rows("delivery_counts")}
    listed: list[dict[str, Any]] = [
        {
            "name": row.name,
            "pipeline": row.pipeline,
            "auth": row.config.get("auth", "standard"),
            "enabled": row.enabled,
            "path": f"/hooks/{row.name}",
            "deliveries": counts.get(row.name, {}).get("records", 0),
            "refused": counts.get(row.name, {}).get("refused", 0),
            "last_at": counts.get(row.name, {}).get("last_at"),
        }
        for row in rows
    ]
    if json:
        screen.as_json(listed)
        return
    table = screen.table("webhook", "pipeline", "auth", "kept", "last")
    for each in listed:
        name = each["name"] if each["enabled"] else f"{each['name']} (off)"
        cells = (name, each["pipeline"], each["auth"], str(each["deliveries"]), screen.when(each["last_at"]))
        table.add_row(*map(screen.plain, cells))
    screen.print_table(table, listed, "there are no webhooks")


def show(what: str, *, json: bool) -> None:
    """Print a webhook, or a delivery."""
    with workplace() as place, place.storage() as storage:
        if is_id(what):
            _show_delivery(storage.session.drive(read_delivery(what)), json=json)
            return
        row = storage.get_trigger(what)
    if row.kind != "webhook":
        raise UnknownNameError(f"{what!r} is no webhook")
    shown = {"name": row.name, "pipeline": row.pipeline, "enabled": row.enabled, "path": f"/hooks/{row.name}"}
    screen.as_json({**shown, "config": row.config})


def deliveries(name: str | None, verdict: str | None, limit: int, *, json: bool) -> None:
    """Print deliveries that are kept."""
    verdicts = ("accepted", "replayed", "filtered", "refused")
    if verdict is not None and verdict not in verdicts:
        raise UsageError(f"--verdict is one of {', '.join(verdicts)}")
    with workplace() as place, place.storage() as storage:
        rows = storage.session.drive(page_of_deliveries(None, limit, None, trigger=name, verdict=verdict))
    if json:
        screen.as_json([_as_dict(row) for row in rows])
        return
    table = screen.table("delivery", "webhook", "received", "verdict", "status", "why", "run")
    for row in rows:
        why = ": ".join(part for part in (row.step, row.error) if part)
        cells = (row.delivery_id, row.trigger_name, screen.when(row.received_at), row.verdict, str(row.status), why)
        table.add_row(*map(screen.plain, (*cells, row.run_id or "")))
    screen.print_table(table, rows, "no deliveries are kept")


def send(wish: Wish, *, json: bool) -> int:
    """Send the webhook; 0 if it was taken, 3 if it was not."""
    import httpx

    from cableway_handlers.client.exchange import tls_for

    trigger, environment = _sender(wish)
    name = wish.delivery or f"msg_{uuid4().hex}"
    body = _body(wish, trigger, name)
    headers = {"content-type": FORM if trigger.auth == "slack" and wish.body is None else JSON}
    if wish.sign:
        reference = wish.secret or _first_secret(trigger)
        if reference is None and trigger.auth != "none":
            raise UsageError(f"webhook {wish.name!r} has no secret to sign with; give --secret env:NAME or secret:NAME")
        value = _looked_up(reference, environment) if reference else ""
        headers |= signed(trigger, value, body, delivery=name, now_s=int(time.time()))
    try:
        url = f"{wish.url.rstrip('/')}/hooks/{wish.name}"
        answer = httpx.post(url, content=body, headers=headers, timeout=TIMEOUT_S, verify=tls_for(url))
    except httpx.HTTPError as error:
        raise UnavailableError(f"{wish.url} does not answer: {type(error).__name__}. Is `cableway serve` up?") from None
    told: dict[str, Any] = {"status": answer.status_code, "delivery": name, "location": answer.headers.get("location")}
    if answer.content and answer.headers.get("content-type", "").endswith("json"):
        told["answer"] = answer.json()
    if json:
        screen.as_json(told)
    else:
        detail = told.get("answer", {})
        screen.say(f"{answer.status_code} {answer.reason_phrase}: {detail.get('run_id') or detail.get('detail') or ''}")
        if answer.status_code == UNAUTHENTICATED and wish.sign:
            if wish.preset is not None:
                screen.say(f"it was sent as {wish.preset} does; `cableway hooks list` says what the webhook wants")
            screen.say("the API looks the secret up in its own environment, and its log names one that it cannot find")
    return 0 if answer.is_success else 3


def replay(delivery_id: str, *, json: bool) -> None:
    """Record a new run from a kept delivery."""
    with workplace() as place, place.storage() as storage:
        row = storage.session.drive(read_delivery(delivery_id))
        request = _request(storage, row)
        run = storage.record_run(request)
    if json:
        screen.as_json({"run_id": run.run_id, "delivery_id": row.delivery_id})
    else:
        screen.say(f"recorded run {run.run_id} from delivery {row.delivery_id}; a service's sweep starts it")


def _request(storage: DatabaseStorage, row: WholeDelivery) -> RunRequest:
    if row.body is None:
        raise CannotReplayError(f"the body of delivery {row.delivery_id} was not kept: it has {row.body_bytes} bytes")
    trigger = storage.get_trigger(row.trigger_name)
    hook = make_hook(trigger.name, trigger.pipeline, trigger.config)
    media_type = row.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    scene = hook.scene(media_type, Sent(row.headers, row.body))
    hook.check(scene)
    if hook.when is not None and not hook.when(scene):
        raise CannotReplayError(
            f"the condition of webhook {trigger.name!r} does not hold of delivery {row.delivery_id}"
        )
    mapped = hook.mapped(scene)
    return RunRequest(
        pipeline=trigger.pipeline,
        parameters=mapped.parameters,
        texts=mapped.texts,
        key=f"webhook:{trigger.name}/{uuid4()}",
        trigger_name=trigger.name,
    )


class CannotReplayError(CablewayError):
    """The delivery can make no run."""

    code = "cannot_replay"
    title = "The delivery can make no run"
    status = 422
    exit_code = 3
    retry = "never"


def _sender(wish: Wish) -> tuple[TriggerDefinition, Any]:
    """How to sign, and where secrets are looked up: a preset with a secret of its own needs no database."""
    from cableway.settings import get_environment

    presets = [auth for auth in get_args(HookAuth) if auth != "hmac"]
    if wish.preset is not None and wish.preset not in presets:
        raise UsageError(f"--preset is one of {', '.join(presets)}")
    if wish.preset is not None and (wish.secret is not None or not wish.sign or wish.preset == "none"):
        return TriggerDefinition.of_row("webhook", {"auth": wish.preset}), get_environment()
    with workplace() as place, place.storage() as storage:
        row = storage.get_trigger(wish.name)
        if row.kind != "webhook":
            raise UsageError(f"{wish.name!r} is no webhook: its kind is {row.kind}")
        config = row.config if wish.preset is None else {**row.config, "auth": wish.preset}
        return make_hook(row.name, row.pipeline, config).trigger, place.environment


def _looked_up(reference: str, environment: Mapping[str, str]) -> str:
    from cableway.secret_sources import SecretSources
    from cableway.settings import read_settings

    return resolve_secret(reference, environment, SecretSources(read_settings(environment).secrets, environment))


def _first_secret(trigger: TriggerDefinition) -> str | None:
    for secret in trigger.secrets:
        return secret if isinstance(secret, str) else secret.secret
    return None


def _body(wish: Wish, trigger: TriggerDefinition, name: str) -> bytes:
    if wish.body is not None:
        try:
            return wish.body.read_bytes()
        except OSError as error:
            raise UsageError(f"{wish.body}: cannot be read: {error.strerror}") from None
    example = EXAMPLES.get(trigger.auth, b"{}")
    return example % name.encode() if b"%s" in example else example


def _show_delivery(row: WholeDelivery, *, json: bool) -> None:
    body = None if row.body is None else row.body.decode("utf-8", "replace")
    if json:
        screen.as_json({**_as_dict(row), "body": body})
        return
    for name, value in _as_dict(row).items():
        if name not in {"headers", "body_kept"} and value is not None:
            screen.console().print(screen.plain(f"{name}: {value}"))
    for name, value in row.headers.items():
        screen.console().print(screen.plain(f"  {name}: {value}"))
    screen.console().print(screen.passage("(its body was not kept)" if body is None else body), soft_wrap=True)


def _as_dict(row: DeliveryRow) -> dict[str, Any]:
    names = ("delivery_id", "trigger_name", "received_at", "verdict", "status", "step", "error", "key", "run_id")
    return {name: getattr(row, name) for name in (*names, "headers", "body_bytes", "body_kept")}

"""Every kind of sender: what it signs is taken, and what anybody else may send instead is not."""

from __future__ import annotations

from typing import Any

import pytest

from cableway.definition import SignatureDefinition, TriggerDefinition
from cableway.errors import CablewayError
from cableway.secret_sources import SecretSources
from cableway_handlers.api.hooks.hook import Hook, make_hook, usable_secrets
from cableway_handlers.api.hooks.secrets import HookSecrets
from cableway_handlers.api.hooks.senders import Claim, Sent, known, read_fields, signed
from cableway_handlers.api.problems import RequestError, UnauthenticatedError

NOW = 1_700_000_000
BODY = b'{"id": "evt_1", "day": "2026-01-31"}'
PLAIN, STANDARD = "a-secret-of-some-length", "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
OWN: dict[str, Any] = {"header": "X-Sig", "algorithm": "sha512", "encoding": "base64url", "prefix": "v9=",
       "content": "{timestamp}:{body}!", "timestamp_header": "X-Time"}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "standard": {"auth": "standard"},
    "github": {"auth": "github"},
    "stripe": {"auth": "stripe"},
    "slack": {"auth": "slack"},
    "hmac": {"auth": "hmac", "signature": {"header": "x-signature"}},
    "hmac with time": {"auth": "hmac", "signature": OWN},
    "basic": {"auth": "basic"},
    "api_key": {"auth": "api_key", "header": "X-Token"},
}
PROOFS = {
    "standard": "webhook-signature",
    "github": "x-hub-signature-256",
    "stripe": "stripe-signature",
    "slack": "x-slack-signature",
    "hmac": "x-signature",
    "hmac with time": "x-sig",
    "basic": "authorization",
    "api_key": "x-token",
}
WITH_TIME = ("standard", "stripe", "slack", "hmac with time")
SIGNING = tuple(kind for kind in KINDS if kind not in {"basic", "api_key"})


def hook(kind: str, **config: Any) -> Hook:
    return make_hook("h", "p", {"secrets": ["env:A"], **KINDS[kind], **config})


def read_sent(raw: list[tuple[bytes, bytes]], body: bytes) -> Sent:
    return Sent(read_fields(raw), body)


def secret(kind: str) -> str:
    return STANDARD if kind == "standard" else PLAIN


def headers(kind: str, body: bytes = BODY, *, key: str | None = None, at_s: int = NOW, **more: str) -> dict[str, str]:
    made = signed(hook(kind).trigger, key or secret(kind), body, delivery="msg_1", now_s=at_s)
    return {**made, **{name.replace("_", "-"): value for name, value in more.items()}}


def judge(kind: str, sent: dict[str, str], body: bytes = BODY, secrets: tuple[str, ...] | None = None) -> Claim:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in sent.items()]
    return known(hook(kind).trigger, read_sent(raw, body), secrets or (secret(kind),), now_s=NOW)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_sender_signs_is_taken(kind: str) -> None:
    judge(kind, headers(kind))
    judge(kind, headers(kind, b""), b"")


@pytest.mark.fault("E1")
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_and_any_other_proof_is_not(kind: str) -> None:
    good, name = headers(kind), PROOFS[kind]
    value, other = good[name], "whsec_b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcg==" if kind == "standard" else "another secret"
    changed = [value[:-1], f"{value}=", f"{value}A", value.upper(), "\xe9", "", f"{value},,", "=" * 9, f"\t{value}"]
    bad = [{}, {name: ""}, {**good, **headers(kind, key=other)}, *({**good, name: text} for text in changed)]
    if kind == "stripe":
        bad.remove({**good, name: f"{value},,"})  # a list may have empty places
    for sent in (*bad, {key: text for key, text in good.items() if key != name}):
        with pytest.raises(UnauthenticatedError):
            judge(kind, sent)


@pytest.mark.fault("E3")
@pytest.mark.parametrize("kind", SIGNING)
def test_a_body_that_was_changed_by_a_byte_is_not(kind: str) -> None:
    for body in (BODY + b" ", BODY[:-1], BODY.replace(b'": "', b'":"'), b""):
        with pytest.raises(UnauthenticatedError):
            judge(kind, headers(kind), body)


@pytest.mark.fault("E2")
@pytest.mark.parametrize("kind", WITH_TIME)
@pytest.mark.parametrize("ago_s", [301, -301, 10**9, -(10**10)])
def test_what_is_too_old_or_too_new_is_not(kind: str, ago_s: int) -> None:
    judge(kind, headers(kind, at_s=NOW - 300))
    judge(kind, headers(kind, at_s=NOW + 300))
    with pytest.raises(UnauthenticatedError):
        judge(kind, headers(kind, at_s=NOW - ago_s))


@pytest.mark.fault("E2")
@pytest.mark.parametrize("written", ["NaN", "1e309", "-5", f"{NOW}.0", f" {NOW} ", "1_700_000_000", "", "0x10", "٣"])
@pytest.mark.parametrize("kind", WITH_TIME)
def test_a_time_that_is_none_is_refused(kind: str, written: str) -> None:
    names = {"standard": "webhook-timestamp", "slack": "x-slack-request-timestamp", "hmac with time": "x-time"}
    good = headers(kind)
    if kind == "stripe":
        sent = {"stripe-signature": good["stripe-signature"].replace(f"t={NOW}", f"t={written}")}
    else:
        sent = {**good, names[kind]: written}
    raw = [(name.encode(), value.encode()) for name, value in sent.items()]
    with pytest.raises(CablewayError) as caught:
        known(hook(kind).trigger, read_sent(raw, BODY), (secret(kind),), now_s=NOW)
    assert caught.value.status in {400, 401}


@pytest.mark.fault("E6")
@pytest.mark.parametrize("kind", KINDS)
def test_one_of_several_secrets_is_enough(kind: str) -> None:
    other = "whsec_b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcg==" if kind == "standard" else "another secret"
    judge(kind, headers(kind), secrets=(other, secret(kind)))
    with pytest.raises(UnauthenticatedError):
        judge(kind, headers(kind), secrets=(other,))


@pytest.mark.fault("E6")
def test_a_secret_counts_until_it_expires() -> None:
    rotated = hook("github", secrets=["env:NEW", {"secret": "env:OLD", "expires": "2023-11-14T22:13:20Z"}])
    environment = {"NEW": "new", "OLD": "old"}
    secrets = HookSecrets(environment, SecretSources((), environment))
    assert usable_secrets(rotated, secrets.value, now_s=NOW - 1) == ["new", "old"]
    assert usable_secrets(rotated, secrets.value, now_s=NOW) == ["new"]


@pytest.mark.fault("E6")
def test_of_two_signatures_one_is_enough() -> None:
    sent = headers("stripe")
    sent["stripe-signature"] = sent["stripe-signature"].replace("v1=", f"v0=x,v1={'0' * 64},v1=")
    judge("stripe", sent)


@pytest.mark.fault("E7")
@pytest.mark.parametrize("name", ["webhook-id", "x-github-delivery", "idempotency-key"])
@pytest.mark.parametrize(
    "value", ["", "x" * 10_000, "a\x00b", "a\nb", "a b", "\xe9", "'; DROP TABLE runs\x7f--", "\x1b[31m"]
)
def test_an_id_that_is_none_is_refused_before_anybody_looks_for_the_hook(name: str, value: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_sent([(name.encode(), value.encode("latin-1"))], BODY)
    assert caught.value.status == 400
    assert "DROP" not in str(caught.value)


@pytest.mark.fault("E2")
def test_a_header_that_is_there_twice_is_refused() -> None:
    twice = [(b"x-hub-signature-256", b"sha256=00"), (b"x-hub-signature-256", b"sha256=00")]
    with pytest.raises(RequestError):
        read_sent(twice, BODY)


@pytest.mark.fault("E8")
def test_a_hook_that_is_not_there_is_verified_as_well() -> None:
    for kind in KINDS:
        raw = [(name.encode(), value.encode()) for name, value in headers(kind).items()]
        with pytest.raises(UnauthenticatedError):
            known(None, read_sent(raw, BODY), (), now_s=NOW)


@pytest.mark.fault("E18")
@pytest.mark.parametrize("kind", ["basic", "api_key"])
@pytest.mark.parametrize(
    "value", ["Bearer \xe9", "Basic \xe9", "Basic", "Basic ====", "basic " + "A" * 10_000, "\xff\xfe"]
)
def test_an_odd_credential_is_only_wrong(kind: str, value: str) -> None:
    with pytest.raises(UnauthenticatedError):
        judge(kind, {"authorization": value, "x-token": value})


def test_published_examples_are_taken() -> None:
    github = make_hook("h", "p", {"auth": "github", "secrets": ["env:A"]})
    made = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    sent = read_sent([(b"x-hub-signature-256", f"sha256={made}".encode())], b"Hello, World!")
    known(github.trigger, sent, ("It's a Secret to Everybody",), now_s=NOW)
    slack = make_hook("h", "p", {"auth": "slack", "secrets": ["env:A"]})
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name="
        b"foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2F"
        b"hooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id="
        b"398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    made = "a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    raw = [(b"x-slack-signature", f"v0={made}".encode()), (b"x-slack-request-timestamp", b"1531420618")]
    known(slack.trigger, read_sent(raw, body), ("8f742231b10e8888abcd99yyyzzz85a5",), now_s=1531420618)


def test_what_names_a_delivery() -> None:
    def identity(kind: str, body: bytes = BODY, config: dict[str, Any] | None = None, **more: Any) -> str | None:
        made = hook(kind, **(config or {}))
        raw = [(name.encode(), value.encode()) for name, value in headers(kind, body, **more).items()]
        sent = read_sent(raw, body)
        claim = known(made.trigger, sent, (secret(kind),), now_s=NOW)
        return made.identity(claim, sent, made.scene("application/json", sent))

    assert identity("standard") == "msg_1"
    assert identity("github") == "msg_1"
    assert identity("stripe") == "evt_1"
    assert identity("api_key") == "msg_1"
    assert identity("hmac") is None
    assert identity("hmac", idempotency_key="k") == "k"
    # What nobody signed does not make two deliveries of one.
    assert identity("hmac with time", idempotency_key="a") == identity("hmac with time", idempotency_key="b")
    assert identity("hmac with time") != identity("hmac with time", BODY + b" ")
    assert identity("github", config={"key": "$.day"}) == "2026-01-31"
    assert identity("github", config={"key": "digest"}) != identity("github", BODY + b" ", config={"key": "digest"})
    assert identity("hmac", config={"key": "$headers.X-Mine"}, x_mine="m") == "m"
    for missing in ("$.nothing", "$", "$headers.x-mine"):
        with pytest.raises(RequestError):
            identity("github", config={"key": missing})


def test_the_form_of_an_own_signature_is_kept_by_its_row() -> None:
    trigger = TriggerDefinition(kind="webhook", auth="hmac", secrets=("env:A",), signature=SignatureDefinition(**OWN))
    assert make_hook("h", "p", trigger.config()).trigger == trigger

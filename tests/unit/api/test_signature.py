"""Standard Webhooks: the published vector, and everything that a stranger may send instead."""

from __future__ import annotations

import base64

import pytest

from cableway.errors import SettingsError
from cableway_handlers.api.problems import RequestError, UnauthenticatedError
from cableway_handlers.api.signature import TOLERANCE_S, decode_secret, read_headers, sign, verify

# The example that the published libraries test themselves with.
SECRET = decode_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIMESTAMP = 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
OTHER_SECRET = b"0123456789abcdef01234567"


def headers(**changes: str | bytes | None) -> list[tuple[bytes, bytes]]:
    values: dict[str, str | bytes | None] = {"id": ID, "timestamp": str(TIMESTAMP), "signature": SIGNATURE, **changes}
    return [
        (f"webhook-{name}".encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in values.items()
        if value is not None
    ]


def check(
    sent: list[tuple[bytes, bytes]],
    body: bytes = BODY,
    secrets: tuple[bytes, ...] = (SECRET,),
    now_s: float = TIMESTAMP,
) -> None:
    verify(read_headers(sent), body, secrets, now_s=now_s)


def test_the_published_vector_is_accepted_and_made() -> None:
    check(headers())
    assert sign(SECRET, ID, TIMESTAMP, BODY) == SIGNATURE


@pytest.mark.fault("E1")
@pytest.mark.parametrize(
    "signature",
    [
        f"garbage {SIGNATURE}",
        f"{SIGNATURE} garbage",
        f"v1,AAAA {SIGNATURE}",
        f"v2,{SIGNATURE[3:]} {SIGNATURE}",
        f"  {SIGNATURE}",
        b"\xff\xfe " + SIGNATURE.encode(),
    ],
)
def test_a_good_signature_counts_whatever_stands_beside_it(signature: str | bytes) -> None:
    check(headers(signature=signature))


@pytest.mark.fault("E1")
@pytest.mark.parametrize(
    "signature",
    [
        "",
        SIGNATURE[3:],
        SIGNATURE.replace("v1", "v2"),
        SIGNATURE.replace("v1", "V1"),
        SIGNATURE.replace("v1,", "v1,,"),
        SIGNATURE[:-1],
        SIGNATURE[:-5],
        SIGNATURE + "!!!!",
        SIGNATURE.replace("OE=", "OF="),  # the same bytes in another spelling
        SIGNATURE.replace("g0hM", "g0hN"),
        SIGNATURE.replace("+", "-").replace("/", "_"),
        "v1,",
        "v1,é",
        b"v1,\xff\xfe",
        "v1," + "A" * 100_000,
        ",".join([SIGNATURE] * 3),
        " ".join(["v1,AAAA"] * 16 + [SIGNATURE]),  # more than anyone rotates
    ],
)
def test_a_wrong_signature_is_unauthenticated(signature: str | bytes) -> None:
    with pytest.raises(UnauthenticatedError):
        check(headers(signature=signature))


@pytest.mark.fault("E1")
@pytest.mark.fault("E2")
@pytest.mark.parametrize("missing", ["id", "timestamp", "signature"])
def test_a_missing_header_is_unauthenticated(missing: str) -> None:
    with pytest.raises(UnauthenticatedError):
        check(headers(**{missing: None}))


@pytest.mark.fault("E2")
@pytest.mark.parametrize("header", headers())
def test_a_repeated_header_is_malformed(header: tuple[bytes, bytes]) -> None:
    with pytest.raises(RequestError, match="twice") as raised:
        check([*headers(), header])
    assert raised.value.status == 400


@pytest.mark.fault("E2")
@pytest.mark.parametrize(
    "timestamp",
    [
        "NaN",
        "1e309",
        "-1",
        "+5",
        "1614265330.0",
        " 1614265330 ",
        "1_7",
        "",
        "٣",
        "0x1",
        "01614265330",
        "9" * 16,
        b"\xff",
    ],
)
def test_a_malformed_timestamp_is_a_bad_request(timestamp: str | bytes) -> None:
    with pytest.raises(RequestError, match="webhook-timestamp") as raised:
        check(headers(timestamp=timestamp))
    assert raised.value.status == 400


@pytest.mark.fault("E2")
@pytest.mark.parametrize("offset_s", [-TOLERANCE_S, TOLERANCE_S])
def test_the_tolerance_is_five_minutes_either_way(offset_s: int) -> None:
    check(headers(), now_s=TIMESTAMP + offset_s)
    with pytest.raises(UnauthenticatedError):
        check(headers(), now_s=TIMESTAMP + offset_s + (1 if offset_s > 0 else -1))


@pytest.mark.fault("E7")
@pytest.mark.parametrize(
    "id", ["msg.1", "", "x" * 256, "x" * 10_240, "a b", "a\x00b", "a\nb", "' OR 1=1 --", "🚡", b"\xff", "é"]
)
def test_a_malformed_id_is_a_bad_request(id: str | bytes) -> None:
    with pytest.raises(RequestError, match="webhook-id") as raised:
        check(headers(id=id))
    assert raised.value.status == 400


@pytest.mark.fault("E3")
@pytest.mark.parametrize(
    "body", [BODY[:-1], BODY + b"\n", b'{"test":2432232314}', BODY.replace(b"2", b"3", 1), b"", b"\xff\xfe"]
)
def test_a_changed_body_is_unauthenticated(body: bytes) -> None:
    with pytest.raises(UnauthenticatedError):
        check(headers(), body)


def test_another_id_or_time_is_unauthenticated() -> None:
    for sent in (headers(id=ID + "x"), headers(timestamp=str(TIMESTAMP + 1))):
        with pytest.raises(UnauthenticatedError):
            check(sent)


@pytest.mark.fault("E6")
def test_secrets_rotate() -> None:
    ours, theirs = SIGNATURE, sign(OTHER_SECRET, ID, TIMESTAMP, BODY)
    check(headers(signature=theirs), secrets=(SECRET, OTHER_SECRET))
    check(headers(signature=ours), secrets=(OTHER_SECRET, SECRET))
    check(headers(signature=f"{ours} {theirs}"), secrets=(OTHER_SECRET,))
    with pytest.raises(UnauthenticatedError):
        check(headers(signature=ours), secrets=(OTHER_SECRET,))


def test_without_secrets_nobody_is_let_in_not_even_who_knows_the_dummy() -> None:
    forged = sign(b"nobody has this one", ID, TIMESTAMP, BODY)
    with pytest.raises(UnauthenticatedError):
        check(headers(signature=forged), secrets=())


@pytest.mark.parametrize(
    "text", ["", "whsec_", "whsec_!!!!", "whsec_c2hvcnQ=", "whsec_" + base64.b64encode(bytes(65)).decode(), "whsec_é"]
)
def test_a_secret_that_is_none_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(SettingsError) as raised:
        decode_secret(text)
    assert "c2hvcnQ" not in str(raised.value)

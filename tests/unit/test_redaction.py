from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

import pytest
from pydantic import BaseModel, ConfigDict

from cableway import redaction
from cableway.redaction import (
    Sealed,
    SecretText,
    guard,
    names_in,
    redacted,
    redacted_json,
    redacted_piece,
    revealed,
    sealed,
)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_guarded", redaction.Guarded())


@dataclass(frozen=True, slots=True)
class Inner:
    token: str


@dataclass(frozen=True, slots=True)
class Config:
    inner: Inner
    header: str
    many: list[str] = field(default_factory=list[str])


class Model(BaseModel):
    model_config = ConfigDict(frozen=True)
    token: str
    plain: int = 3


def test_nothing_is_changed_where_nothing_is_guarded() -> None:
    value = {"a": ["b"]}
    assert redacted("a text") == "a text"
    assert redacted_json(value) is value


def forms(secret: str) -> Iterator[str]:
    yield secret
    yield json.dumps(secret)
    yield repr(secret)
    yield quote(secret, safe="")
    yield f"before{secret}after"


@pytest.mark.parametrize("secret", ["hunter2-hunter2", 'quo"te\\back', "per cent%/äö", "a'b\"c d"])
def test_a_secret_is_masked_in_every_form(secret: str) -> None:
    guard([secret])
    for form in forms(secret):
        assert "***" in redacted(form)
        assert secret not in redacted(form)
    assert redacted(quote(secret)) == redacted(quote(secret, safe="")) == "***"


@pytest.mark.parametrize(
    ("secret", "part"),
    [
        ("postgresql://ada:pa%24s-word@db:5432/etl", "pa$s-word"),
        ("postgresql://ada:pa%24s-word@db:5432/etl", "pa%24s-word"),
        ("host=db user=ada password=pass-word dbname=etl", "pass-word"),
        ("host=db password='it\\'s long' user=ada", "it's long"),
        ("postgresql://db/etl?user=ada&password=query-word", "query-word"),
        ("-----BEGIN KEY-----\nMIIEvQIBADANBg\n-----END KEY-----\n", "MIIEvQIBADANBg"),
        ("  spaces around  ", "spaces around"),
    ],
)
def test_the_parts_of_a_secret_that_are_secret_by_themselves_are_masked(secret: str, part: str) -> None:
    guard([secret])
    assert redacted(f"({part})") == "(***)"
    assert redacted(f"({secret})").count("*") >= 3


def test_the_host_of_an_address_may_be_named() -> None:
    guard(["postgresql://ada:hunter2-word@db.example:5432/etl"])
    assert redacted("no answer from db.example:5432") == "no answer from db.example:5432"


def test_a_longer_secret_goes_before_one_that_is_part_of_it() -> None:
    guard(["word"])
    guard(["a-word-and-more"])
    assert redacted("x a-word-and-more y word") == "x *** y ***"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("no luck with hunter2-hun", "no luck with ***"),
        ("ter2-hunter2 was said", "*** was said"),
        ("hunter2-hunter2 and hunter2-h", "*** and ***"),
        ("a hunt for hun", "a hunt for hun"),
    ],
)
def test_what_is_left_of_a_secret_where_a_text_was_cut_is_masked(text: str, left: str) -> None:
    guard(["hunter2-hunter2"])
    assert redacted_piece(text) == left


def test_json_is_masked_through_and_through() -> None:
    guard(["hunter2"])
    assert redacted_json({"a": ["x hunter2", 5, None], "hunter2": {"b": "hunter2"}}) == {
        "a": ["x ***", 5, None],
        "***": {"b": "***"},
    }


def test_a_secret_text_shows_its_reference_and_reveals_its_value() -> None:
    text = SecretText(("https://", "user", ":", "key", "@host"))
    assert repr(text) == "'https://${secret:user}:${secret:key}@host'"
    config = {"url": text, "deep": [{"x": text}], "n": 5}
    assert sorted(set(names_in(config))) == ["key", "user"]
    assert pickle.loads(pickle.dumps(text)) == text
    shown = revealed(config, {"user": "ada-user", "key": "hunter2"})
    assert shown == {"url": "https://ada-user:hunter2@host", "deep": [{"x": "https://ada-user:hunter2@host"}], "n": 5}


def test_what_is_revealed_does_not_show_itself() -> None:
    guard(["hunter2"])
    value = Sealed("Bearer hunter2")
    assert (repr(value), repr(Sealed("hunter2")), repr([value])) == ("'Bearer ***'", "'***'", "['Bearer ***']")
    assert f"{value}" == "Bearer hunter2"
    again = pickle.loads(pickle.dumps(value))
    assert (again, type(again)) == (value, Sealed)


@pytest.mark.parametrize(
    "config",
    [
        Config(Inner("hunter2"), "Bearer hunter2", ["hunter2", "plain"]),
        Model(token="hunter2"),
        {"token": "hunter2", "n": 1},
    ],
)
def test_a_config_that_holds_secrets_does_not_show_them(config: object) -> None:
    guard(["hunter2"])
    same = sealed(config)
    assert same == config
    assert "hunter2" not in repr(same)
    assert "***" in repr(same)
    if not isinstance(config, Mapping):
        assert same is config

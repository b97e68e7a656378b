"""`cableway keys`: made, listed, revoked."""

from __future__ import annotations

import re

import pytest

from tests.unit.cli.conftest import Command


def test_a_key_from_its_making_to_its_end(cableway: Command) -> None:
    assert cableway("keys", "list") == 0
    assert "there are no keys" in cableway.err
    assert cableway("keys", "create", "ci", "--scope", "read", "--scope", "run", "--expires", "90d") == 0
    assert re.fullmatch(r"cw_[0-9a-f]{12}_[A-Za-z0-9_-]{43}\n", cableway.out)
    secret = cableway.out.strip()[16:]
    assert cableway("keys", "list") == 0
    assert "ci" in cableway.out
    assert secret not in cableway.out + cableway.err
    assert cableway("keys", "create", "ci") == 78
    (row,) = cableway.json("keys", "list")
    assert (row["scopes"], row["pipelines"], row["revoked_at"]) == (["read", "run"], None, None)
    assert cableway("keys", "revoke", "ci") == 0
    assert cableway("keys", "revoke", "ci") == 78
    made = cableway.json("keys", "create", "ci", "--pipeline", "orders")
    assert (made["scopes"], made["pipelines"]) == (["read"], ["orders"])
    assert made["key"].startswith(f"cw_{made['prefix']}_")
    assert "there is no pipeline 'orders'" in cableway.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--scope", "fly"], 78),
        (["--scope", "admin:runs"], 78),
        (["--expires", "soon"], 2),
        (["--expires", "0d"], 2),
        (["--expires", "9999999y"], 78),
    ],
)
def test_a_key_that_cannot_be(cableway: Command, arguments: list[str], code: int) -> None:
    assert cableway("keys", "create", "x", *arguments) == code
    assert cableway.json("keys", "list") == []

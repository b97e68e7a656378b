"""What webhooks are signed with is looked up once, and again when it grows old or changes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cableway.errors import SettingsError, UnavailableError
from cableway.secret_sources import SecretSources
from cableway_handlers.api.hooks.secrets import FRESH_S, KEPT_S, RENEW_S, HookSecrets, resolve_secret

REFERENCES = ("secret:hook",)


class Sources(SecretSources):
    """One secret, that changes, goes and comes; every look is counted."""

    def __init__(self) -> None:
        super().__init__((), {})
        self.given: str | None = "first-secret"
        self.broken: Exception | None = None
        self.looks = 0

    def find(self, name: str) -> str | None:
        self.looks += 1
        if self.broken is not None:
            raise self.broken
        return self.given if name == "hook" else None


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def sources() -> Sources:
    return Sources()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def secrets(sources: Sources, clock: Clock) -> HookSecrets:
    return HookSecrets({"SIGNING": "of the variable", "DATABASE_URL": "own"}, sources, clock=clock)


async def test_a_variable_is_read_each_time(secrets: HookSecrets, sources: Sources) -> None:
    await secrets.ready(("env:SIGNING",))
    assert secrets.value("env:SIGNING") == "of the variable"
    assert not await secrets.renewed(("env:SIGNING",))
    assert sources.looks == 0


@pytest.mark.parametrize("reference", ["env:DATABASE_URL", "env:NONE", "env:", "SIGNING", "file:/etc/hostname"])
def test_what_names_no_secret_is_said(secrets: HookSecrets, reference: str) -> None:
    with pytest.raises(SettingsError) as caught:
        secrets.value(reference)
    assert "own" not in str(caught.value)


async def test_a_source_is_asked_once_for_all_that_come_at_once(secrets: HookSecrets, sources: Sources) -> None:
    await asyncio.gather(*(secrets.ready(REFERENCES) for _ in range(20)))
    assert (secrets.value("secret:hook"), sources.looks) == ("first-secret", 1)


async def test_an_old_value_counts_while_the_source_is_asked_again(
    secrets: HookSecrets, sources: Sources, clock: Clock
) -> None:
    await secrets.ready(REFERENCES)
    sources.given = "second-secret"
    clock.now_s += FRESH_S
    await secrets.ready(REFERENCES)
    assert secrets.value("secret:hook") == "first-secret"
    assert await secrets.renewed(REFERENCES)
    assert secrets.value("secret:hook") == "second-secret"
    assert sources.looks == 2


async def test_a_secret_that_was_replaced_is_known_when_the_old_one_does_not_fit(
    secrets: HookSecrets, sources: Sources, clock: Clock
) -> None:
    await secrets.ready(REFERENCES)
    sources.given = "second-secret"
    assert not await secrets.renewed(REFERENCES), "it was asked for a moment ago"
    clock.now_s += RENEW_S
    assert await secrets.renewed(REFERENCES)
    assert secrets.value("secret:hook") == "second-secret"
    assert not await secrets.renewed(REFERENCES)
    assert sources.looks == 2


async def test_a_source_that_does_not_answer_leaves_the_last_value_for_a_while(
    secrets: HookSecrets, sources: Sources, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    await secrets.ready(REFERENCES)
    sources.broken = UnavailableError("the source is away")
    clock.now_s += RENEW_S
    assert not await secrets.renewed(REFERENCES)
    assert secrets.value("secret:hook") == "first-secret"
    assert "the source is away" in caplog.text
    assert "first-secret" not in caplog.text
    clock.now_s += KEPT_S
    with pytest.raises(UnavailableError):
        await secrets.renewed(REFERENCES)
    with pytest.raises(SettingsError, match="the source is away"):
        secrets.value("secret:hook")


@pytest.mark.parametrize("error", [OSError(5, "it broke"), RuntimeError("value-of-it"), ValueError("value-of-it")])
async def test_whatever_keeps_a_source_from_being_asked_is_no_wrong_signature(
    secrets: HookSecrets, sources: Sources, error: Exception
) -> None:
    sources.broken = error
    await secrets.ready(REFERENCES)
    with pytest.raises(UnavailableError):
        await secrets.renewed(REFERENCES)
    with pytest.raises(SettingsError, match=f"{type(error).__name__} came of asking for it") as caught:
        secrets.value("secret:hook")
    assert "value-of-it" not in str(caught.value)


async def test_a_secret_that_comes_late_is_found_without_a_restart(
    secrets: HookSecrets, sources: Sources, clock: Clock
) -> None:
    sources.given = None
    await secrets.ready(REFERENCES)
    with pytest.raises(SettingsError, match="no source of CABLEWAY_SECRETS has it"):
        secrets.value("secret:hook")
    sources.given = "first-secret"
    clock.now_s += RENEW_S
    await secrets.ready(REFERENCES)
    assert secrets.value("secret:hook") == "first-secret"


async def test_a_delivery_that_cannot_wait_does_not_end_the_lookup(secrets: HookSecrets, sources: Sources) -> None:
    waiting = asyncio.create_task(secrets.ready(REFERENCES))
    await asyncio.sleep(0)
    waiting.cancel()
    await secrets.ready(REFERENCES)
    assert (secrets.value("secret:hook"), sources.looks) == ("first-secret", 1)


def test_a_folder_gives_it_as_it_gives_a_pipelines(tmp_path: Path) -> None:
    (tmp_path / "hook").write_text("of the folder\n")
    (tmp_path / "tiny").write_text("abc")
    sources = SecretSources((f"file:{tmp_path}",), {})
    assert resolve_secret("secret:hook", {}, sources) == "of the folder"
    with pytest.raises(SettingsError, match="fewer than 4 characters"):
        resolve_secret("secret:tiny", {}, sources)
    with pytest.raises(SettingsError, match="no source of CABLEWAY_SECRETS has the secret none"):
        resolve_secret("secret:none", {}, sources)

"""A hook whose secret lies where pipelines' secrets lie, and is replaced there."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from cableway.definition import TriggerDefinition
from cableway.settings import DatabaseSettings
from cableway_handlers.api.app import create_app
from cableway_handlers.api.database import DatabaseDesk
from cableway_handlers.api.hooks import secrets
from cableway_handlers.api.hooks.senders import signed
from tests.integration.api.conftest import Database, RecordingLaunches
from tests.integration.api.serving import NO_TLS, serving

FIRST, SECOND = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3", "whsec_b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcg=="
BODY = b'{"day": "2026-01-31"}'


@pytest.mark.fault("E6")
def test_a_secret_in_a_folder_is_replaced_without_a_restart(
    stored: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "RENEW_S", 0.0)
    stored.add_hook("kept", "secret:orders-hook")
    kept = tmp_path / "orders-hook"
    app = create_app(
        DatabaseDesk(DatabaseSettings(url=stored.conninfo)),
        RecordingLaunches(),
        environment={"CABLEWAY_SECRETS": f"env:NONE_,file:{tmp_path}"},
    )
    with serving(app) as url, httpx.Client(base_url=url, timeout=30, trust_env=False, verify=NO_TLS) as client:

        def answer(secret: str, delivery: str) -> int:
            headers = signed(TriggerDefinition(kind="webhook"), secret, BODY, delivery=delivery, now_s=int(time.time()))
            headers["content-type"] = "application/json"
            return client.post("/hooks/kept", content=BODY, headers=headers).status_code

        assert answer(FIRST, "a") == 401, "there is no secret yet"
        kept.write_text(FIRST + "\n")
        assert answer(FIRST, "b") == 202
        kept.write_text(SECOND)
        assert answer(SECOND, "c") == 202
        assert answer(FIRST, "d") == 401
        kept.unlink()
        assert answer(FIRST, "e") == 401

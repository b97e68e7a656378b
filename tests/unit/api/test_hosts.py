"""Where the server may listen while it has no API key."""

from __future__ import annotations

import pytest

from cableway.errors import SettingsError, UnavailableError
from cableway_handlers.api.hosts import check_listening
from cableway_handlers.api.listening import opened


@pytest.mark.promise("P25")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", "", "127.0.0.1.nip.io"])
def test_beyond_the_loopback_is_refused_with_what_to_do(host: str) -> None:
    with pytest.raises(SettingsError, match=r"--host 127\.0\.0\.1") as raised:
        check_listening(host)
    assert raised.value.exit_code == 78
    assert "cableway keys create" in str(raised.value)
    check_listening(host, live_keys=1)


def test_what_cannot_be_listened_on_names_the_option_to_change() -> None:
    with pytest.raises(UnavailableError, match="Choose another --host"):
        opened("192.0.2.1", 0)
    first = opened("127.0.0.1", 0)
    with first.socket, pytest.raises(UnavailableError, match="Choose another --port"):
        opened("127.0.0.1", first.socket.getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_the_loopback_is_fine(host: str) -> None:
    check_listening(host)

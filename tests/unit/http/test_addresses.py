from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cableway.blocs.http.addresses import AddressGuard, parsed, place_of, url_fault
from cableway.errors import AddressRefusedError, SettingsError

INNER = [
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "168.63.129.16",
    "192.0.0.8",
    "192.88.99.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "0.0.0.0",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "2001::1",
    "2002:7f00:1::",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "3fff::1",
]
OBSCURE = [
    "http://127.1",
    "http://2130706433/",
    "http://0x7f.1/",
    "http://0x7f000001/",
    "http://0177.0.0.1/",
    "http://127.0.0.1.0x10/",
    "http://\uff11\uff12\uff17.0.0.1/",
    "http://127\u30020\u30020\u30021/",
    "http://\u2460\u2461\u2466.0.0.1/",
    "http://[::ffff:127.1]/",
    "http://[fe80::1%25eth0]/",
    "http://ex%61mple.com/",
    "http://exa mple.com/",
    "http://example.com\\@127.0.0.1/",
    "http://example.com\n/",
    "http:///path",
    "http://user@example.com/",
    "http://user:password@example.com/",
    "http://example.com:99999/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "ftp://example.com/",
    "//example.com/",
    "example.com",
    "",
]


@pytest.mark.promise("P26")
@pytest.mark.fault("F5")
@pytest.mark.parametrize("address", INNER)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert AddressGuard().refusal(ip_address(address)) is not None


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_a_public_address_may_be_reached(address: str) -> None:
    assert AddressGuard().refusal(ip_address(address)) is None


@pytest.mark.promise("P26")
@pytest.mark.fault("F5")
@pytest.mark.parametrize("url", OBSCURE)
def test_a_url_that_reads_differently_to_others_is_refused(url: str) -> None:
    with pytest.raises(AddressRefusedError) as caught:
        parsed(url)
    assert "password" not in str(caught.value) or "auth" in str(caught.value)
    assert url_fault(url) is not None


def test_a_plain_url_is_taken_and_said_without_its_query() -> None:
    url = parsed("https://Bücher.example:8443/a b".replace(" ", "%20") + "?key=1#top")
    assert (url.raw_host, url.port) == (b"xn--bcher-kva.example", 8443)
    assert place_of("GET", url) == "GET https://xn--bcher-kva.example:8443/a%20b"


def test_networks_hosts_and_domains_are_allowed() -> None:
    guard = AddressGuard(["10.0.0.0/8", "localhost", ".internal.example", "::1"])
    assert guard.refusal(ip_address("10.9.9.9")) is None
    assert guard.refusal(ip_address("::ffff:10.9.9.9")) is None
    assert guard.refusal(ip_address("::1")) is None
    assert guard.refusal(ip_address("11.0.0.1")) is None
    assert guard.refusal(ip_address("127.0.0.1")) is not None
    assert guard.allows_host("LOCALHOST.")
    assert guard.allows_host("a.internal.example")
    assert not guard.allows_host("internal.example.evil.example")
    assert not guard.allows_host("eviltinternal.example")
    assert guard.vet("localhost", ["127.0.0.1"], "x") == ["127.0.0.1"]


def test_one_inner_address_among_public_ones_is_enough_to_refuse() -> None:
    with pytest.raises(AddressRefusedError, match=r"a.example is at 10\.0\.0\.1.*CABLEWAY_HTTP_ALLOW"):
        AddressGuard().vet("a.example", ["8.8.8.8", "10.0.0.1"], "GET https://a.example/")


@pytest.mark.parametrize("entry", ["http://a.example", "10.0.0.0/99", "a b", "127.1", "0x7f.1"])
def test_an_allowance_that_is_none_is_refused(entry: str) -> None:
    with pytest.raises(SettingsError, match="CABLEWAY_HTTP_ALLOW"):
        AddressGuard([entry])


@settings(max_examples=60, deadline=None)
@given(address=st.ip_addresses())
def test_what_python_calls_private_is_never_let_through(address: object) -> None:
    one = ip_address(str(address))
    if not one.is_global and "ffff:" not in str(one):
        assert AddressGuard().refusal(one) is not None


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=40))
def test_no_text_makes_the_reader_of_urls_fail(text: str) -> None:
    for url in (text, f"http://{text}", f"https://{text}/x"):
        try:
            host = parsed(url).host
        except AddressRefusedError:
            continue
        assert host

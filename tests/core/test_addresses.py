"""Who a client is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror.core.addresses import find_client, is_trusted, name_client, parse_network

LOOPBACK = (parse_network("127.0.0.1"), parse_network("::1"))
FARM = (*LOOPBACK, parse_network("10.0.0.0/8"))


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("somewhere", "somewhere"),
        ("", ""),
    ],
)
def test_a_client_counts_as_its_site(address: str, name: str) -> None:
    """IPv4 by address, IPv6 by /64, IPv4 in IPv6 as IPv4, and anything else by itself."""
    assert name_client(address) == name


@pytest.mark.parametrize("text", ["127.0.0.1", "::1", "10.0.0.0/8", "2001:db8::/32", "0.0.0.0/0"])
def test_networks_are_addresses_or_prefixes(text: str) -> None:
    """An address is a network of one."""
    assert str(parse_network(text)).startswith(text.partition("/")[0])


@pytest.mark.parametrize("text", ["", "localhost", "10.0.0.1/8", "1.2.3", "10.0.0.0/33", "::g", "x" * 1000])
def test_what_is_no_network_is_refused_with_advice(text: str) -> None:
    """Also a network with bits behind its prefix, which is a slip; the advice is short."""
    with pytest.raises(ValueError, match="write 127") as caught:
        parse_network(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "client"),
    [
        ("192.0.2.1", ["198.51.100.9"], (), "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.9"], LOOPBACK, "192.0.2.1"),
        ("127.0.0.1", [], LOOPBACK, "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.9"], (), "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.9"], LOOPBACK, "198.51.100.9"),
        ("::ffff:127.0.0.1", ["198.51.100.9"], LOOPBACK, "198.51.100.9"),
        ("127.0.0.1", ["203.0.113.5, 198.51.100.9"], LOOPBACK, "198.51.100.9"),
        ("127.0.0.1", ["203.0.113.5", "198.51.100.9"], LOOPBACK, "198.51.100.9"),
        ("127.0.0.1", ["198.51.100.9, 10.1.2.3"], LOOPBACK, "10.1.2.3"),
        ("127.0.0.1", ["203.0.113.5, 198.51.100.9, 10.1.2.3"], FARM, "198.51.100.9"),
        ("127.0.0.1", ["10.9.9.9, 10.1.2.3"], FARM, "10.9.9.9"),
        ("127.0.0.1", ["198.51.100.9:4711"], LOOPBACK, "198.51.100.9"),
        ("127.0.0.1", ["[2001:db8::5]:4711"], LOOPBACK, "2001:db8::5"),
        ("127.0.0.1", ["2001:db8::5"], LOOPBACK, "2001:db8::5"),
        ("127.0.0.1", ["198.51.100.9, nonsense"], LOOPBACK, "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.9, "], LOOPBACK, "127.0.0.1"),
        ("127.0.0.1", ["unknown, 10.1.2.3"], FARM, "10.1.2.3"),
    ],
)
def test_a_proxy_is_believed_about_the_last_address_that_it_saw(
    peer: str, forwarded: list[str], trusted: tuple[object, ...], client: str
) -> None:
    """Only a trusted one, and only as far as the chain of trusted ones goes: the rest anybody can write."""
    assert find_client(peer, forwarded, trusted) == client  # type: ignore[arg-type]  # parametrised: networks


@given(st.lists(st.text(max_size=50), max_size=5))
def test_a_header_of_a_stranger_is_never_believed(forwarded: list[str]) -> None:
    """Whatever it says, and whatever a trusted proxy passes on: there is a client, and no exception."""
    assert find_client("192.0.2.1", forwarded, LOOPBACK) == "192.0.2.1"
    assert name_client(find_client("127.0.0.1", forwarded, LOOPBACK))


def test_trust_is_by_network() -> None:
    """IPv4 and IPv6 are not confused; what is no address is not trusted."""
    assert is_trusted("10.255.0.1", FARM) and is_trusted("::1", FARM)
    assert not is_trusted("11.0.0.1", FARM) and not is_trusted("nonsense", FARM) and not is_trusted("::2", FARM)

"""Who a client is: from where its connection comes, or what a proxy tells, to the name under which it counts."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_SITE_BITS = 64


def parse_network(text: str) -> Network:
    """Return one address, or a network such as 10.0.0.0/8. Raises ValueError, which says what to write."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"{text[:60]!r} is not an address or a network: write 127.0.0.1, ::1 or 10.0.0.0/8") from error


def name_client(address: str) -> str:
    """Return the name under which `address` counts: IPv4 by itself, IPv6 by its /64, which is what one site has.

    IPv4 that came as IPv6 (::ffff:192.0.2.1) is IPv4. What is no address counts as it is.
    """
    parsed = _parse(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(parsed) >> _SITE_BITS << _SITE_BITS, _SITE_BITS)))
    return address if parsed is None else str(parsed)


def is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    """Tell whether `address` lies in one of the networks."""
    parsed = _parse(address)
    return parsed is not None and any(parsed in network for network in trusted)


def find_client(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """Return the address that a request comes from.

    `forwarded` are the values of X-Forwarded-For. They count only when the connection comes from a trusted proxy; and
    of the addresses in them only the last that is not itself a trusted proxy, because anybody can write the others.
    """
    told = [part.strip() for value in forwarded for part in value.split(",")]
    address = peer
    while told and is_trusted(address, trusted):
        before = _without_port(told.pop())
        if _parse(before) is None:
            break
        address = before
    return address


def _parse(address: str) -> _Address | None:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return mapped or parsed


def _without_port(text: str) -> str:
    """Return the address in what some proxies write: 192.0.2.1:5000, [2001:db8::1]:5000."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    host, colon, _ = text.partition(":")
    return host if colon and text.count(":") == 1 else text

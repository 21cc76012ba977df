"""What an endpoint such as ``tcp://[::1]:9940`` asks of a ZeroMQ socket, and what its errors mean to an operator."""

from __future__ import annotations

import errno
import re

from pushmirror.errors import PushmirrorError, StateError, UsageError

_TCP = re.compile(r"tcp://(?P<host>\[[0-9A-Fa-f:.]+(%[^\]]+)?\]|[^\[\]/:]+):(?P<port>\d{1,5}|\*)")
_IPV4 = re.compile(r"\d+\.\d+\.\d+\.\d+")

EXAMPLES = "tcp://192.0.2.1:9940, tcp://[2001:db8::1]:9940 or tcp://mirror.example.org:9940"


def choose_families(endpoint: str) -> tuple[bool, ...]:
    """The values of ZeroMQ's IPV6 option worth trying, in this order.

    With the option on, ZeroMQ takes a host name's IPv6 address only and never tries the other; so a host name has two
    values, IPv4 first. ``*`` has two as well, both families at once first, for machines without IPv6.
    """
    match = _TCP.fullmatch(endpoint)
    if match is None:
        return (False,)
    host = match["host"]
    if host == "*":
        return (True, False)
    if host.startswith("["):
        return (True,)
    return (False,) if _IPV4.fullmatch(host) else (False, True)


def explain_bind_failure(endpoint: str, error_number: int, reason: str) -> PushmirrorError:
    """The error for a publisher that cannot listen on `endpoint`, with what to do about it."""
    if error_number == errno.EADDRINUSE:
        advice = "is another publisher running? See who has it with: ss -ltnp"
        return StateError(f"{endpoint}: this address is already in use; {advice}")
    if error_number in (errno.EADDRNOTAVAIL, errno.ENODEV):
        advice = "name one of its own, or * for all of them"
        return UsageError(f"{endpoint}: this machine does not have that address; {advice}")
    if error_number == errno.EACCES:
        return UsageError(f"{endpoint}: ports below 1024 are kept for root; choose a higher one, such as 9940")
    return explain_bad_endpoint(endpoint, reason)


def explain_bad_endpoint(endpoint: str, reason: str) -> PushmirrorError:
    """The error for an endpoint that ZeroMQ does not take."""
    return UsageError(f"{endpoint}: not a usable endpoint ({reason}); it looks like {EXAMPLES}")

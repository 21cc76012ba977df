"""Which address families an endpoint needs, and what a publisher is told that cannot listen."""

from __future__ import annotations

import errno

import pytest

from pushmirror.bus.endpoints import choose_families, explain_bind_failure
from pushmirror.errors import PushmirrorError, StateError, UsageError


@pytest.mark.parametrize(
    ("endpoint", "families"),
    [
        ("tcp://127.0.0.1:9940", (False,)),
        ("tcp://[::1]:9940", (True,)),
        ("tcp://[::]:9940", (True,)),
        ("tcp://[fe80::1%eth0]:9940", (True,)),
        ("tcp://*:9940", (True, False)),
        ("tcp://mirror.example.org:9940", (False, True)),
        ("tcp://127.0.0.1:*", (False,)),
        ("ipc:///run/bus", (False,)),
        ("nonsense", (False,)),
    ],
)
def test_families_to_try(endpoint: str, families: tuple[bool, ...]) -> None:
    """An address has one family, a host name two, and the wildcard prefers both at once."""
    assert choose_families(endpoint) == families


@pytest.mark.parametrize(
    ("error_number", "kind", "text"),
    [
        (errno.EADDRINUSE, StateError, "already in use"),
        (errno.EADDRNOTAVAIL, UsageError, "does not have that address"),
        (errno.ENODEV, UsageError, "does not have that address"),
        (errno.EACCES, UsageError, "below 1024"),
        (errno.EINVAL, UsageError, "not a usable endpoint"),
    ],
)
def test_bind_failures_say_what_to_do(error_number: int, kind: type[PushmirrorError], text: str) -> None:
    """Each reason why listening fails has its own advice, and names the endpoint."""
    error = explain_bind_failure("tcp://192.0.2.1:9", error_number, "reason")
    assert type(error) is kind
    assert text in str(error) and "tcp://192.0.2.1:9" in str(error)

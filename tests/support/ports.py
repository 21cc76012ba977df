"""Free ports on loopback."""

from __future__ import annotations

import contextlib
import random
import socket

_LOWEST, _HIGHEST = 12_000, 30_000
"""Below the ports that the kernel gives to outgoing connections: those come and go at any moment."""


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port on `host` that nobody listened on a moment ago.

    Somebody else may take it before it is used; prefer port 0 where the program under test can tell what it got.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in random.SystemRandom().sample(range(_LOWEST, _HIGHEST), 100):
        with socket.socket(family, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            return port
    raise AssertionError(f"of a hundred ports on {host} none was free")


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """Return whether a TCP connection to `host` and `port` is accepted."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True

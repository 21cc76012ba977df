"""Free ports on loopback."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import socket
from collections.abc import Iterator

_LOWEST, _HIGHEST = 12_000, 30_000
"""Below the ports that the kernel gives to outgoing connections: those come and go at any moment."""
_PROCESSES = 8
"""Test processes side by side that never take a port from each other."""


def _own_ports() -> Iterator[int]:
    """Yield the ports of this process, one after the other from anywhere: none soon again, none of its neighbours."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    ports = range(_LOWEST, _HIGHEST)[int(worker[2:]) % _PROCESSES :: _PROCESSES] if worker else range(_LOWEST, _HIGHEST)
    beginning = random.SystemRandom().randrange(len(ports))
    return itertools.cycle((*ports[beginning:], *ports[:beginning]))


_ports = _own_ports()


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port on `host` that nobody listened on a moment ago.

    Another program may take it before it is used; prefer port 0 where the program under test can tell what it got.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in itertools.islice(_ports, 100):
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

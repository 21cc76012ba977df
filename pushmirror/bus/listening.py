"""Listens where a publisher is to be reached. The socket outlives the processes that serve it, one after the other."""

from __future__ import annotations

import contextlib
import errno
import re
import socket
from typing import Any

from pushmirror.bus.endpoints import choose_families, explain_bad_endpoint, explain_bind_failure

BACKLOG = 511
_PARTS = re.compile(r"tcp://(?P<host>\[.+\]|[^\[\]/:]+):(?P<port>\d{1,5}|\*)")


def listen(endpoint: str) -> tuple[socket.socket, str]:
    """Return a socket that listens at `endpoint`, and the endpoint that it has.

    Raises StateError when the address is taken, UsageError when this machine cannot listen there at all.
    """
    match = _PARTS.fullmatch(endpoint)
    if match is None:
        raise explain_bad_endpoint(endpoint, "Invalid argument")
    host, port = match["host"], int(match["port"].replace("*", "0"))
    *others, last = choose_families(endpoint)
    try:
        for ipv6 in others:
            with contextlib.suppress(OSError):
                return _listen_in_family(host, port, ipv6)
        return _listen_in_family(host, port, last)
    except OverflowError as error:
        raise explain_bad_endpoint(endpoint, "there is no such port") from error
    except socket.gaierror as error:
        raise explain_bind_failure(endpoint, errno.ENODEV, error.strerror or str(error)) from error
    except OSError as error:
        raise explain_bind_failure(endpoint, error.errno or 0, error.strerror or str(error)) from error


def _listen_in_family(host: str, port: int, ipv6: bool) -> tuple[socket.socket, str]:
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    address: tuple[Any, ...] = ("::" if ipv6 else "", port)
    if host != "*":
        address = _resolve(host.strip("[]"), port, family)
    both = ipv6 and host in ("*", "[::]")
    listening = socket.create_server(address, family=family, backlog=BACKLOG, dualstack_ipv6=both)
    listening.setblocking(False)
    return listening, _name(listening)


def _resolve(host: str, port: int, family: socket.AddressFamily) -> tuple[Any, ...]:
    """Return the first address, with the scope that a link-local one has."""
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return found[0][4]


def _name(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"tcp://[{host}]:{port}" if listening.family == socket.AF_INET6 else f"tcp://{host}:{port}"

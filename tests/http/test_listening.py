"""Where the HTTP service listens."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.protocol import Factory, Protocol

from pushmirror.errors import StateError
from pushmirror.http.listening import HttpService
from tests.support.ports import accepts, free_port
from tests.support.reactor import Spin


class Open(Factory):
    """Takes connections and says nothing."""

    noisy = False
    protocol = Protocol

    def doStart(self) -> None: ...

    def doStop(self) -> None: ...


@pytest.fixture
def ipv6() -> Iterator[None]:
    try:
        free_port("::1")
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    yield


def start(reactor: Any, address: str) -> HttpService:
    service = HttpService(reactor, address, Open())
    service.startService()
    return service


def stop(service: HttpService, spin: Spin) -> None:
    stopped = service.stopService()
    spin(lambda: stopped.called)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "*"])
def test_it_listens_on_ipv4(reactor: Any, spin: Spin, host: str) -> None:
    """An address, a name and ``*`` are all reachable by IPv4, until the service stops."""
    port = free_port()
    service = start(reactor, f"http://{host}:{port}")
    assert accepts(port)
    stop(service, spin)
    assert not accepts(port)


@pytest.mark.parametrize("host", ["[::1]", "*"])
def test_it_listens_on_ipv6(reactor: Any, spin: Spin, ipv6: None, host: str) -> None:
    """An IPv6 address and ``*`` are reachable by IPv6."""
    port = free_port("::1")
    service = start(reactor, f"http://{host}:{port}")
    assert accepts(port, "::1")
    stop(service, spin)


def test_an_address_in_use_is_explained(reactor: Any) -> None:
    """Another program at the address is the first thing that an operator should look for."""
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(StateError, match="already in use"):
        start(reactor, f"http://127.0.0.1:{other.getsockname()[1]}")


@pytest.mark.parametrize(("host", "advice"), [("192.0.2.1", "does not have that address"),
                                              ("no-such-host.invalid", "cannot listen")])  # fmt: skip
def test_an_address_of_somebody_else_is_explained(reactor: Any, host: str, advice: str) -> None:
    """An address that this machine does not have is named as such."""
    with pytest.raises(StateError, match=advice):
        start(reactor, f"http://{host}:{free_port()}")


def test_a_stop_ends_open_connections(reactor: Any, spin: Spin) -> None:
    """A client that keeps its connection open does not keep the daemon."""
    port = free_port()
    service = start(reactor, f"http://127.0.0.1:{port}")
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        for _ in range(5):
            reactor.iterate(0.01)
        stop(service, spin)
        for _ in range(5):
            reactor.iterate(0.01)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""


def test_a_service_that_was_not_started_can_be_stopped(reactor: Any, spin: Spin) -> None:
    """A start that failed elsewhere stops everything, this included."""
    stop(HttpService(reactor, f"http://127.0.0.1:{free_port()}", Open()), spin)

"""Where the HTTP service listens: every form of address that the settings take, and what a failure means."""

from __future__ import annotations

import errno
import socket
from collections import Counter
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from pushmirror.errors import StateError
from pushmirror.http.certificate import Certificate
from pushmirror.http.visitors import Visitors
from pushmirror.settings.endpoints import split_host_and_port

MAX_CONNECTIONS = 1000
BACKLOG = 128
UNSENT_BYTES = 128 * 1024
"""So much of an answer the kernel takes before it can send it. Otherwise it takes megabytes for each connection, and a
client that has stopped reading looks like one that takes what it is given."""

_NO_SUCH_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


READ_BYTES = 8 * 1024
"""Read of one connection before others have their turn: in eight times as much there is room for an eightfold work."""


class HttpService(Service):
    """Serves `factory` at `address` (``http://HOST:PORT``; ``*`` is every address) while it runs.

    With a `certificate` over TLS; `visitors` say how many connections a client may have. `startService` raises
    StateError when it cannot listen there.
    """

    def __init__(
        self,
        reactor: Any,
        address: str,
        factory: Any,
        visitors: Visitors | None = None,
        certificate: Certificate | None = None,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._reactor = reactor
        self._address = address
        creator: Any = certificate
        secured: Any = factory if certificate is None else TLSMemoryBIOFactory(creator, False, factory, reactor)
        self._connections = _Connections(secured, visitors or Visitors(reactor), max_connections)
        self._port: Any = None

    def startService(self) -> None:
        host, port = split_host_and_port(self._address)
        try:
            self._port = self._listen(host, port)
        except CannotListenError as error:
            raise StateError(f"{self._address}: {_explain(error)}") from error
        # Connections inherit it.
        self._port.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no annotation there

    def _listen(self, host: str, port: int) -> Any:
        if host != "*":
            return self._listen_at(host, port)
        try:
            return self._listen_at("::", port)  # takes IPv4 as well
        except CannotListenError as error:
            if getattr(error.socketError, "errno", None) not in _NO_SUCH_FAMILY:
                raise
            return self._listen_at("", port)

    def _listen_at(self, interface: str, port: int) -> Any:
        return self._reactor.listenTCP(port, self._connections, backlog=BACKLOG, interface=interface)

    def stopService(self) -> Deferred[None]:
        """Take no more connections and end those there are."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        port, self._port = self._port, None
        stopped: Deferred[None] = maybeDeferred(port.stopListening if port is not None else lambda: None)
        self._connections.abort()
        return stopped


class _Connections(WrappingFactory["_Connection"]):
    """Keeps the connections of another factory, to bound their number and to end them."""

    noisy = False

    def __init__(self, factory: Any, visitors: Visitors, max_connections: int) -> None:
        super().__init__(factory)  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        self._visitors = visitors
        self._max_connections = max_connections

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Return None, which closes the connection at once, for one that is too much."""
        host = str(getattr(addr, "host", ""))
        if not self._visitors.connect(host):
            return None
        if not self._has_room(host):
            self._visitors.disconnect(host)
            return None
        return _Connection(self, self.wrappedFactory.buildProtocol(addr), self._visitors, host)

    def _has_room(self, host: str) -> bool:
        """Tell whether there is room for one more. When all is taken, whoever has most gives way to who has less: a
        handful of addresses, each of which has what it may, keeps nobody else out."""
        if len(self.protocols) < self._max_connections:
            return True
        held = [connection for connection in self.protocols if not connection.gives_way]
        if len(held) < self._max_connections:
            return True
        counts = Counter(connection.client for connection in held if connection.client is not None)
        crowd, count = next(iter(counts.most_common(1)), (None, 0))
        if count <= counts[self._visitors.name(host)] + 1:
            return False
        next(connection for connection in held if connection.client == crowd).give_way()
        return True

    def abort(self) -> None:
        for connection in tuple(self.protocols):
            connection.transport.abortConnection()


class _Connection(ProtocolWrapper):
    def __init__(self, factory: Any, wrapped: Any, visitors: Visitors, host: str) -> None:
        super().__init__(factory, wrapped)
        self._visitors = visitors
        self._host = host
        self.client = visitors.name(host)
        self.gives_way = False

    def give_way(self) -> None:
        """End it for the sake of another one."""
        self.gives_way = True
        self.transport.abortConnection()  # type: ignore[union-attr]  # a connection over TCP

    def makeConnection(self, transport: Any) -> None:
        transport.bufferSize = READ_BYTES
        super().makeConnection(transport)  # type: ignore[no-untyped-call]  # Twisted has no annotation there

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        channel = self.wrappedProtocol
        while isinstance(channel, ProtocolWrapper):  # TLS
            channel = channel.wrappedProtocol
        self._visitors.disconnect(self._host, wasted=getattr(channel, "whole_requests", 1) == 0)
        super().connectionLost(reason)  # type: ignore[no-untyped-call]  # Twisted has no annotation there


def _explain(error: CannotListenError) -> str:
    number = getattr(error.socketError, "errno", None)
    if number == errno.EADDRINUSE:
        return "this address is already in use; is another publisher running? See who has it with: ss -ltnp"
    if number == errno.EADDRNOTAVAIL:
        return "this machine does not have that address; name one of its own, or * for all of them"
    if number == errno.EACCES:
        return "ports below 1024 are kept for root; choose a higher one, such as 9941, and a proxy before it"
    return f"the service cannot listen there ({error.socketError}); change `service` in the settings"

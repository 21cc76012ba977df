"""Where the HTTP service listens: every form of address that the settings take, and what a failure means."""

from __future__ import annotations

import errno
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory

from pushmirror.errors import StateError
from pushmirror.settings.endpoints import split_host_and_port

MAX_CONNECTIONS = 1000
BACKLOG = 128

_NO_SUCH_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


class HttpService(Service):
    """Serves `factory` at `address` (``http://HOST:PORT``; ``*`` is every address) while it runs.

    `startService` raises StateError when it cannot listen there.
    """

    def __init__(self, reactor: Any, address: str, factory: Any) -> None:
        self._reactor = reactor
        self._address = address
        self._connections = _Connections(factory)
        self._port: Any = None

    def startService(self) -> None:
        host, port = split_host_and_port(self._address)
        try:
            self._port = self._listen(host, port)
        except CannotListenError as error:
            raise StateError(f"{self._address}: {_explain(error)}") from error
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


class _Connections(WrappingFactory[ProtocolWrapper]):
    """Keeps the connections of another factory, to bound their number and to end them."""

    noisy = False

    def __init__(self, factory: Any) -> None:
        super().__init__(factory)  # type: ignore[no-untyped-call]  # Twisted has no annotation there

    def buildProtocol(self, addr: IAddress | None) -> Any:
        if len(self.protocols) >= MAX_CONNECTIONS:
            return None
        return super().buildProtocol(addr)

    def abort(self) -> None:
        for connection in tuple(self.protocols):
            connection.transport.abortConnection()


def _explain(error: CannotListenError) -> str:
    number = getattr(error.socketError, "errno", None)
    if number == errno.EADDRINUSE:
        return "this address is already in use; is another publisher running? See who has it with: ss -ltnp"
    if number == errno.EADDRNOTAVAIL:
        return "this machine does not have that address; name one of its own, or * for all of them"
    if number == errno.EACCES:
        return "ports below 1024 are kept for root; choose a higher one, such as 9941, and a proxy before it"
    return f"the service cannot listen there ({error.socketError}); change `service` in the settings"

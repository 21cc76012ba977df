"""Holds what clients do against their limits, and tells the operator once in a while who was turned away."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from pushmirror.core.addresses import Network, find_client, is_trusted, name_client
from pushmirror.core.limits import Clients, Limits
from pushmirror.http.headers import read_header
from pushmirror.logs import Throttle

_log = logging.getLogger(__name__)


class Visit:
    """One request of `client`, until its answer has ended. `wait_s` above 0: it is not answered."""

    def __init__(self, clients: Clients, reactor: Any, client: str, wait_s: int, *, counted: bool) -> None:
        self._clients = clients
        self._reactor = reactor
        self.client = client
        self._counted = counted
        self.wait_s = wait_s

    def sent(self, size_bytes: int) -> None:
        """Count bytes of the answer."""
        self._clients.sent(self.client, size_bytes, self._reactor.seconds())

    def end(self) -> None:
        """The answer is written, or the client has gone. Ending twice is no error."""
        if self._counted:
            self._clients.disconnect(self.client)
        self._counted = False


class Visitors:
    """The clients of one service. `proxies` are believed about whom they ask for; they have no limits themselves."""

    def __init__(self, reactor: Any, limits: Limits | None = None, proxies: Sequence[Network] = ()) -> None:
        self.limits = limits or Limits()
        self._reactor = reactor
        self._proxies = tuple(proxies)
        self._clients = Clients(self.limits)
        self._throttle = Throttle(lambda: int(reactor.seconds() * 1000))

    def name(self, address: str) -> str | None:
        """Return under which name connections from `address` count; None for a proxy, whose do not."""
        return None if is_trusted(address, self._proxies) else name_client(address)

    def connect(self, address: str) -> bool:
        """Take a connection that comes from `address`; False: it has as many as it may."""
        if is_trusted(address, self._proxies):
            return True
        client = name_client(address)
        taken = self._clients.connect(client, self._reactor.seconds())
        if not taken:
            self._tell(f"{client}: more than {self.limits.connections} connections, or requests beyond all measure")
        return taken

    def disconnect(self, address: str, *, wasted: bool = False) -> None:
        """Forget a connection that was taken; `wasted`: it ended without a whole request."""
        if is_trusted(address, self._proxies):
            return
        client = name_client(address)
        self._clients.disconnect(client)
        if wasted:
            self._clients.waste(client, self._reactor.seconds())

    def visit(self, request: Any) -> Visit:
        """Count a request. Behind a proxy each counts as a connection of its client as well, while it is answered."""
        peer = str(getattr(request.getClientAddress(), "host", ""))
        proxied = is_trusted(peer, self._proxies)
        forwarded = read_header(request.requestHeaders, "X-Forwarded-For") if proxied else []
        client = name_client(find_client(peer, forwarded, self._proxies))
        now_s = self._reactor.seconds()
        counted = proxied and self._clients.connect(client, now_s)
        wait_s = self._clients.request(client, now_s, request.body_bytes)
        if proxied and not counted:
            wait_s = max(1, wait_s)
        if wait_s:
            self._tell(f"{client}: more requests, or more bytes in the answers to them, than one address may have")
        return Visit(self._clients, self._reactor, client, wait_s, counted=counted)

    def show(self, visit: Visit) -> int:
        """Count a header that is shown; return 0, or after how many seconds this client may show another one."""
        wait_s = self._clients.show(visit.client, self._reactor.seconds())
        if wait_s:
            self._tell(f"{visit.client}: more headers, which may be forged, than one address may show")
        return wait_s

    def may_tell(self, cause: str) -> int | None:
        """Return how many lines about what clients cause were left out, when one may be logged now; otherwise None."""
        return self._throttle.allow(cause)

    def _tell(self, what: str) -> None:
        suppressed = self._throttle.allow("limits")
        if suppressed is not None:
            _log.warning("turned away %s (%d more before)", what, suppressed)

"""How much of a service one client may have: connections, requests and bytes; and how long it may take over each."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

from pushmirror.core.rate import TokenBucket

REQUESTS_BURST_S = 20
"""What may be asked at once is what these seconds bring: a subscriber asks about all of its trees when it starts."""
TRAFFIC_WINDOW_S = 60
MAX_DEBT_S = 10
"""Whoever asks on although it is refused owes for that as well, up to these seconds; then it cannot even connect."""
BODY_BYTES_PER_REQUEST = 1024
"""What is sent along counts as further requests, one for each of these: to read that much JSON may cost as much."""
WASTED_REQUESTS = 10
"""What a connection costs that ends without a whole request: it may have been work to find out that there was none."""
HEADERS_PER_SECOND = 1.0
HEADERS_AT_ONCE = 20
"""Of the signatures that are checked for ``POST /v1/headers`` one client has a twentieth, so that forged ones of a few
leave room for the proof of somebody else. One valid proof is all that anybody needs to show."""
MAX_CLIENTS = 10_000
"""So many are remembered, those that were seen last: an attacker with a million addresses gets no more memory."""


@dataclass(frozen=True)
class Limits:
    """What one client may have. The times hold for each of its connections."""

    connections: int = 100
    requests_per_second: int = 100
    traffic_bytes_per_minute: int = 500_000_000
    request_s: float = 20.0
    """A whole request has to be here by then, however its bytes trickle in."""
    idle_s: float = 60.0
    """A connection may wait so long for its next request."""
    stall_s: float = 30.0
    """Each piece of an answer, at most 64 KiB, has to be taken by then."""
    answer_s: float = 1800.0
    """A whole answer has to be taken by then."""


@dataclass
class _Account:
    requests: TokenBucket
    traffic: TokenBucket
    headers: TokenBucket


class Clients:
    """Keeps account of every client by its name (`core.addresses.name_client`). Time is in seconds, of any origin."""

    def __init__(self, limits: Limits, max_clients: int = MAX_CLIENTS) -> None:
        self.limits = limits
        self._max_clients = max_clients
        self._accounts: OrderedDict[str, _Account] = OrderedDict()
        self._connections: dict[str, int] = {}

    def connect(self, client: str, now_s: float) -> bool:
        """Take one more connection of `client`, unless it has as many as it may, or has asked far too much."""
        count = self._connections.get(client, 0)
        account = self._accounts.get(client)
        if count >= self.limits.connections or (account and account.requests.wait_s(now_s) > MAX_DEBT_S):
            return False
        self._connections[client] = count + 1
        return True

    def disconnect(self, client: str) -> None:
        """Forget a connection that was taken."""
        count = self._connections.get(client, 0)
        if count > 1:
            self._connections[client] = count - 1
        else:
            self._connections.pop(client, None)

    def request(self, client: str, now_s: float, body_bytes: int = 0) -> int:
        """Count a request with a body, and return 0; or return after how many seconds `client` may ask again."""
        account = self._account(client, now_s)
        wait_s = account.traffic.wait_s(now_s)
        if wait_s == 0 and account.requests.take(now_s):
            account.requests.spend(body_bytes // BODY_BYTES_PER_REQUEST, now_s)
            return 0
        if account.requests.wait_s(now_s) <= MAX_DEBT_S:
            account.requests.spend(1, now_s)
        return max(1, math.ceil(max(wait_s, account.requests.wait_s(now_s))))

    def show(self, client: str, now_s: float) -> int:
        """Count a header that is shown, and return 0; or return after how many seconds `client` may show another."""
        headers = self._account(client, now_s).headers
        return 0 if headers.take(now_s) else max(1, math.ceil(headers.wait_s(now_s)))

    def waste(self, client: str, now_s: float) -> None:
        """Count a connection that ended without a whole request."""
        self._account(client, now_s).requests.spend(WASTED_REQUESTS, now_s)

    def sent(self, client: str, size_bytes: int, now_s: float) -> None:
        """Count bytes of an answer. One that has begun is not broken off; the next request waits the longer."""
        self._account(client, now_s).traffic.spend(size_bytes, now_s)

    @property
    def remembered(self) -> int:
        """How many clients there is something in memory about."""
        return len(self._accounts.keys() | self._connections.keys())

    def _account(self, client: str, now_s: float) -> _Account:
        account = self._accounts.get(client)
        if account is None:
            account = self._accounts[client] = self._open_account(now_s)
        self._accounts.move_to_end(client)
        if len(self._accounts) > self._max_clients:
            self._accounts.popitem(last=False)
        return account

    def _open_account(self, now_s: float) -> _Account:
        rate, traffic_bytes = self.limits.requests_per_second, self.limits.traffic_bytes_per_minute
        return _Account(
            TokenBucket(rate, rate * REQUESTS_BURST_S, now_s),
            TokenBucket(traffic_bytes / TRAFFIC_WINDOW_S, traffic_bytes, now_s),
            TokenBucket(HEADERS_PER_SECOND, HEADERS_AT_ONCE, now_s),
        )

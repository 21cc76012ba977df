"""A connection to the HTTP service of a publisher, byte by byte: an answer in order or none, and nothing changes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from fuzz.bodies import publisher
from fuzz.harness import Believed
from fuzz.meaning import REPORTS, examples
from fuzz.parties import EPOCH, PUBLISHER, sign_as_stranger
from pushmirror.core.addresses import parse_network
from pushmirror.core.limits import Limits
from pushmirror.http.door import Door
from pushmirror.http.serving import ServiceFactory
from pushmirror.http.visitors import Visitors

_MAX_PIECES = 1000
_STATUSES = tuple(b"HTTP/1.%d %d " % (minor, status) for minor in (0, 1)
                  for status in (100, 200, 204, 400, 401, 403, 404, 405, 410, 413, 417, 429, 501))  # fmt: skip


_PEER = "192.0.2.1"
_PRIVATE, _PROXIED = 0x80, 0x40


def check(data: bytes) -> None:
    """Send `data` without its first byte, and read all that is answered.

    That byte says in which two pieces it is sent, whether the service is private, and whether a proxy asks.
    """
    flags, sent = data[0] if data else 0, data[1:]
    cut = 8 * (flags & ~(_PRIVATE | _PROXIED))
    reactor: Any = Clock()
    proxies = [parse_network(_PEER)] if flags & _PROXIED else []
    door = Door(PUBLISHER, publisher().nodes, reactor.seconds) if flags & _PRIVATE else None
    factory = ServiceFactory(reactor, publisher().answers, Visitors(reactor, Limits(), proxies), door)
    channel = factory.buildProtocol(None)
    transport: Any = StringTransport(peerAddress=IPv4Address("TCP", _PEER, 50_000))
    channel.makeConnection(transport)
    for piece in (sent[:cut], sent[cut:]):
        if piece and not transport.disconnecting:
            channel.dataReceived(piece)
            _turn(reactor, transport)
    answer = transport.value()
    assert not answer or answer.startswith((*_STATUSES, b"HTTP/1.1 100")), answer[:80]
    assert b" 500 " not in answer[:20] and b"Traceback" not in answer
    if flags & _PRIVATE and any(b"HTTP/1.%d 20" % minor in answer for minor in (0, 1)):
        raise Believed("a private service has answered a stranger")
    channel.connectionLost()
    reactor.advance(3600)
    assert not [call for call in reactor.getDelayedCalls() if call.active()], "something goes on without its client"
    publisher().expect_nothing()


def _turn(reactor: Any, transport: Any) -> None:
    for _ in range(_MAX_PIECES):
        reactor.advance(0.001)
        if transport.producer is None:
            return
        transport.producer.resumeProducing()


def _ask(target: str, head: str = "", method: str = "GET", body: bytes = b"") -> bytes:
    return b"\x04" + f"{method} {target} HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode("latin-1") + body


def _post(target: str, body: bytes) -> bytes:
    return _ask(target, f"Content-Length: {len(body)}\r\n", "POST", body)


def seeds() -> Iterable[bytes]:
    """Yield each question, and requests that are none."""
    yield _ask("/v1/trees/debian?nonce=12345678")
    yield _ask(f"/v1/trees/debian/updates?epoch={EPOCH}&after=0&limit=5")
    yield _ask(f"/v1/trees/debian/updates?epoch={publisher().epoch}&after=0", method="HEAD")
    yield _ask(f"/v1/trees/debian/updates?epoch={publisher().epoch}&after=0")
    yield _ask(f"/v1/trees/debian/lists/{'0' * 64}")
    for kind, msg in examples():
        if kind in REPORTS:
            yield _post("/v1/reports", sign_as_stranger(kind, msg))
        else:
            yield _post("/v1/headers", sign_as_stranger(kind, msg))
    chunked = "Transfer-Encoding: chunked\r\n"
    yield _ask("/v1/reports", chunked, "POST", b"4\r\nabcd\r\n0\r\n\r\n")
    yield _ask("/v1/reports", chunked + "Content-Length: 3\r\n", "POST", b"4\r\nabcd\r\n0\r\n\r\n")
    yield _ask("/v1/reports", "Content-Length: 9999999\r\nExpect: 100-continue\r\n", "POST")
    yield _ask("/v1/reports", "Content-Length: -1\r\n", "POST")
    yield _ask("/v1/trees/%2e%2e/updates?after=1&after=2")
    yield _ask("/v1/trees/debian?nonce=12345678") + _ask("/v1/trees/debian?nonce=12345678")[1:]
    yield _ask("/", "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 5\r\n", "POST", b"--x--")
    yield _ask("/", "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 5\r\n", "POST", b"a=b&c")
    known = publisher().challenge()
    for header in (known, known.replace("node=", "node=x"), known[:-5], "\xff", "Basic eDp4", ""):
        asked = _ask("/v1/trees/debian?nonce=12345678", f"Authorization: {header}\r\nX-Forwarded-For: {header}\r\n")
        yield bytes([_PRIVATE | 4]) + asked[1:]
        yield bytes([_PROXIED | 4]) + asked[1:]
    yield bytes([_PROXIED]) + _ask("/", "X-Forwarded-For: 203.0.113.7:5, [::1]:6, 192.0.2.1\r\n")[1:]
    yield b"\x04PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield b"\x04GET / HTTP/0.9\r\n\r\n"
    yield b"\x04\r\n\r\n\r\nGET\r\n"

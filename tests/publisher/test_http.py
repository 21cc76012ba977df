"""The HTTP service on a real socket, asked by a real client."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from pushmirror.bus.memory import MemoryBus
from pushmirror.core.limits import Limits
from pushmirror.core.lists import list_digest, parse_changes
from pushmirror.core.messages import format_report, parse_state, parse_update
from pushmirror.core.model import ChangeList, Event, Head, Report
from pushmirror.core.paths import TreePath
from pushmirror.core.wire import canonical, digest, open_envelope, open_envelope_object, parse_object
from pushmirror.http.serving import MAX_BODY_BYTES, MAX_DISCARDED_BYTES, MAX_HEADER_BYTES, ServiceFactory
from pushmirror.http.streaming import PIECE_BYTES, Stream
from pushmirror.http.visitors import Visitors
from pushmirror.keys import PrivateKey, seal, verify_envelope
from pushmirror.nodes import AuthorizedNodes
from pushmirror.publisher.announcement import Announcement
from pushmirror.publisher.answers import Answers
from pushmirror.publisher.identity import Identity
from pushmirror.publisher.journal import Journal
from pushmirror.publisher.journal_rows import SentUpdate
from pushmirror.publisher.proofs import SIGNATURES_AT_ONCE, Proofs
from pushmirror.publisher.reports import Reports
from pushmirror.publisher.signing import SingleKey
from tests.publisher.conftest import START_MS
from tests.support.reactor import Spin

pytestmark = pytest.mark.slow

SMALL = ChangeList(changed=(TreePath(b"odd\xff"), TreePath(b"pool/a")), deleted=(TreePath(b"gone"),))
LARGE = ChangeList(changed=tuple(TreePath(b"pool/%08d/%s" % (number, b"x" * 80)) for number in range(40_000)))
NODE = "t2.example.net"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        return parse_object(self.body, max_bytes=1 << 30)

    def lines(self) -> list[dict[str, Any]]:
        return [parse_object(line, max_bytes=1 << 30) for line in self.body.splitlines()]


class Site:
    """The service of one publisher with one authorized node, and clients that ask it from threads."""

    def __init__(self, reactor: Any, spin: Spin, journal: Journal, key: PrivateKey, folder: Path) -> None:
        self.journal, self.key = journal, key
        self.identity = Identity("mirror.example.org", "org.example", "prod")
        (folder / "nodes").write_text(f"{key.public.line} {NODE}\n")
        bus = MemoryBus(immediate=True)
        self.heard: list[tuple[bytes, bytes]] = []
        bus.receiver([b""], lambda topic, body: self.heard.append((topic, body))).start()
        reports = Reports(
            nodes=AuthorizedNodes(folder / "nodes"),
            identity=self.identity,
            trees=("debian", "fedora"),
            sender=bus.sender(),
            clock_ms=lambda: START_MS,
        )
        self.renewed = 0
        proofs = Proofs(
            journal=journal,
            keys=SingleKey(key),
            identity=self.identity,
            clock_ms=lambda: START_MS,
            renewed=self._count_renewal,
        )
        self.answers = Answers(
            journal, SingleKey(key), self.identity, ("debian", "fedora"), reports, proofs, lambda: START_MS
        )
        self.port = reactor.listenTCP(0, ServiceFactory(reactor, self.answers), interface="127.0.0.1")
        self.address = ("127.0.0.1", self.port.getHost().port)
        self._spin = spin
        self._pool = ThreadPoolExecutor(4)

    def _count_renewal(self) -> None:
        self.renewed += 1

    def announce(self, *lists: ChangeList | None, tree: str = "debian", sent: bool = True) -> None:
        for changes in lists:
            self.journal.announce(Announcement(self.identity, tree, changes))
        if sent:
            rows = self.journal.unsent(1000)
            signed = [SentUpdate(row.position, self.key.sign(row.signed), self.key.public.line) for row in rows]
            self.journal.mark_sent(signed, sent_ms=START_MS)

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a blocking client in a thread, while the reactor turns in this one."""
        running = self._pool.submit(function, *arguments)
        self._spin(running.done)
        return running.result()

    def ask(self, address: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Reply:
        return self.run(self.ask_here, address, method, body, headers)  # type: ignore[no-any-return]  # as it is given

    def ask_here(
        self, address: str, method: str, body: bytes | None, headers: dict[str, str], source: str = "127.0.0.1"
    ) -> Reply:
        """Ask in the thread that calls, from an address of loopback."""
        client = http.client.HTTPConnection(*self.address, timeout=15, source_address=(source, 0))
        try:
            client.request(method, address, body, headers)
            answer = client.getresponse()
            return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            client.close()

    def updates(self, after: int, more: str = "", tree: str = "debian") -> Reply:
        return self.ask(f"/v1/trees/{tree}/updates?epoch={self.journal.epoch}&after={after}{more}")

    def close(self) -> None:
        stopped = self.port.stopListening()
        self._spin(lambda: stopped.called)
        self._pool.shutdown()


@pytest.fixture
def site(reactor: Any, spin: Spin, journal: Journal, key: PrivateKey, tmp_path: Path) -> Iterator[Site]:
    site = Site(reactor, spin, journal, key, tmp_path)
    yield site
    site.close()


def test_updates_come_one_a_line_and_each_verifies_by_itself(site: Site) -> None:
    """History is the signed messages, oldest first, chained, without the inline list a second time."""
    site.announce(SMALL, None, SMALL)
    reply = site.updates(0)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/x-ndjson")
    assert [set(line) for line in reply.lines()] == [{"update", "list"}] * 3
    assert [line["list"] for line in reply.lines()] == [None] * 3
    envelopes = [open_envelope_object(line["update"]) for line in reply.lines()]
    assert all(verify_envelope(envelope, [site.key.public]) for envelope in envelopes)
    updates = [parse_update(envelope.msg) for envelope in envelopes]
    assert [(update.serial, update.changes) for update in updates] == [(1, SMALL), (2, None), (3, SMALL)]
    assert [update.previous_digest for update in updates[1:]] == [digest(e.signed) for e in envelopes[:-1]]
    assert "server" not in reply.headers


def test_a_list_that_was_not_inline_comes_with_its_update(site: Site) -> None:
    """A long list follows its header on the same line, and is the one that the header vouches for."""
    site.announce(SMALL, LARGE, SMALL)
    lines = site.updates(0).lines()
    assert [line["list"] is None for line in lines] == [True, False, True]
    update = parse_update(open_envelope_object(lines[1]["update"]).msg)
    assert update.changes is None
    assert digest(canonical(lines[1]["list"])) == update.list_digest == list_digest(LARGE)
    assert parse_changes(lines[1]["list"]) == LARGE


@pytest.mark.parametrize(
    ("after", "more", "serials"),
    [(0, "", [1, 2, 3, 4]), (2, "", [3, 4]), (1, "&limit=2", [2, 3]), (4, "", []), (99, "", [])],
)
def test_updates_are_those_after_a_serial(site: Site, after: int, more: str, serials: list[int]) -> None:
    """A client gets what it has not heard, as many as it asks for; nothing when it is not behind."""
    site.announce(*[SMALL] * 4)
    site.announce(SMALL, tree="fedora")
    reply = site.updates(after, more)
    assert reply.status == 200
    assert [line["update"]["msg"]["serial"] for line in reply.lines()] == serials


def test_what_is_not_sent_yet_is_not_told(site: Site) -> None:
    """History, state and lists tell nothing that was not on the bus."""
    site.announce(SMALL)
    site.announce(LARGE, sent=False)
    assert len(site.updates(0).lines()) == 1
    assert parse_state(open_envelope(site.ask("/v1/trees/debian?nonce=12345678").body).msg).head.serial == 1
    assert site.ask(f"/v1/trees/debian/lists/{list_digest(LARGE)}").status == 404


def test_a_long_history_takes_several_questions(site: Site) -> None:
    """One answer has as many updates as were asked for; the next question goes on after the last of them."""
    site.announce(*[None] * 13)
    first = [line["update"]["msg"]["serial"] for line in site.updates(0, "&limit=10").lines()]
    second = [line["update"]["msg"]["serial"] for line in site.updates(first[-1]).lines()]
    assert first + second == list(range(1, 14)) and len(first) == 10


def test_updates_of_another_epoch_are_gone(site: Site) -> None:
    """Whoever heard another journal is sent to the signed state, in plain words."""
    site.announce(SMALL)
    reply = site.ask("/v1/trees/debian/updates?epoch=1-00000000&after=0")
    assert (reply.status, reply.headers["content-type"]) == (410, "text/plain; charset=utf-8")
    assert b"nonce" in reply.body


@pytest.mark.parametrize("changes", [SMALL, LARGE])
def test_a_list_is_served_by_its_digest_for_ever(site: Site, changes: ChangeList) -> None:
    """The list is the canonical JSON, whether it was inline or not, and any cache may keep it."""
    site.announce(changes)
    reply = site.ask(f"/v1/trees/debian/lists/{list_digest(changes)}")
    assert reply.status == 200 and digest(reply.body) == list_digest(changes)
    assert int(reply.headers["content-length"]) == len(reply.body)
    assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert site.ask(f"/v1/trees/fedora/lists/{list_digest(changes)}").status == 404


def test_the_state_is_signed_and_echoes_the_nonce(site: Site) -> None:
    """Only a fresh answer has the nonce, and no cache may keep it."""
    site.announce(SMALL, SMALL)
    reply = site.ask("/v1/trees/debian?nonce=fresh-12345")
    envelope = open_envelope(reply.body)
    verify_envelope(envelope, [site.key.public])
    assert envelope.topic == "org.example.prod.pushmirror.tree.state"
    state = parse_state(envelope.msg)
    assert (state.nonce, state.tree, state.oldest) == ("fresh-12345", "debian", 1)
    assert state.head == site.journal.head("debian") and state.head.serial == 2
    assert reply.headers["cache-control"] == "no-store"


def test_the_state_of_a_tree_without_updates_says_so(site: Site) -> None:
    """Serial 0 and oldest 0: there is nothing to fetch."""
    state = parse_state(open_envelope(site.ask("/v1/trees/fedora?nonce=12345678").body).msg)
    assert (state.head, state.oldest) == (Head(site.journal.epoch, 0, None), 0)


@pytest.mark.parametrize("path", ["", "/updates?epoch=1-a&after=0", "/lists/" + "0" * 64])
def test_a_tree_that_is_not_published_is_not_found(site: Site, path: str) -> None:
    """Every question about an unknown tree has the same answer."""
    address = f"/v1/trees/arch{path}" if path else "/v1/trees/arch?nonce=12345678"
    assert site.ask(address).status == 404


@pytest.mark.parametrize(
    ("address", "method", "status"),
    [
        ("/", "GET", 404),
        ("/v1/trees/debian", "GET", 400),
        ("/v1/trees/debian?nonce=12345678", "POST", 405),
        ("/v1/reports", "GET", 405),
        ("/v1/headers", "GET", 405),
        ("/v1/trees/debian/updates?epoch=x&after=-1", "GET", 400),
        ("/v1/trees/debian/updates?epoch=x&after=" + "9" * 1500, "GET", 400),
        ("/v1/trees/debian/updates?epoch=x&after=" + "9" * 3000, "GET", 414),
    ],
)
def test_anything_else_is_a_plain_short_error(site: Site, address: str, method: str, status: int) -> None:
    """An error is one line of text."""
    reply = site.ask(address, method)
    assert reply.status == status
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert 0 < len(reply.body) < 200 and reply.body.endswith(b"\n")
    assert status != 405 or reply.headers["allow"] in ("POST", "GET, HEAD")


@pytest.mark.parametrize(
    "address", ["?nonce=12345678", "/updates?epoch={epoch}&after=0", "/lists/{digest}", "/nonsense"]
)
def test_head_is_get_without_a_body(site: Site, address: str) -> None:
    """HEAD has the status and the headers of GET and nothing else, and the connection can be used again."""
    site.announce(LARGE)
    address = "/v1/trees/debian" + address.format(epoch=site.journal.epoch, digest=list_digest(LARGE))
    head, get = site.ask(address, "HEAD"), site.ask(address)
    assert (head.status, head.body) == (get.status, b"")
    assert head.headers.get("content-length") == get.headers.get("content-length")
    assert head.headers["content-type"] == get.headers["content-type"]


def test_a_connection_can_be_kept_for_several_questions(site: Site) -> None:
    """A client that has much to fetch needs one connection."""
    site.announce(SMALL, LARGE)
    epoch = site.journal.epoch

    def ask_thrice() -> list[int]:
        client = http.client.HTTPConnection(*site.address, timeout=15)
        statuses = []
        for path in (f"updates?epoch={epoch}&after=0", f"lists/{list_digest(LARGE)}", "nonsense"):
            client.request("GET", f"/v1/trees/debian/{path}")
            answer = client.getresponse()
            answer.read()
            statuses.append(answer.status)
        client.close()
        return statuses

    assert site.run(ask_thrice) == [200, 200, 404]


def report_body(site: Site, node: str = NODE) -> bytes:
    report = Report(Event.STARTED, node, "mirror.example.org", "debian", None, -1, -1, "whole")
    signed = site.identity.compose("sync.started", format_report(report), at_ms=START_MS, counter=1)
    return seal(signed, site.key)


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded"])
def test_a_report_that_is_believed_goes_on_the_bus(site: Site, content_type: str) -> None:
    """A taken report is answered with nothing, whatever the client calls its content."""
    body = report_body(site)
    reply = site.ask("/v1/reports", "POST", body, **{"Content-Type": content_type})
    assert (reply.status, reply.body) == (204, b"")
    assert site.heard == [(b"org.example.prod.pushmirror.sync.started", body)]


def test_a_report_that_is_not_believed_is_refused_with_its_reason(site: Site) -> None:
    """A stranger is told that the node is unknown, nonsense that it is none; nothing goes on the bus."""
    assert site.ask("/v1/reports", "POST", report_body(site, "t3.example.net")).status == 403
    assert site.ask("/v1/reports", "POST", b"nonsense").status == 400
    assert site.ask("/v1/reports", "POST", b"").status == 400
    assert site.heard == []


@pytest.mark.parametrize("size_bytes", [MAX_BODY_BYTES + 1, 500_000])
@pytest.mark.parametrize("declared", [True, False])
def test_a_report_that_is_too_large_is_refused_without_being_kept(site: Site, size_bytes: int, declared: bool) -> None:
    """The limit holds for a declared length and for a body in chunks."""
    body: Any = b"x" * size_bytes if declared else iter([b"x" * 1000] * (size_bytes // 1000 + 1))
    assert site.ask("/v1/reports", "POST", body).status == 413


def test_a_header_that_is_shown_is_held_against_the_journal(site: Site) -> None:
    """One that the journal holds changes nothing; one that it cannot have had gives it a new epoch, once."""
    site.announce(SMALL)
    (row,) = site.journal.updates_after("debian", 0, 1)
    before = site.journal.epoch
    assert (site.ask("/v1/headers", "POST", row.envelope()).status, site.journal.epoch) == (204, before)
    message = parse_object(row.signed, max_bytes=1 << 20)
    later = {**message["msg"], "serial": 2, "previous": 1, "previous_digest": "0" * 64}
    body = seal(site.identity.compose("tree.updated", later, at_ms=START_MS, counter=2), site.key)
    assert site.ask("/v1/headers", "POST", body.replace(b'"serial":2', b'"serial":3')).status == 403
    assert (site.renewed, site.journal.epoch) == (0, before)
    for _ in range(2):
        assert site.ask("/v1/headers", "POST", body).status == 204
    assert site.renewed == 1 and site.journal.epoch != before
    assert site.ask(f"/v1/trees/debian/updates?epoch={before}&after=0").status == 410
    state = site.ask("/v1/trees/debian?nonce=12345678")
    assert parse_state(state.json()["msg"]).head == Head(site.journal.epoch, 0, None)


def test_forged_headers_of_a_stranger_do_not_keep_out_a_proof_of_somebody_else(site: Site) -> None:
    """Each names the publisher's key, so that its signature has to be checked: the stranger has a share of that, and
    what a node shows from another address is looked at."""
    site.announce(SMALL)
    (row,) = site.journal.updates_after("debian", 0, 1)
    later = {
        **parse_object(row.signed, max_bytes=1 << 20)["msg"],
        "serial": 2,
        "previous": 1,
        "previous_digest": "0" * 64,
    }
    body = seal(site.identity.compose("tree.updated", later, at_ms=START_MS, counter=2), site.key)
    forged = body.replace(b'"serial":2', b'"serial":3')

    def flood() -> list[int]:
        return [
            site.ask_here("/v1/headers", "POST", forged, {}, "127.0.0.2").status
            for _ in range(int(SIGNATURES_AT_ONCE * 1.5))
        ]

    statuses = site.run(flood)
    assert set(statuses) == {403, 429}
    assert site.ask("/v1/headers", "POST", body).status == 204
    assert site.renewed == 1 and statuses.count(403) < SIGNATURES_AT_ONCE / 2


def test_a_header_may_be_as_long_as_its_inline_list_makes_it(site: Site) -> None:
    """Its limit is that of a message with a list; beyond that it is refused like a report that is too large."""
    paths = tuple(TreePath(b"%06d/%s" % (number, b"x" * 90)) for number in range(600))
    site.announce(ChangeList(changed=paths))
    (row,) = site.journal.updates_after("debian", 0, 1)
    assert row.inline and len(row.envelope()) > 3 * MAX_BODY_BYTES
    assert site.ask("/v1/headers", "POST", row.envelope()).status == 204
    assert site.ask("/v1/headers", "POST", b"x" * (MAX_HEADER_BYTES + 1)).status == 413
    assert site.ask("/v1/reports", "POST", row.envelope()).status == 413


def talk(site: Site, request: bytes, *, read_bytes: int = 1 << 20) -> bytes:
    """Send raw bytes and return what comes back until the other side closes."""
    with socket.create_connection(site.address, timeout=15) as connection:
        connection.sendall(request)
        received = b""
        while len(received) < read_bytes and (piece := connection.recv(65536)):
            received += piece
        return received


def test_a_body_without_end_is_refused_before_it_is_sent(site: Site) -> None:
    """A client that announces gigabytes is told at once, and is not asked to go on."""
    head = b"POST /v1/reports HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9999999999\r\n\r\n"
    answer = site.run(talk, site, head)
    assert answer.startswith(b"HTTP/1.1 413 ") and b"100 Continue" not in answer


def test_a_body_in_endless_chunks_is_cut_off(site: Site) -> None:
    """A client that does not stop sending loses its connection."""
    head = b"POST /v1/reports HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"

    def flood() -> str:
        with socket.create_connection(site.address, timeout=15) as connection:
            try:
                connection.sendall(head)
                for _ in range(1000):
                    connection.sendall(chunk)
            except OSError:
                return "cut off"
        return "taken"

    assert 1000 * len(chunk) > 10 * MAX_DISCARDED_BYTES
    assert site.run(flood) == "cut off"


@pytest.mark.parametrize(
    "request_line", [b"\r\n\r\n", b"GET\r\n\r\n", b"\xff\xff\xff\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"]
)
def test_bytes_that_are_no_request_harm_nobody(site: Site, request_line: bytes) -> None:
    """After nonsense on one connection the next client is served."""

    def send() -> None:
        with socket.create_connection(site.address, timeout=15) as connection:
            connection.sendall(request_line)

    site.run(send)
    assert site.ask("/v1/trees/debian?nonce=12345678").status == 200


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /v1/trees/debian?nonce=12345678 HTTP/1.0", 200),
        (b"HEAD /v1/trees/debian?nonce=12345678 HTTP/1.0", 200),
        (b"GET http://elsewhere.example/v1/trees/debian?nonce=12345678 HTTP/1.0", 404),
        (b"GET //v1/trees/debian?nonce=12345678 HTTP/1.0", 404),
        (b"GET /v1/trees/../trees/debian?nonce=12345678 HTTP/1.0", 404),
        (b"OPTIONS * HTTP/1.0", 404),
        (b"CONNECT elsewhere.example:443 HTTP/1.0", 404),
        (b"BREW /v1/trees/debian?nonce=12345678 HTTP/1.0", 405),
    ],
)
def test_odd_forms_of_a_request_get_a_plain_answer(site: Site, request_line: bytes, status: int) -> None:
    """Old versions, other methods, and the forms of a request that are for proxies: this is none."""
    head, _, body = site.run(talk, site, request_line + b"\r\n\r\n").partition(b"\r\n\r\n")
    assert head.split()[1] == str(status).encode()
    assert (body == b"") == request_line.startswith(b"HEAD")


def test_requests_that_come_all_at_once_are_answered_in_their_order(site: Site) -> None:
    """Pipelining works, one answer after the other."""
    site.announce(SMALL)
    asked = [f"/v1/trees/debian?nonce=12345678-{number:04}" for number in range(300)]
    requests = [f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n" for path in asked]
    answers = site.run(talk, site, "".join(requests).encode() + b"GET / HTTP/1.0\r\n\r\n")
    assert re.findall(rb'"nonce":"12345678-(\d+)"', answers) == [b"%04d" % number for number in range(300)]


def test_a_slow_client_gets_everything_and_holds_up_nobody(site: Site) -> None:
    """A client that reads slowly gets everything, and others are served meanwhile."""
    site.announce(*[ChangeList(changed=LARGE.changed[number:]) for number in range(2)])

    epoch = site.journal.epoch

    def start() -> socket.socket:
        connection = socket.create_connection(site.address, timeout=15)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.sendall(f"GET /v1/trees/debian/updates?epoch={epoch}&after=0 HTTP/1.0\r\n\r\n".encode())
        return connection

    slow: socket.socket = site.run(start)
    assert site.ask("/v1/trees/debian?nonce=12345678").status == 200

    def drain() -> bytes:
        with slow, slow.makefile("rb") as file:
            return file.read()

    _, _, body = site.run(drain).partition(b"\r\n\r\n")
    assert [json.loads(line)["update"]["msg"]["serial"] for line in body.splitlines()] == [1, 2]


class Transport:
    """The end of a connection that takes what it is given; `aborted` once it was cut off."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class Request:
    """What a stream writes to, in the form of Twisted's requests; full after the first write, as a buffer can be, or
    after each."""

    def __init__(self, *, always_full: bool = False) -> None:
        self.always_full = always_full
        self.transport = Transport()
        self.written: list[bytes] = []
        self.ended = False
        self.producer: Any = None

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        self.written.append(data)
        if self.always_full or len(self.written) == 1:
            self.producer.pauseProducing()

    def finish(self) -> None:
        self.ended = True


LIMITS = Limits(stall_s=30, answer_s=100)


def test_a_client_that_stops_reading_is_cut_off() -> None:
    """A stream that is paused for too long ends its connection, and holds no timer afterwards."""
    clock, request = Clock(), Request()
    Stream(clock, request, iter([b"x" * 70_000] * 10), Visitors(clock, LIMITS)).start()
    clock.advance(0)
    clock.advance(29)
    assert len(request.written) == 1 and not request.transport.aborted
    clock.advance(1)
    assert request.transport.aborted and not request.ended
    assert clock.getDelayedCalls() == []


def test_a_client_that_reads_again_gets_the_rest() -> None:
    """A pause that ends in time costs nothing."""
    clock, request = Clock(), Request()
    Stream(clock, request, iter([b"x" * 60_000] * 3), Visitors(clock, LIMITS)).start()
    clock.advance(0)
    clock.advance(29)
    assert len(request.written) == 1
    request.producer.resumeProducing()
    clock.pump([0, 0, 30])
    assert len(request.written) == 3 and request.ended and not request.transport.aborted
    assert clock.getDelayedCalls() == []


def test_a_client_that_takes_little_at_a_time_does_not_get_for_ever() -> None:
    """Whoever takes a piece now and then is cut off when the time for a whole answer is over."""
    clock, request = Clock(), Request(always_full=True)
    Stream(clock, request, iter([b"x" * 60_000] * 99), Visitors(clock, LIMITS)).start()
    while not request.transport.aborted:
        assert clock.seconds() < 100
        request.producer.resumeProducing()
        clock.advance(0)
        clock.advance(20)
    assert clock.seconds() == 100 and len(request.written) == 5 and not request.ended
    assert clock.getDelayedCalls() == []


def test_a_large_part_is_written_in_pieces() -> None:
    """The time in which a piece has to be taken is for 64 KiB, however the journal cut the list."""
    clock, request = Clock(), Request()
    Stream(clock, request, iter([b"x" * 200_000]), Visitors(clock, LIMITS)).start()
    clock.advance(0)
    request.producer.resumeProducing()
    clock.pump([0] * 5)
    assert request.ended
    assert [len(piece) for piece in request.written] == [*[PIECE_BYTES] * 3, 200_000 - 3 * PIECE_BYTES]


def test_short_parts_are_written_together() -> None:
    """Ten thousand lines are not ten thousand writes."""
    clock, request = Clock(), Request()
    Stream(clock, request, (b"%09d\n" % number for number in range(10_000)), Visitors(clock, LIMITS)).start()
    clock.advance(0)
    request.producer.resumeProducing()
    clock.pump([0] * 5)
    assert request.ended
    assert b"".join(request.written) == b"".join(b"%09d\n" % number for number in range(10_000))
    assert [len(piece) for piece in request.written] == [PIECE_BYTES, 100_000 - PIECE_BYTES]


def test_an_answer_that_fails_half_way_is_not_taken_for_a_whole_one() -> None:
    """When the journal fails in the middle the connection breaks off, and the answer is never finished."""

    def fail() -> Iterator[bytes]:
        yield b"half"
        raise OSError("the disk is gone")

    clock, request = Clock(), Request()
    Stream(clock, request, fail(), Visitors(clock, LIMITS)).start()
    clock.advance(0)
    request.producer.resumeProducing()
    clock.advance(0)
    assert request.transport.aborted and not request.ended

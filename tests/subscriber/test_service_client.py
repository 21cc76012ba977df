"""The client of a publisher's service, against real servers that are honest, broken, endless or silent."""

from __future__ import annotations

import gc
import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from pushmirror.core.lists import format_changes
from pushmirror.core.messages import STATE, format_state
from pushmirror.core.model import ChangeList, Head, TreeState
from pushmirror.core.paths import TreePath
from pushmirror.core.wire import MAX_MESSAGE_BYTES, canonical
from pushmirror.errors import BadSignature, MalformedMessage, PushmirrorError, ServiceError
from pushmirror.http.agent import MAX_HEAD_BYTES
from pushmirror.http.answers import Answer
from pushmirror.http.questions import Question, Refusal, ReportQuestion, StateQuestion, UpdatesQuestion
from pushmirror.keys import seal
from pushmirror.subscriber.bodies import SILENT_TIMEOUT_S, Lines
from pushmirror.subscriber.records import HeardUpdate
from pushmirror.subscriber.service_client import MAX_QUESTIONS, MAX_WAITS, HistoryGone, ServiceClient
from tests.subscriber.upstream import (
    ENVIRONMENT,
    OTHER_TREE,
    PREFIX,
    PUBLISHER,
    START_MS,
    TREE,
    RawService,
    Upstream,
    make_key,
    put,
)
from tests.support.reactor import Spin

pytestmark = pytest.mark.slow

LARGE = ChangeList(changed=tuple(TreePath(b"pool/%08d/%s" % (number, b"x" * 80)) for number in range(3000)))
OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"


class Asking:
    """Asks with a real client and turns the reactor until there is an answer."""

    def __init__(self, reactor: Any, spin: Spin, upstream: Upstream, url: str | None = None, **more: Any) -> None:
        keys = [upstream.key.public]
        self.client = ServiceClient(
            reactor, url or upstream.url, PUBLISHER, lambda tree: keys, PREFIX, ENVIRONMENT, **more
        )
        self._spin = spin

    def result(self, coroutine: Any) -> Any:
        """Return what `coroutine` returns, or raise what it raises."""
        found: list[Any] = []
        Deferred.fromCoroutine(coroutine).addBoth(found.append)
        self._spin(lambda: found)
        if hasattr(found[0], "raiseException"):
            found[0].raiseException()
        return found[0]

    def state(self, tree: str = TREE) -> TreeState:
        return self.result(self.client.state(tree))  # type: ignore[no-any-return]  # what the question returns

    def updates(self, epoch: str, after: int) -> list[HeardUpdate]:
        taken: list[HeardUpdate] = []
        assert self.result(self.client.updates(TREE, epoch, after, taken.append)) == len(taken)
        return taken


@pytest.fixture
def asking(reactor: Any, spin: Spin, upstream: Upstream) -> Asking:
    return Asking(reactor, spin, upstream)


@pytest.fixture
def raw(reactor: Any, spin: Spin) -> Iterator[RawService]:
    site = RawService(reactor, OK)
    yield site
    stopped = site.stop()
    spin(lambda: stopped.called)


def sockets() -> int:
    """Return how many sockets this process has open."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        except FileNotFoundError:
            continue
    return found


def test_updates_come_in_order_and_with_their_lists(asking: Asking, upstream: Upstream) -> None:
    """Inline lists, long lists that travel beside the header, and whole trees."""
    upstream.announce(put("a"), LARGE, None)
    found = asking.updates(upstream.journal.epoch, 0)
    assert [(item.update.serial, item.changes) for item in found] == [(1, put("a")), (2, LARGE), (3, None)]
    assert found[-1].digest == upstream.head().digest
    assert asking.updates(upstream.journal.epoch, 3) == []


def test_the_state_is_the_publishers_word(asking: Asking, upstream: Upstream) -> None:
    """Epoch, serial, digest and the oldest serial kept."""
    assert asking.state().head == Head(upstream.journal.epoch, 0, None)
    upstream.announce(put("a"), put("b"))
    state = asking.state()
    assert (state.head, state.oldest) == (upstream.head(), 1)


def test_history_that_is_not_kept_is_gone(asking: Asking, upstream: Upstream) -> None:
    """Of another epoch, for example."""
    with pytest.raises(HistoryGone):
        asking.updates("1500000000000-0123456789abcdef", 0)


def test_a_tree_that_is_not_published_is_a_service_error(asking: Asking) -> None:
    """The answer 404 is no state."""
    with pytest.raises(ServiceError, match="answered 404"):
        asking.state("unknown")


def state_body(
    upstream: Upstream, question: Question, *, kind: str = STATE, key: Any = None, **replaced: Any
) -> Answer:
    """Return a signed answer to a question for a state, in which some fields are not what they should be."""
    assert isinstance(question, StateQuestion)
    fields = {
        "publisher": PUBLISHER, "tree": question.tree, "head": Head(upstream.journal.epoch, 0, None), "oldest": 0,
        "nonce": question.nonce,
    }  # fmt: skip
    state = TreeState(**{**fields, **replaced})
    signed = upstream.identity.compose(kind, format_state(state), at_ms=START_MS, counter=1)
    return Answer("application/json", "no-store", iter([seal(signed, key or upstream.key)]))


@pytest.mark.parametrize(
    "replaced",
    [
        {"nonce": "another-nonce-of-somebody"},
        {"tree": OTHER_TREE},
        {"publisher": "t9.example.org"},
        {"kind": "tree.updated"},
        {"head": Head("0-not-an-epoch", 0, None)},
        {"head": Head("1790000000000-0123456789abcdef", 3, None)},
    ],
    ids=str,
)
def test_a_state_that_answers_another_question_is_not_believed(
    asking: Asking, upstream: Upstream, replaced: dict[str, Any]
) -> None:
    """It may be properly signed: a wrong nonce, tree, publisher, topic, epoch or a serial without a digest."""
    upstream.service.lie = lambda question: state_body(upstream, question, **replaced)
    with pytest.raises(MalformedMessage):
        asking.state()


def test_a_state_that_another_key_signed_is_not_believed(asking: Asking, upstream: Upstream, tmp_path: Path) -> None:
    """Only the keys of that upstream count."""
    other = make_key(tmp_path, "other")
    upstream.service.lie = lambda question: state_body(upstream, question, key=other)
    with pytest.raises(BadSignature):
        asking.state()


def lines(*bodies: bytes) -> Answer:
    """Return an answer of these lines."""
    return Answer("application/x-ndjson", "no-cache", iter([body + b"\n" for body in bodies]))


def entry(envelope: bytes, changes: ChangeList | None = None) -> bytes:
    """Return a line of the history."""
    return b'{"update":' + envelope + b',"list":' + (canonical(format_changes(changes)) if changes else b"null") + b"}"


def test_bad_lines_of_history_are_not_believed_and_the_good_ones_before_them_count(
    asking: Asking, upstream: Upstream, tmp_path: Path
) -> None:
    """Not JSON, unsigned, another key, another tree, a list that the header does not vouch for, no list at all."""
    (small,) = upstream.announce(put("a"))
    (large,) = upstream.announce(LARGE)
    (foreign,) = upstream.announce(put("a"), tree=OTHER_TREE)
    other = make_key(tmp_path, "other")
    state = seal(upstream.identity.compose(STATE, upstream.message(small), at_ms=1, counter=1), upstream.key)
    bad = [
        b"not JSON",
        b"[]",
        b"{}",
        b'{"update":{}}',
        entry(small.signed),
        entry(seal(small.signed, other)),
        entry(small.envelope().replace(b'"serial":1', b'"serial":2')),
        entry(foreign.envelope()),
        entry(state),
        entry(large.envelope()),
        entry(large.envelope(), put("something else")),
        entry(large.envelope()).replace(b"null", b'{"changed":["../../etc/passwd"],"deleted":[],"directories":[]}'),
    ]
    for line in bad:
        upstream.service.lie = lambda question, line=line: lines(entry(small.envelope()), line)
        taken: list[HeardUpdate] = []
        with pytest.raises(MalformedMessage):
            asking.result(asking.client.updates(TREE, upstream.journal.epoch, 0, taken.append))
        assert [item.update.serial for item in taken] == [1], line


def test_an_answer_that_breaks_off_is_an_error_and_what_came_before_counts(
    reactor: Any, spin: Spin, upstream: Upstream, raw: RawService
) -> None:
    """A half line is no update."""
    first, second = upstream.announce(put("a"), put("b"))
    body = entry(first.envelope()) + b"\n" + entry(second.envelope())[:50]
    raw.head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + body
    asking = Asking(reactor, spin, upstream, raw.url)
    taken: list[HeardUpdate] = []
    with pytest.raises(ServiceError, match="broke off"):
        asking.result(asking.client.updates(TREE, upstream.journal.epoch, 0, taken.append))
    assert [item.update.serial for item in taken] == [1]


def test_what_the_taker_raises_reaches_who_asked(asking: Asking, upstream: Upstream) -> None:
    """Also from the last line, which needs no newline; the rest of the answer is not read."""
    upstream.announce(put("a"), put("b"))

    class Enough(PushmirrorError):
        pass

    def take(update: HeardUpdate) -> None:
        raise Enough

    with pytest.raises(Enough):
        asking.result(asking.client.updates(TREE, upstream.journal.epoch, 0, take))


def test_an_endless_state_is_cut_off(
    asking: Asking, reactor: Any, spin: Spin, upstream: Upstream, raw: RawService, caplog: pytest.LogCaptureFixture
) -> None:
    """The client takes little more than a message may have, ends the connection and says why."""
    raw.repeat = b"x" * 65536
    with pytest.raises(ServiceError, match="too long"):
        Asking(reactor, spin, upstream, raw.url).state()
    spin(lambda: not raw.open, 5)
    assert raw.sent_bytes < 64 * MAX_MESSAGE_BYTES
    assert not [record for record in caplog.records if record.exc_info]


def test_an_endless_refusal_is_not_read(reactor: Any, spin: Spin, upstream: Upstream, raw: RawService) -> None:
    """Its status is enough; the connection is closed."""
    raw.head = OK.replace(b"200 OK", b"500 No")
    raw.repeat = b"x" * 65536
    asking = Asking(reactor, spin, upstream, raw.url)
    with pytest.raises(ServiceError, match="answered 500"):
        asking.state()
    with pytest.raises(ServiceError, match="answered 500"):
        asking.result(asking.client.report(b"{}"))
    spin(lambda: not raw.open, 5)


def test_an_endless_header_is_cut_off(reactor: Any, spin: Spin, upstream: Upstream, raw: RawService) -> None:
    """A server that never comes to its body is not listened to for ever."""
    raw.head = b"HTTP/1.1 200 OK\r\n"
    raw.repeat = b"X-Header: " + b"x" * 60_000 + b"\r\n"
    with pytest.raises(ServiceError):
        Asking(reactor, spin, upstream, raw.url).state()
    spin(lambda: not raw.open, 5)


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate, gzip", b"br", b"no-such"])
def test_a_compressed_answer_is_not_taken(
    reactor: Any, spin: Spin, upstream: Upstream, raw: RawService, encoding: bytes
) -> None:
    """A few kilobytes that become gigabytes are nothing that anybody asked for; they are not unpacked."""
    body = gzip.compress(b"\n" * 1_000_000)
    raw.head = OK.replace(b"\r\n\r\n", b"\r\nContent-Encoding: %s\r\n\r\n" % encoding) + body
    with pytest.raises(ServiceError, match="compressed"):
        Asking(reactor, spin, upstream, raw.url).state()
    assert b"Accept-Encoding: identity" in raw.asked


@pytest.mark.parametrize("repeated", [b"\n", None], ids=["empty lines", "one update"])
def test_a_history_of_more_lines_than_were_asked_for_ends_with_the_first_that_is_too_much(
    reactor: Any, spin: Spin, upstream: Upstream, raw: RawService, repeated: bytes | None
) -> None:
    """What has more lines than were asked for costs no more than those."""
    (row,) = upstream.announce(put("a"))
    raw.repeat = (repeated or entry(row.envelope()) + b"\n") * 1000
    asking = Asking(reactor, spin, upstream, raw.url, page_updates=50)
    taken: list[HeardUpdate] = []
    with pytest.raises((ServiceError, MalformedMessage)):
        asking.result(asking.client.updates(TREE, upstream.journal.epoch, 0, taken.append))
    assert len(taken) <= 50
    spin(lambda: not raw.open, 5)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 301 Moved\r\nLocation: http://169.254.169.254/\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\nthis is not gzip",
        OK,
        OK + b"\xff\xfe",
        OK + b"[" * 60_000,
    ],
    ids=repr,
)
def test_nonsense_from_a_server_is_one_kind_of_error(
    reactor: Any, spin: Spin, upstream: Upstream, raw: RawService, head: bytes
) -> None:
    """Whatever a server says, the caller meets an error of ours; a redirection is not followed."""
    raw.head = head
    with pytest.raises((ServiceError, MalformedMessage)):
        Asking(reactor, spin, upstream, raw.url).state()
    assert raw.requests == 1


def test_a_service_that_is_not_there_is_a_service_error(reactor: Any, spin: Spin, upstream: Upstream) -> None:
    """Nobody listens."""
    stopped = upstream.stop()
    spin(lambda: stopped.called)
    with pytest.raises(ServiceError, match="did not answer"):
        Asking(reactor, spin, upstream).state()


def test_a_question_can_be_given_up_while_the_server_is_silent(
    reactor: Any, spin: Spin, upstream: Upstream, raw: RawService
) -> None:
    """The connection is closed at once."""
    raw.hang = True
    asked = Deferred.fromCoroutine(Asking(reactor, spin, upstream, raw.url).client.state(TREE))
    ended: list[Any] = []
    asked.addBoth(ended.append)
    spin(lambda: raw.requests)
    asked.cancel()
    spin(lambda: ended and not raw.open, 5)


@pytest.mark.parametrize("status", [403, 410, 500])
def test_answers_that_are_refusals_leave_no_connection_open(asking: Asking, upstream: Upstream, status: int) -> None:
    """Also when the answer has a body that nobody wants."""
    upstream.service.lie = lambda question: Refusal(status, "x" * 2000)
    gc.collect()
    gc.disable()
    try:
        before = sockets()
        for _ in range(10):
            with pytest.raises(ServiceError):
                asking.state()
            with pytest.raises(ServiceError):
                asking.result(asking.client.report(b"{}"))
        after = sockets()
    finally:
        gc.enable()
    assert after - before <= 4


def test_a_report_goes_where_reports_go(asking: Asking, upstream: Upstream) -> None:
    """One that is refused is a service error, which names the answer."""
    with pytest.raises(ServiceError, match="answered 4"):
        asking.result(asking.client.report(b"not a report"))
    assert upstream.service.bodies == [b"not a report"]
    assert isinstance(upstream.service.asked[-1], ReportQuestion)


def test_pages_are_asked_for_with_a_limit(reactor: Any, spin: Spin, upstream: Upstream) -> None:
    """A long history comes in pages."""
    upstream.announce(*[put("a")] * 25)
    assert len(Asking(reactor, spin, upstream, page_updates=20).updates(upstream.journal.epoch, 0)) == 20
    asked = upstream.service.asked[-1]
    assert isinstance(asked, UpdatesQuestion)
    assert asked.limit == 20


def test_whoever_asks_too_much_waits_as_long_as_it_is_told(
    reactor: Any, spin: Spin, upstream: Upstream, raw: RawService
) -> None:
    """429 is no answer: the question is asked again after Retry-After, and given up when that goes on."""
    raw.head = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
    asking = Asking(reactor, spin, upstream, raw.url)
    begun_s = reactor.seconds()
    with pytest.raises(ServiceError, match="asked too much"):
        asking.state()
    assert raw.requests == MAX_WAITS and reactor.seconds() - begun_s >= MAX_WAITS - 1


@pytest.mark.parametrize("repeated", [b"X-Header: x\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\n"])
def test_a_head_that_does_not_end_is_cut_off(
    reactor: Any, spin: Spin, upstream: Upstream, raw: RawService, repeated: bytes
) -> None:
    """However short its lines are, and after an interim answer as well."""
    raw.head = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n" if b"X-" in repeated else b""
    raw.repeat = repeated * 1000
    with pytest.raises(ServiceError):
        Asking(reactor, spin, upstream, raw.url).state()
    spin(lambda: not raw.open, 5)
    assert raw.sent_bytes < 20 * MAX_HEAD_BYTES


def test_no_more_than_a_few_questions_are_asked_at_once(
    reactor: Any, spin: Spin, upstream: Upstream, raw: RawService
) -> None:
    """Hundreds of trees wait for each other; what is given up makes room."""
    raw.hang = True
    client = Asking(reactor, spin, upstream, raw.url).client
    asked = [Deferred.fromCoroutine(client.state(f"tree-{number}")) for number in range(3 * MAX_QUESTIONS)]
    ended: list[Any] = []
    for question in asked:
        question.addBoth(ended.append)
    spin(lambda: raw.requests == MAX_QUESTIONS)
    for question in asked[:MAX_QUESTIONS]:
        question.cancel()
    spin(lambda: raw.requests == 2 * MAX_QUESTIONS and len(raw.open) == MAX_QUESTIONS)
    for question in asked[MAX_QUESTIONS:]:
        question.cancel()
    spin(lambda: len(ended) == len(asked) and not raw.open)


class Closing:
    """The end of a connection that can be closed."""

    closed = False

    def loseConnection(self) -> None:
        self.closed = True


def test_an_answer_that_stops_in_the_middle_is_given_up() -> None:
    """One that goes on is waited for, however slowly; after a silence it is left, and holds no timer."""
    clock, taken, transport = Clock(), [], Closing()
    lines = Lines(clock, taken.append, 1000, 100_000)
    ended: list[Any] = []
    lines.done.addErrback(ended.append)
    lines.makeConnection(transport)  # type: ignore[arg-type]  # all that is used of one
    for _ in range(20):
        clock.advance(SILENT_TIMEOUT_S - 1)
        lines.dataReceived(b"line\n")
    assert len(taken) == 20 and not ended
    clock.advance(SILENT_TIMEOUT_S)
    assert ended[0].check(ServiceError) and transport.closed and clock.getDelayedCalls() == []

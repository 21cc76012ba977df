"""Fetching what was missed: in few transactions, beside what the bus tells meanwhile, from servers of no help, too."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.protocol import Factory, Protocol

from pushmirror.core.model import ChangeList, Head
from pushmirror.http.answers import Answer
from pushmirror.http.questions import Question, StateQuestion, UpdatesQuestion
from pushmirror.subscriber.catching_up import HOLD_AT_MOST_MS, HOLD_WITHOUT_PROGRESS_MS
from pushmirror.subscriber.ledger import Ledger
from tests.subscriber.following import Following
from tests.subscriber.test_service_client import entry
from tests.subscriber.upstream import START_MS, TREE, Upstream, put
from tests.support.reactor import Spin

pytestmark = pytest.mark.slow

HURRY = 60
"""So many times faster do the timers of a test go that waits for a time limit."""
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n"


@pytest.fixture
def begun(following: Following, upstream: Upstream) -> Following:
    """Has serial 2 and everything before it."""
    upstream.announce(put("a"), put("b"))
    following.begin_at(upstream)
    return following


def count_commits(path: Path) -> int:
    """Return how many transactions stand in the write-ahead log of a database."""
    content, found = path.with_name(path.name + "-wal").read_bytes(), 0
    page_bytes = struct.unpack(">I", content[8:12])[0]
    salt = content[16:24]
    for offset in range(32, len(content) - 24, 24 + page_bytes):
        found += content[offset + 8 : offset + 16] == salt and content[offset + 4 : offset + 8] != bytes(4)
    return found


def streamed(*parts: bytes | Any) -> Answer:
    """Return an answer of lines, between which something is done: a part that can be called."""

    def produce() -> Iterator[bytes]:
        for part in parts:
            if callable(part):
                part()
            else:
                yield part + b"\n"

    return Answer("application/x-ndjson", "no-cache", produce())


def answer_once(upstream: Upstream, *parts: bytes | Any) -> None:
    """Let the first question for updates have this answer."""
    answers = [streamed(*parts)]
    upstream.service.lie = lambda question: (
        answers.pop() if isinstance(question, UpdatesQuestion) and answers else None
    )  # fmt: skip


def test_a_page_is_one_transaction(begun: Following, upstream: Upstream, tmp_path: Path) -> None:
    """However many updates it has; a job is woken once, at the end."""
    rows = upstream.announce(*[put("c")] * 150)
    before = count_commits(tmp_path / "ledger.sqlite")
    begun.hear(upstream.update_frames(rows[-1]))
    begun.turn_until_done()
    assert begun.pending == list(range(3, 153))
    assert count_commits(tmp_path / "ledger.sqlite") - before == 1
    assert begun.changed == [TREE]


def test_long_lists_are_recorded_as_they_come(begun: Following, upstream: Upstream, tmp_path: Path) -> None:
    """A page of five lists of 9,000 paths is never in memory as a whole."""
    long = ChangeList(changed=tuple(sorted(put(*(f"pool/{number}" for number in range(9000))).changed)))
    rows = upstream.announce(*[long] * 5)
    before = count_commits(tmp_path / "ledger.sqlite")
    begun.hear(upstream.update_frames(rows[-1]))
    begun.turn_until_done()
    assert begun.pending == [3, 4, 5, 6, 7]
    assert count_commits(tmp_path / "ledger.sqlite") - before == 2


def test_what_the_bus_tells_in_the_middle_of_a_page_is_taken_once(begun: Following, upstream: Upstream) -> None:
    """The next update, which the page has too, and one beyond the page."""
    rows = upstream.announce(put("c"), put("d"), put("e"), put("f"))
    entries = [entry(row.envelope()) for row in rows[:3]]
    answer_once(
        upstream, entries[0], entries[1], lambda: begun.hear(*begun.frames(upstream, rows[0], rows[3])), entries[2]
    )
    begun.hear(upstream.update_frames(rows[1]))
    begun.turn_until(lambda: begun.announced == 6)
    assert begun.pending == [3, 4, 5, 6]
    assert [update.changes for update in begun.ledger.pending(TREE)] == [put(name) for name in "cdef"]


def test_what_was_applied_in_the_middle_of_a_page_is_not_pending_again(begun: Following, upstream: Upstream) -> None:
    """The bus was faster, and so was the job."""
    rows = upstream.announce(put("c"), put("d"))

    def overtake() -> None:
        begun.hear(upstream.update_frames(rows[0]))
        begun.apply()

    answer_once(upstream, entry(rows[0].envelope()), overtake, entry(rows[1].envelope()))
    begun.hear(upstream.update_frames(rows[1]))
    begun.turn_until(lambda: begun.announced == 4)
    assert begun.pending == [4]
    assert begun.ledger.tree(TREE).applied == 3


def test_a_younger_epoch_in_the_middle_of_a_page_is_followed_once(begun: Following, upstream: Upstream) -> None:
    """Nothing of the old epoch is left pending after it, and the tree starts over a single time."""
    rows = upstream.announce(put("c"), put("d"))

    def begin_anew() -> None:
        upstream.new_journal(START_MS + 1)
        upstream.announce(put("x"))
        begun.hear(upstream.heartbeat_frames())

    answer_once(upstream, entry(rows[0].envelope()), begin_anew, entry(rows[1].envelope()))
    begun.hear(upstream.update_frames(rows[1]))
    begun.turn_until(lambda: begun.ledger.head(TREE) == upstream.head(), waiting=True)
    begun.turn()
    record = begun.ledger.tree(TREE)
    assert (record.head, begun.pending, record.generation) == (upstream.head(), [-1], 2)


def test_what_came_before_an_answer_broke_off_is_recorded_and_not_fetched_again(
    begun: Following, upstream: Upstream
) -> None:
    """The next question begins after it."""
    rows = upstream.announce(put("c"), put("d"), put("e"))
    answer_once(upstream, entry(rows[0].envelope()), entry(rows[1].envelope()), b"no line of ours")
    begun.hear(upstream.update_frames(rows[2]))
    begun.turn_until(lambda: begun.announced == 5, waiting=True)
    asked = [question.after for question in upstream.service.asked if isinstance(question, UpdatesQuestion)]
    assert asked[:2] == [2, 4]


def test_a_stop_keeps_what_came(begun: Following, upstream: Upstream) -> None:
    """Whole lines that were verified are not thrown away."""
    rows = upstream.announce(put("c"), put("d"), put("e"))
    last = b"x" * 200_000
    answer_once(upstream, entry(rows[0].envelope()), entry(rows[1].envelope()), last, begun.tracker.stop, last)
    begun.hear(upstream.update_frames(rows[2]))
    begun.turn_until(lambda: begun.announced > 2)
    assert begun.announced in (3, 4)


def watch_hold(reactor: Any, upstream: Upstream, ledger: Ledger, step_ms: int, updates: int) -> list[int | None]:
    """Return how long list jobs wait whenever a page of one update is asked for, `step_ms` after the one before."""
    found: list[int | None] = []
    following = Following(reactor, upstream, ledger, page_updates=1)
    following.begin_at(upstream)

    def look(question: Question) -> None:
        until_ms = following.tracker.catching_up_until_ms(TREE)
        found.append(None if until_ms is None else until_ms - following.time.now_ms)
        following.time.now_ms += step_ms

    rows = upstream.announce(*[put("c")] * updates)
    upstream.service.lie = look
    following.hear(upstream.update_frames(rows[-1]))
    following.turn_until_done()
    assert following.tracker.catching_up_until_ms(TREE) is None
    following.tracker.stop()
    return found


def test_list_jobs_wait_while_history_comes(reactor: Any, upstream: Upstream, ledger: Ledger) -> None:
    """So that all of it is one job; before the first update, and after the last, nothing waits."""
    found = watch_hold(reactor, upstream, ledger, 1000, 5)
    assert found == [None, *[HOLD_WITHOUT_PROGRESS_MS] * 5]


def test_list_jobs_do_not_wait_for_a_service_without_end(reactor: Any, upstream: Upstream, ledger: Ledger) -> None:
    """However regularly its updates come."""
    found = watch_hold(reactor, upstream, ledger, 9000, 50)
    held = sum(hold is not None for hold in found)
    assert HOLD_AT_MOST_MS // 9000 - 2 <= held <= HOLD_AT_MOST_MS // 9000
    assert found[-1] is None


def test_list_jobs_do_not_wait_for_an_update_a_minute(begun: Following, upstream: Upstream) -> None:
    """Ten seconds without one are enough."""
    rows = upstream.announce(put("c"), put("d"))
    holds: list[int | None] = []

    def look() -> None:
        begun.time.now_ms += HOLD_WITHOUT_PROGRESS_MS
        holds.append(begun.tracker.catching_up_until_ms(TREE))

    answer_once(upstream, entry(rows[0].envelope()), look, entry(rows[1].envelope()))
    begun.hear(upstream.update_frames(rows[1]))
    begun.turn_until_done()
    assert holds == [None]


# --- what is heard while a question is under way


def answer_late(upstream: Upstream, meanwhile: Callable[[], None]) -> None:
    """Let the next state be told as it was before something else happens."""
    todo = [meanwhile]

    def lie(question: Question) -> Answer | None:
        if not isinstance(question, StateQuestion) or not todo:
            return None
        told = upstream.service.honest.answer(question, b"")
        todo.pop()()
        assert isinstance(told, Answer)
        return told

    upstream.service.lie = lie


def test_what_is_heard_while_the_state_is_asked_for_is_fetched_at_once(begun: Following, upstream: Upstream) -> None:
    """The answer is older than that, and settles nothing of it; no heartbeat is waited for."""
    answer_late(upstream, lambda: begun.hear(upstream.update_frames(upstream.announce(put("c"), put("d"))[-1])))
    begun.tracker.ask_about_all()
    begun.turn_until(lambda: begun.announced == 4)
    assert begun.pending == [3, 4]
    begun.turn_until_done()
    assert [type(question) for question in upstream.service.asked].count(StateQuestion) == 1


def test_a_doubt_that_comes_up_while_the_state_is_asked_for_is_asked_about_too(
    begun: Following, upstream: Upstream
) -> None:
    """A heartbeat with another digest for the same serial: nothing has to be fetched, but it has to be settled."""
    forked = Head(upstream.journal.epoch, 2, "f" * 64)
    answer_late(upstream, lambda: begun.hear(upstream.heartbeat_frames({TREE: forked})))
    begun.tracker.ask_about_all()
    begun.turn_until_done()
    assert [type(question) for question in upstream.service.asked].count(StateQuestion) == 2
    assert begun.ledger.head(TREE) == upstream.head()


def test_a_head_that_is_heard_late_does_not_take_the_place_of_a_newer_one(begun: Following, upstream: Upstream) -> None:
    """The bus may change their order; a service that knows only the older one yet is asked again."""
    rows = upstream.announce(put("c"), put("d"), put("e"))
    first, second = (entry(row.envelope()) for row in rows[:2])
    answers = [streamed(lambda: begun.hear(upstream.update_frames(rows[1])), first, second), streamed()]
    upstream.service.lie = lambda question: (
        answers.pop(0) if isinstance(question, UpdatesQuestion) and answers else None
    )  # fmt: skip
    begun.hear(upstream.update_frames(rows[2]))
    begun.turn_until(lambda: begun.announced == 5, waiting=True)
    assert begun.pending == [3, 4, 5]


# --- servers that begin and do not end


class Dripping(Protocol):
    """Answers with `head` at once, and then with a byte a second."""

    def connectionMade(self) -> None:
        self.factory.opened += 1  # type: ignore[union-attr]  # the test's own

    def dataReceived(self, data: bytes) -> None:
        site: Any = self.factory
        self.transport.write(site.head)  # type: ignore[union-attr]  # it is connected
        self._call = site.reactor.callLater(1, self._drip)

    def _drip(self) -> None:
        site: Any = self.factory
        self.transport.write(b"x")  # type: ignore[union-attr]  # it is connected
        self._call = site.reactor.callLater(1, self._drip)

    def connectionLost(self, reason: object = None) -> None:
        self.factory.closed += 1  # type: ignore[union-attr]  # the test's own
        if hasattr(self, "_call") and self._call.active():
            self._call.cancel()


@contextlib.contextmanager
def hurried(reactor: Any) -> Iterator[None]:
    """Let all time limits end sooner."""
    call_later = reactor.callLater

    def call_sooner(delay_s: float, *rest: Any, **named: Any) -> Any:
        call = call_later(delay_s / HURRY, *rest, **named)
        reset = call.reset
        call.reset = lambda again_s: reset(again_s / HURRY)
        return call

    reactor.callLater = call_sooner
    try:
        yield
    finally:
        del reactor.callLater


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nX-A: ", OK], ids=["nothing", "header", "body"])
def test_a_server_that_drips_a_byte_a_second_is_left(
    reactor: Any, spin: Spin, upstream: Upstream, ledger: Ledger, head: bytes
) -> None:
    """Whether it drips a header or a body: after a minute at most it is asked again, and at last done without."""
    begun = Following(reactor, upstream, ledger)
    begun.begin_at(upstream)
    site: Any = Factory.forProtocol(Dripping)
    site.noisy, site.reactor, site.head, site.opened, site.closed = False, reactor, head, 0, 0
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    with hurried(reactor):
        following = Following(reactor, upstream, ledger, url=f"http://127.0.0.1:{port.getHost().port}")
        rows = upstream.announce(put("c"), put("d"))
        following.hear(upstream.update_frames(rows[-1]))
        following.turn_until_done(waiting=True)
        assert following.pending == [-2]
        assert site.opened == 6
        spin(lambda: site.closed == 6)
    stopped = port.stopListening()
    spin(lambda: stopped is None or stopped.called)


def test_a_server_that_hands_out_one_update_and_no_end_is_left_with_what_it_gave(
    reactor: Any, spin: Spin, upstream: Upstream, ledger: Ledger
) -> None:
    """Each try brings it on by what came; in the end there is nothing more to bring."""
    begun = Following(reactor, upstream, ledger)
    begun.begin_at(upstream)
    rows = upstream.announce(put("a"), put("b"), put("c"))
    site: Any = Factory.forProtocol(Dripping)
    site.noisy, site.reactor, site.opened, site.closed = False, reactor, 0, 0
    site.head = OK + entry(rows[0].envelope()) + b"\n"
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    with hurried(reactor):
        following = Following(reactor, upstream, ledger, url=f"http://127.0.0.1:{port.getHost().port}")
        following.hear(upstream.update_frames(rows[-1]))
        following.turn_until(lambda: following.announced == 1)
        assert following.pending == [1]
        following.turn_until_done(waiting=True)
        assert following.pending == [-3]
    stopped = port.stopListening()
    spin(lambda: stopped is None or stopped.called)

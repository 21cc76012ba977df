"""Following one tree: what was missed is fetched, what is not to be had is synced in full, all of it once."""

from __future__ import annotations

import itertools
import logging
import tracemalloc
from typing import Any

import pytest

from pushmirror.core.messages import epoch_order
from pushmirror.core.model import ChangeList, Head, Heartbeat, RelayHead
from pushmirror.core.paths import TreePath
from pushmirror.core.testimony import vouches
from pushmirror.http.answers import Answer
from pushmirror.http.questions import HeaderQuestion, Question, Refusal, StateQuestion, UpdatesQuestion
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.records import NEVER
from pushmirror.subscriber.tracker import FIRST_CONTACT_S
from tests.subscriber.following import Following
from tests.subscriber.test_service_client import entry, lines, state_body
from tests.subscriber.upstream import PUBLISHER, START_MS, TREE, RawService, Upstream, put
from tests.support.reactor import Spin

pytestmark = pytest.mark.slow

DOWN = Refusal(503, "out of order")
RETRIES_SECONDS = 55.0
LARGE = ChangeList(changed=tuple(TreePath(b"pool/%08d/%s" % (number, b"x" * 80)) for number in range(3000)))


@pytest.fixture
def begun(following: Following, upstream: Upstream) -> Following:
    """Has serial 2 and everything before it."""
    upstream.announce(put("a"), put("b"))
    following.begin_at(upstream)
    return following


def kinds(upstream: Upstream) -> list[str]:
    """Return what the service was asked: ``updates after N`` or ``state``."""
    return [
        f"updates after {question.after}" if isinstance(question, UpdatesQuestion) else "state"
        for question in upstream.service.asked
    ]


def lie_about(kind: type[Question], answer: Any) -> Any:
    """Return a lie that gives `answer`, or what it returns, to questions of one kind."""

    def lie(question: Question) -> Any:
        if not isinstance(question, kind):
            return None
        return answer(question) if callable(answer) else answer

    return lie


# --- what follows


def test_the_next_update_is_taken_without_a_question(begun: Following, upstream: Upstream) -> None:
    """The bus alone is enough."""
    begun.hear(*begun.frames(upstream, *upstream.announce(put("c"), None)))
    assert begun.pending == [3, -4]
    assert begun.changed == [TREE, TREE]
    begun.turn()
    assert upstream.service.asked == []


def test_a_list_that_does_not_fit_is_fetched(begun: Following, upstream: Upstream) -> None:
    """Its header says that it is next; the list comes from the history."""
    (row,) = upstream.announce(LARGE)
    begun.hear(upstream.update_frames(row))
    assert begun.announced == 2
    begun.turn_until(lambda: begun.announced == 3)
    assert begun.ledger.pending(TREE)[0].changes == LARGE


def test_a_gap_is_fetched(begun: Following, upstream: Upstream) -> None:
    """All that was missed becomes pending as lists, and the tree is not synced in full."""
    rows = upstream.announce(put("c"), None, put("d"), put("e"))
    begun.hear(upstream.update_frames(rows[-1]))
    begun.turn_until(lambda: begun.announced == 6)
    assert begun.pending == [3, -4, 5, 6]
    assert begun.ledger.tree(TREE).applied == 2


def test_a_heartbeat_shows_a_lost_last_message(begun: Following, upstream: Upstream) -> None:
    """Also when it is an old heartbeat's news by then."""
    upstream.announce(put("c"))
    begun.hear(upstream.heartbeat_frames())
    begun.turn_until(lambda: begun.announced == 3)
    assert begun.pending == [3]
    begun.turn_until_done()
    begun.hear(upstream.heartbeat_frames())
    begun.turn()
    assert kinds(upstream) == ["updates after 2", "updates after 3"]


def test_a_long_gap_is_fetched_in_pages(begun: Following, upstream: Upstream) -> None:
    """As many as it takes, and no job is woken before the last."""
    rows = upstream.announce(*[put("c")] * 450)
    begun.hear(upstream.update_frames(rows[-1]))
    begun.turn_until_done()
    assert begun.changed == [TREE]
    assert begun.pending == list(range(3, 453))
    assert kinds(upstream)[:3] == ["updates after 2", "updates after 202", "updates after 402"]


# --- at the start


def test_a_new_tree_learns_at_the_start_where_its_publisher_is(following: Following, upstream: Upstream) -> None:
    """The whole of it is pending at that serial, and its first sync waits for this answer."""
    upstream.announce(put("a"), put("b"))
    following.tracker.start()
    assert following.tracker.is_awaiting_head(TREE)
    following.turn_until_done()
    assert following.pending == [-2]
    assert (following.ledger.head(TREE), following.ledger.tree(TREE).applied) == (upstream.head(), NEVER)
    assert not following.tracker.is_awaiting_head(TREE)


def test_what_was_missed_while_the_daemon_did_not_run_is_fetched_at_the_start(
    begun: Following, upstream: Upstream, reactor: Any, ledger: Ledger
) -> None:
    """Without any word on the bus."""
    upstream.announce(put("c"), put("d"))
    again = Following(reactor, upstream, ledger)
    again.tracker.start()
    again.turn_until_done()
    assert again.pending == [3, 4]
    again.tracker.stop()


def test_a_start_with_nothing_missed_changes_nothing(
    begun: Following, upstream: Upstream, reactor: Any, ledger: Ledger
) -> None:
    """The question alone is no reason for a sync."""
    before = ledger.tree(TREE)
    again = Following(reactor, upstream, ledger)
    again.tracker.start()
    again.turn_until_done()
    assert ledger.tree(TREE) == before
    again.tracker.stop()


def test_a_first_sync_does_not_wait_for_ever_for_a_publisher_that_is_away(
    following: Following, upstream: Upstream
) -> None:
    """After a while it is done without it; nothing is made up about serials."""
    upstream.service.lie = lambda question: DOWN
    following.tracker.start()
    assert following.turn_until_done(waiting=True) == FIRST_CONTACT_S
    assert following.ledger.head(TREE) is None
    assert not following.tracker.is_awaiting_head(TREE)
    assert following.changed == [TREE]


# --- history that is gone, forks, epochs


def test_history_that_is_not_kept_any_more_means_a_full_sync(begun: Following, upstream: Upstream) -> None:
    """What is applied stays applied, because the publisher is still the same."""
    rows = upstream.announce(put("c"), put("d"), put("e"))
    upstream.forget(5)
    generation = begun.ledger.tree(TREE).generation
    begun.hear(upstream.update_frames(rows[-1]))
    begun.turn_until_done()
    assert begun.pending == [-5]
    record = begun.ledger.tree(TREE)
    assert (record.applied, record.generation) == (2, generation)
    assert kinds(upstream) == ["updates after 2", "state"]


def test_a_forked_journal_is_shown_the_proof_and_its_new_epoch_is_followed(
    begun: Following, upstream: Upstream
) -> None:
    """A backup was restored, and other updates got the serials that are known: one full sync, and not a second one."""
    epoch, backup = upstream.journal.epoch, upstream.backup()
    begun.hear(*begun.frames(upstream, *upstream.announce(put("c"), put("d"))))
    header = begun.ledger.header(TREE)
    begun.apply()
    upstream.restore(backup)
    rows = upstream.announce(put("x"), put("y"), put("z"))
    begun.changed.clear()
    begun.hear(upstream.update_frames(rows[-1]))
    begun.turn_until_done()
    assert upstream.service.bodies == [header]
    assert epoch_order(upstream.journal.epoch) > epoch_order(epoch)
    record = begun.ledger.tree(TREE)
    assert (record.head, begun.pending) == (upstream.head(), [0])
    assert (record.applied, record.generation) == (NEVER, 2)
    assert vouches(begun.ledger.header(TREE) or b"", TREE, upstream.head()), "what it says of itself now is kept"
    begun.hear(upstream.heartbeat_frames(), *begun.frames(upstream, *upstream.announce(put("w"))))
    begun.turn()
    assert (begun.ledger.tree(TREE).generation, begun.pending) == (2, [0, 1])


def test_a_proof_that_nobody_takes_changes_nothing_for_the_mirror(begun: Following, upstream: Upstream) -> None:
    """The whole tree is pending at what the publisher says, in the epoch that forked."""
    backup = upstream.backup()
    begun.hear(*begun.frames(upstream, *upstream.announce(put("c"), put("d"))))
    begun.apply()
    upstream.restore(backup)
    upstream.service.lie = lie_about(HeaderQuestion, DOWN)
    rows = upstream.announce(put("x"), put("y"), put("z"))
    begun.changed.clear()
    begun.hear(upstream.update_frames(rows[-1]))
    begun.turn_until_done()
    record = begun.ledger.tree(TREE)
    assert (record.head, begun.pending) == (upstream.head(), [-5])
    assert (record.applied, record.generation) == (NEVER, 2)


def test_a_fork_that_only_the_history_shows_is_one_too(
    begun: Following, upstream: Upstream, reactor: Any, ledger: Ledger
) -> None:
    """At a start, when the heads alone look like a gap."""
    backup = upstream.backup()
    begun.hear(*begun.frames(upstream, *upstream.announce(put("c"))))
    begun.apply()
    upstream.restore(backup)
    upstream.announce(put("x"), put("y"), put("z"))
    again = Following(reactor, upstream, ledger)
    again.tracker.start()
    again.turn_until_done()
    assert (ledger.head(TREE), again.pending) == (upstream.head(), [0])
    assert (ledger.tree(TREE).applied, len(upstream.service.bodies)) == (NEVER, 1)
    again.tracker.stop()


@pytest.mark.parametrize(
    "lists", [[], [put("x")], [put("x"), put("y")]], ids=["behind", "behind by one", "same serial"]
)
def test_a_heartbeat_shows_a_journal_that_went_back(
    begun: Following, upstream: Upstream, lists: list[ChangeList]
) -> None:
    """A serial below what was heard, or the same with another digest: a fresh state settles it."""
    backup = upstream.backup()
    begun.hear(*begun.frames(upstream, *upstream.announce(put("c"), put("d"))))
    begun.apply()
    upstream.restore(backup)
    if lists:
        upstream.announce(*lists)
    begun.hear(upstream.heartbeat_frames())
    begun.turn_until_done()
    assert begun.ledger.head(TREE) == upstream.head()
    assert begun.pending == [-upstream.head().serial]
    assert begun.ledger.tree(TREE).applied == NEVER


def test_a_doubt_outlives_a_question_that_failed(begun: Following, upstream: Upstream) -> None:
    """The state is asked for again, until there is one."""
    backup = upstream.backup()
    begun.hear(*begun.frames(upstream, *upstream.announce(put("c"))))
    upstream.restore(backup)
    upstream.announce(put("x"))
    states: list[Question] = []

    def fail_once(question: Question) -> Refusal | None:
        states.append(question)
        return DOWN if len(states) == 1 else None

    upstream.service.lie = lie_about(StateQuestion, fail_once)
    begun.hear(upstream.heartbeat_frames())
    begun.turn_until_done(waiting=True)
    assert begun.ledger.head(TREE) == upstream.head()


def test_a_history_with_a_hole_is_not_taken(begun: Following, upstream: Upstream) -> None:
    """The service leaves one out: what follows does not count, and when it stays so, the whole tree is synced."""
    rows = upstream.announce(put("c"), put("d"), put("e"))
    upstream.service.lie = lie_about(
        UpdatesQuestion, lambda question: lines(entry(rows[0].envelope()), entry(rows[2].envelope()))
    )
    begun.hear(upstream.update_frames(rows[-1]))
    assert begun.turn_until_done(waiting=True) >= RETRIES_SECONDS
    assert begun.pending == [-5]


def test_a_history_with_a_hole_once_costs_no_full_sync(begun: Following, upstream: Upstream) -> None:
    """One that is left out is no proof of another history: it is asked for again."""
    rows = upstream.announce(put("c"), put("d"), put("e"))
    holes = iter([lines(entry(rows[0].envelope()), entry(rows[2].envelope()))])
    upstream.service.lie = lie_about(UpdatesQuestion, lambda question: next(holes, None))
    begun.hear(upstream.update_frames(rows[-1]))
    begun.turn_until_done(waiting=True)
    assert begun.pending == [3, 4, 5]


@pytest.mark.parametrize("by", ["heartbeat", "update"])
@pytest.mark.parametrize("answers", [True, False])
def test_a_younger_epoch_makes_the_whole_tree_pending(
    begun: Following, upstream: Upstream, by: str, answers: bool
) -> None:
    """Even when its serials are lower, and also when nobody can be asked; a job that began before proves nothing."""
    upstream.new_journal(START_MS + 1)
    (row,) = upstream.announce(put("x"))
    upstream.service.lie = None if answers else lambda question: DOWN
    begun.hear(upstream.heartbeat_frames() if by == "heartbeat" else upstream.update_frames(row))
    begun.turn_until_done(waiting=True)
    record = begun.ledger.tree(TREE)
    assert (record.head, begun.pending, record.applied, record.generation) == (upstream.head(), [-1], NEVER, 2)


def test_a_younger_epoch_that_is_over_changes_nothing(following: Following, upstream: Upstream) -> None:
    """The publisher began anew with its clock set back; what it said before is sent again by somebody."""
    rows = upstream.announce(put("a"), put("b"))
    upstream.new_journal(START_MS - 1_000_000)
    upstream.announce(put("x"))
    following.begin_at(upstream)
    before = following.ledger.tree(TREE)
    for _ in range(50):
        following.hear(*following.frames(upstream, *rows))
        following.time.now_ms += 1000
        following.turn(1)
    following.turn()
    assert following.ledger.tree(TREE) == before
    assert kinds(upstream) == ["updates after 1", "state"]


@pytest.mark.parametrize("by", ["heartbeat", "update"])
def test_an_older_epoch_is_believed_only_when_a_fresh_state_says_so(
    begun: Following, upstream: Upstream, by: str
) -> None:
    """The publisher's clock went back before it began a new journal."""
    upstream.new_journal(START_MS - 1_000_000)
    (row,) = upstream.announce(put("x"))
    begun.hear(upstream.heartbeat_frames() if by == "heartbeat" else upstream.update_frames(row))
    assert begun.announced == 2
    assert begun.dropped == ({} if by == "heartbeat" else {"epoch": 1})
    begun.turn_until_done()
    assert (begun.ledger.head(TREE), begun.pending) == (upstream.head(), [-1])


def test_old_messages_that_are_replayed_change_nothing_and_ask_little(following: Following, upstream: Upstream) -> None:
    """Of an epoch that is over: the state does not confirm it, and it is asked for once a minute at most."""
    old_rows = upstream.announce(put("a"), put("b"))
    old_head = upstream.head()
    upstream.new_journal(START_MS + 1_000_000)
    upstream.announce(put("x"))
    following.begin_at(upstream)
    before = following.ledger.tree(TREE)
    for _ in range(50):
        following.hear(*following.frames(upstream, *old_rows), upstream.heartbeat_frames({TREE: old_head}))
        following.time.now_ms += 1000
        following.turn(1)
    following.turn()
    assert kinds(upstream) == ["updates after 1", "state"]
    assert following.ledger.tree(TREE) == before
    following.time.now_ms += 60_000
    following.hear(upstream.heartbeat_frames({TREE: old_head}))
    following.turn_until(lambda: len(upstream.service.asked) == 4)
    following.turn()
    assert following.ledger.tree(TREE) == before


def test_ever_younger_epochs_are_not_remembered(begun: Following, upstream: Upstream) -> None:
    """A thief of the key signs hundreds of them in a second; the true one is followed among them."""
    upstream.new_journal(START_MS + 1_000_000)
    upstream.announce(put("x"))
    forged = [Head(f"{START_MS + 2_000_000 + number}-00000000", 1, "1" * 64) for number in range(3000)]
    tracemalloc.start()
    try:
        for head in forged:
            begun.tracker.take_heartbeat(Heartbeat(PUBLISHER, 1, START_MS, 30_000, {TREE: head}))
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept_bytes < 100_000
    begun.turn_until_done()
    assert begun.ledger.head(TREE) == upstream.head()


def test_a_publisher_that_has_announced_nothing_yet_is_a_place_to_begin(
    following: Following, upstream: Upstream
) -> None:
    """Serial 0: its first update is simply the next."""
    following.hear(upstream.heartbeat_frames())
    assert following.pending == [0]
    assert following.ledger.tree(TREE).whole_pending
    following.apply()
    following.hear(*following.frames(upstream, *upstream.announce(put("a"))))
    assert following.pending == [1]


def test_a_relay_that_tells_of_ever_more_has_the_publisher_asked_once_a_second(
    begun: Following, upstream: Upstream
) -> None:
    """Twenty times a second, of what nobody has; news of the publisher's own is taken meanwhile as ever."""
    epoch = upstream.journal.epoch
    for number in range(200):
        told = RelayHead(epoch, Head(epoch, 50 + number, "1" * 64), 0)
        begun.tracker.take_relay_heads({TREE: told}, START_MS, leads=True)
        begun.time.now_ms += 50
        begun.clock.advance(0.05)
        begun.turn(4)
    assert 4 <= len(upstream.service.asked) <= 30
    begun.hear(*begun.frames(upstream, *upstream.announce(put("c"))))
    assert begun.ledger.head(TREE) == upstream.head()
    begun.turn_until_done(waiting=True)


# --- a service that is of no help


def test_a_gap_that_nobody_fills_becomes_a_full_sync_after_some_tries(
    begun: Following, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """The service is asked six times within a minute; the newest head that was heard is where the tree goes."""
    rows = upstream.announce(put("c"), put("d"), put("e"))
    upstream.service.lie = lambda question: DOWN
    begun.hear(upstream.update_frames(rows[1]))
    begun.turn_until(lambda: upstream.service.asked)
    begun.hear(upstream.update_frames(rows[2]))
    assert begun.turn_until_done(waiting=True) == RETRIES_SECONDS
    assert len(upstream.service.asked) == 6
    assert begun.pending == [-5]
    assert begun.ledger.tree(TREE).applied == 2
    assert sum("of no help" in record.getMessage() for record in caplog.records) == 6


def test_a_service_that_is_not_there_at_all_is_the_same(begun: Following, upstream: Upstream, spin: Spin) -> None:
    """Nobody listens."""
    rows = upstream.announce(put("c"), put("d"))
    stopped = upstream.stop()
    spin(lambda: stopped.called)
    begun.hear(upstream.update_frames(rows[-1]))
    assert begun.turn_until_done(waiting=True) == RETRIES_SECONDS
    assert begun.pending == [-4]


def test_a_service_that_recovers_in_time_saves_the_full_sync(begun: Following, upstream: Upstream) -> None:
    """The second try is as good as the first."""
    rows = upstream.announce(put("c"), put("d"))
    upstream.service.lie = lambda question: DOWN if len(upstream.service.asked) < 3 else None
    begun.hear(upstream.update_frames(rows[-1]))
    assert begun.turn_until_done(waiting=True) == 5.0
    assert begun.pending == [3, 4]


def test_a_service_that_is_of_some_help_every_time_is_asked_as_long_as_that_lasts(
    begun: Following, upstream: Upstream
) -> None:
    """One update at each try, and more of them than there are tries: that is slow, and no full sync."""
    rows = upstream.announce(*[put("c")] * 8)
    down = itertools.cycle((False, True))

    def answer(question: UpdatesQuestion) -> Any:
        row = next(upstream.journal.updates_after(TREE, question.after, 1), None)
        return DOWN if next(down) else None if row is None else lines(entry(row.envelope()))

    upstream.service.lie = lie_about(UpdatesQuestion, answer)
    begun.hear(upstream.update_frames(rows[-1]))
    begun.turn_until_done(waiting=True)
    assert begun.pending == list(range(3, 11))


def test_a_state_that_is_not_to_be_believed_is_as_none(begun: Following, upstream: Upstream) -> None:
    """With a nonce of another question, for example: the tree stays where it is until it is known better."""
    forged = Head("1900000000000-0123456789abcdef", 0, None)
    upstream.service.lie = lie_about(
        StateQuestion,
        lambda question: state_body(upstream, question, head=forged, nonce="another-nonce-of-somebody"),
    )
    before = begun.ledger.tree(TREE)
    begun.hear(upstream.heartbeat_frames({TREE: Head(upstream.journal.epoch, 1, "0" * 64)}))
    assert begun.turn_until_done(waiting=True) == RETRIES_SECONDS
    assert kinds(upstream).count("state") == 6
    assert begun.ledger.tree(TREE) == before


def test_a_service_that_hands_out_the_same_for_ever_is_not_asked_for_ever(begun: Following, upstream: Upstream) -> None:
    """A cache in between that does not look at the query, for example."""
    old = next(upstream.journal.updates_after(TREE, 0, 1))
    upstream.service.lie = lie_about(UpdatesQuestion, lambda question: lines(entry(old.envelope())))
    rows = upstream.announce(put("c"), put("d"))
    begun.hear(upstream.update_frames(rows[-1]))
    begun.turn_until_done(waiting=True)
    assert len(upstream.service.asked) <= 8
    assert begun.pending == [-4]


def test_giving_up_does_not_lead_back_to_an_epoch_that_is_over(begun: Following, upstream: Upstream) -> None:
    """While the service was asked for a gap, the bus told of a new journal."""
    rows = upstream.announce(put("c"), put("d"))
    upstream.service.lie = lambda question: DOWN
    begun.hear(upstream.update_frames(rows[-1]))
    begun.turn_until(lambda: upstream.service.asked)
    upstream.new_journal(START_MS + 1)
    begun.hear(upstream.heartbeat_frames())
    begun.turn_until_done(waiting=True)
    assert begun.ledger.head(TREE) == upstream.head()
    assert begun.ledger.tree(TREE).generation == 2


def test_giving_up_does_not_lead_back_to_a_serial_that_was_passed(begun: Following, upstream: Upstream) -> None:
    """What was missing came and the bus went on, but the service failed before it could say that this is all."""
    rows = upstream.announce(put("c"), put("d"), put("e"))

    def answer(question: Question) -> Answer | Refusal:
        assert isinstance(question, UpdatesQuestion)
        if question.after > 2:
            begun.hear(upstream.update_frames(rows[2]))
            return DOWN
        return lines(*(entry(row.envelope()) for row in rows[:2]))

    upstream.service.lie = lie_about(UpdatesQuestion, answer)
    begun.hear(upstream.update_frames(rows[1]))
    begun.turn_until_done()
    begun.turn_until(lambda: not begun.clock.getDelayedCalls() and len(upstream.service.asked) >= 5, waiting=True)
    begun.turn()
    assert begun.pending == [3, 4, 5]
    assert begun.ledger.tree(TREE).generation == 1


# --- while the service is being asked


def test_updates_that_arrive_while_history_is_fetched_are_neither_lost_nor_taken_twice(
    begun: Following, upstream: Upstream
) -> None:
    """Some of them are in the answer already, some come too late for it."""
    rows = upstream.announce(put("c"), put("d"), put("e"), put("f"))
    late: list[Any] = []

    def answer(question: Question) -> None:
        if not late:
            begun.hear(*begun.frames(upstream, rows[2], rows[3]))
            late.extend(upstream.announce(put("g"), put("h")))
        elif len(late) == 2:
            begun.hear(upstream.update_frames(late[0]))
            late.extend(upstream.announce(put("i")))
            begun.hear(upstream.update_frames(late[2]))

    upstream.service.lie = lie_about(UpdatesQuestion, answer)
    begun.hear(upstream.update_frames(rows[1]))
    begun.turn_until(lambda: begun.announced == 9)
    assert begun.pending == [3, 4, 5, 6, 7, 8, 9]
    assert [update.changes for update in begun.ledger.pending(TREE)] == [put(name) for name in "cdefghi"]


def test_what_was_taken_from_the_bus_and_applied_is_not_pending_again(begun: Following, upstream: Upstream) -> None:
    """The history hands it out a second time, a little later."""
    rows = upstream.announce(put("c"), put("d"))

    def answer(question: Question) -> None:
        if begun.announced == 2:
            begun.hear(upstream.update_frames(rows[0]))
            assert begun.pending == [3]
            begun.apply()

    upstream.service.lie = lie_about(UpdatesQuestion, answer)
    begun.hear(upstream.update_frames(rows[1]))
    begun.turn_until(lambda: begun.announced == 4)
    assert begun.pending == [4]
    assert begun.ledger.tree(TREE).applied == 3


def test_one_question_at_a_time_is_asked_however_many_gaps_are_heard(begun: Following, upstream: Upstream) -> None:
    """A flood of announcements is no flood of questions."""
    rows = upstream.announce(*[put("c")] * 100)
    begun.hear(*begun.frames(upstream, *rows[1:]))
    begun.turn_until_done()
    begun.turn_until(lambda: begun.announced == 102)
    begun.turn()
    assert len(upstream.service.asked) <= 3


def test_a_stop_leaves_off_asking(
    reactor: Any, spin: Spin, upstream: Upstream, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    """The connection is closed, no other question follows, and nothing is logged about it."""
    raw = RawService(reactor, b"", hang=True)
    following = Following(reactor, upstream, ledger, url=raw.url)
    following.tracker.start()
    spin(lambda: raw.requests == 1)
    with caplog.at_level(logging.WARNING):
        following.tracker.stop()
        spin(lambda: not raw.open)
        following.turn()
    assert following.clock.getDelayedCalls() == []
    assert caplog.messages == []
    assert raw.requests == 1
    stopped = raw.stop()
    spin(lambda: stopped.called)


def test_a_stop_while_it_waits_for_another_try_is_one_too(begun: Following, upstream: Upstream) -> None:
    """The wait is not finished."""
    upstream.service.lie = lambda question: DOWN
    rows = upstream.announce(put("c"), put("d"))
    begun.hear(upstream.update_frames(rows[-1]))
    begun.turn_until(begun.clock.getDelayedCalls)
    begun.tracker.stop()
    assert begun.clock.getDelayedCalls() == []
    begun.turn()
    assert begun.announced == 2

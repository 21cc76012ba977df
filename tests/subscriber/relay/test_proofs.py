"""What a relay hands on of what it is shown: the publisher's own word, when it knows nothing of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pushmirror.core.messages import STATE, UPDATED, format_state
from pushmirror.core.model import Head, TreeState
from pushmirror.core.wire import open_envelope
from pushmirror.http.answers import NoContent
from pushmirror.http.questions import HeaderQuestion, Refusal
from pushmirror.keys import PrivateKey
from pushmirror.subscriber.relay.answers import RelayAnswers
from pushmirror.subscriber.relay.proofs import AGAIN_MS, SIGNATURES_AT_ONCE
from tests.subscriber.relay.node import RelayNode
from tests.subscriber.relay.test_forwarding import report_of
from tests.subscriber.upstream import OTHER_TREE, PUBLISHER, TREE, Upstream, put

Make = Callable[["Shown"], bytes]


class Shown:
    """A relay that knows two updates of a publisher, which has announced three, and once had another history."""

    def __init__(self, node: RelayNode, upstream: Upstream) -> None:
        self.upstream = upstream
        self.node = node
        node.origin_keys = [upstream.key.public]
        backup = upstream.backup()
        self.other = [row.envelope() for row in upstream.announce(put("x"), put("y"))]
        upstream.restore(backup)
        rows = upstream.announce(put("a"), put("b"), put("c"))
        node.begin(Head(upstream.journal.epoch, 0, None))
        node.hear(upstream, *rows[:2])
        self.known = [row.envelope() for row in rows[:2]]
        self.newer = rows[2].envelope()
        self.answers: RelayAnswers = node.answers()

    def show(self, body: bytes) -> int:
        """Show it a message; return the status of the answer."""
        answer = self.answers.answer(HeaderQuestion(), body)
        if isinstance(answer, Refusal):
            return answer.status
        assert isinstance(answer, NoContent)
        return 204

    def pin(self, tree: str, key: PrivateKey) -> None:
        """Have `tree` believed by `key` alone."""
        self.node.tree_keys = {tree: [key.public]}
        self.answers = self.node.answers()

    def sealed_by_node(self, update: bytes) -> bytes:
        """Return what an update says, signed with another key than the publisher's."""
        return self.upstream.sealed(UPDATED, dict(open_envelope(update).msg), self.upstream.node_key)[1]

    def state(self, serial: int, digest: str | None, **replaced: Any) -> bytes:
        """Return what the publisher said once when it was asked."""
        state = TreeState(PUBLISHER, TREE, Head(self.upstream.journal.epoch, serial, digest), 1, "nonce-of-mine")
        return self.upstream.sealed(STATE, {**format_state(state), **replaced})[1]


@pytest.fixture
def shown(node: RelayNode, upstream: Upstream) -> Shown:
    return Shown(node, upstream)


UNKNOWN: list[Make] = [
    lambda shown: shown.newer,
    lambda shown: shown.other[0],
    lambda shown: shown.other[1],
    lambda shown: shown.state(9, "e" * 64),
    lambda shown: shown.state(2, "e" * 64),
    lambda shown: shown.upstream.heartbeat_frames()[1],
]


@pytest.mark.parametrize("make", UNKNOWN)
def test_what_the_publisher_signed_and_the_relay_does_not_know_is_handed_on(shown: Shown, make: Make) -> None:
    """As it travelled: what is beyond all that it heard, and what contradicts that."""
    body = make(shown)
    assert shown.show(body) == 204
    assert shown.node.shown == [body]


KNOWN: list[Make] = [
    lambda shown: shown.known[0],
    lambda shown: shown.known[1],
    lambda shown: shown.state(0, None),
    lambda shown: shown.state(9, "e" * 64, epoch="1700000000000-0123456789abcdef"),
    lambda shown: shown.state(9, "e" * 64, tree=OTHER_TREE),
    lambda shown: shown.upstream.heartbeat_frames({OTHER_TREE: Head(shown.upstream.journal.epoch, 9, "e" * 64)})[1],
]


@pytest.mark.parametrize("make", KNOWN)
def test_what_it_knows_or_cannot_matter_is_taken_and_goes_nowhere(shown: Shown, make: Make) -> None:
    """Anybody may have what the publisher once said, and show it for ever: it costs the publisher nothing."""
    assert shown.show(make(shown)) == 204
    assert shown.node.shown == []


REFUSED: list[tuple[int, Make]] = [
    (400, lambda shown: b""),
    (400, lambda shown: b"[" * 10_000),
    (400, lambda shown: shown.newer[:-40]),
    (400, lambda shown: shown.state(9, "e" * 64, publisher="t9.example.org")),
    (400, lambda shown: shown.state(9, "no digest")),
    (400, lambda shown: shown.upstream.sealed("sync.completed", {"publisher": PUBLISHER})[1]),
    (400, lambda shown: report_of(shown.upstream, shown.upstream.node_key)),
    (403, lambda shown: shown.newer.replace(b'"serial":3', b'"serial":4')),
    (
        403,
        lambda shown: shown.upstream.sealed(UPDATED, {"publisher": PUBLISHER, "serial": 9}, shown.upstream.node_key)[1],
    ),
]


@pytest.mark.parametrize(("status", "make"), REFUSED)
def test_what_the_publisher_has_not_signed_is_refused(shown: Shown, status: int, make: Make) -> None:
    """Nobody else can have the relay bother its publisher."""
    assert shown.show(make(shown)) == status
    assert shown.node.shown == []


def test_what_a_key_says_of_trees_for_which_it_does_not_count_goes_nowhere(shown: Shown) -> None:
    """A tree has a key of its own: that of the others says nothing of it, and it says nothing of the others."""
    of_publisher, of_tree = shown.newer, shown.sealed_by_node(shown.newer)
    shown.pin(TREE, shown.upstream.node_key)
    assert (shown.show(of_publisher), shown.node.shown) == (204, [])
    assert (shown.show(of_tree), shown.node.shown) == (204, [of_tree])
    shown.pin(OTHER_TREE, shown.upstream.node_key)
    shown.node.shown.clear()
    assert (shown.show(of_tree), shown.node.shown) == (204, [])
    assert (shown.show(of_publisher), shown.node.shown) == (204, [of_publisher])


def test_a_relay_that_has_heard_nothing_yet_hands_nothing_on(node: RelayNode, upstream: Upstream) -> None:
    """It is about to be told by the publisher itself."""
    (row,) = upstream.announce(put("a"))
    node.origin_keys = [upstream.key.public]
    assert isinstance(node.answers().answer(HeaderQuestion(), row.envelope()), NoContent)
    assert node.shown == []


def test_the_same_message_is_handed_on_once_in_a_while_however_many_show_it(shown: Shown) -> None:
    """Relays that follow each other do not send it round, and a publisher that was away is asked again."""
    for _ in range(3):
        assert shown.show(shown.newer) == 204
    assert shown.node.shown == [shown.newer]
    shown.node.time.now_ms += AGAIN_MS
    assert shown.show(shown.newer) == 204
    assert shown.node.shown == [shown.newer] * 2


def test_only_so_many_signatures_are_checked(shown: Shown) -> None:
    """A flood of old messages costs no more than so many checks a second; then there is room again."""
    for _ in range(SIGNATURES_AT_ONCE):
        assert shown.show(shown.known[0]) == 204
    assert (shown.show(shown.newer), shown.node.shown) == (429, [])
    shown.node.time.now_ms += 1000
    assert (shown.show(shown.newer), shown.node.shown) == (204, [shown.newer])

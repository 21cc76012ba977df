"""A mirror that follows relays: who is asked, what is believed when they contradict, and where it begins."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from pushmirror.core.messages import UPDATED, parse_heartbeat
from pushmirror.core.model import Head, RelayHead
from pushmirror.core.testimony import vouches
from pushmirror.core.wire import MAX_INTEGER, open_envelope
from pushmirror.errors import ServiceError
from pushmirror.http.questions import Refusal, UpdatesQuestion
from pushmirror.keys import PublicKey
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.relay.client import RelayAddress, RelayClient
from pushmirror.subscriber.relay.services import Services
from pushmirror.subscriber.service_client import ServiceClient
from pushmirror.subscriber.tracker import Tracker
from tests.subscriber.relay.node import RELAY, RelayNode, heard
from tests.subscriber.upstream import ENVIRONMENT, PREFIX, PUBLISHER, TREE, Upstream, paths, put
from tests.support.reactor import Spin

pytestmark = pytest.mark.slow

SECOND = "r2.example.net"


class Below:
    """A tracker that follows relays; what it hears of them on the bus is in the hands of the test."""

    def __init__(self, reactor: Any, upstream: Upstream, ledger: Ledger) -> None:
        self._reactor = reactor
        self._upstream = upstream
        self.ledger = ledger
        self.clock: Any = Clock()
        self.changed: list[str] = []
        self.heads: dict[str, RelayHead] = {}
        self.keys_of_trees: dict[str, list[PublicKey]] = {}
        """Those that have keys of their own."""
        self.said: dict[str, str] = {}
        """The epoch that each relay told last, also of those that are silent now."""
        self._clients: dict[str, RelayClient] = {}
        self._ports: dict[str, Any] = {}
        self.tracker: Tracker
        self.services: Services

    def follow(self, *nodes: tuple[str, RelayNode], origin: bool = False) -> None:
        """Follow relays by their names, and the origin perhaps."""
        for name, node in nodes:
            port, url = node.serve(self._reactor, node.answers())
            self._ports[name] = port
            node.voice.relay = name
            address = RelayAddress(name, url, (node.key.public,))
            self._clients[name] = RelayClient(self._reactor, address, PUBLISHER, self._keys_of, PREFIX, ENVIRONMENT)
        client = ServiceClient(self._reactor, self._upstream.url, PUBLISHER, self._keys_of, PREFIX, ENVIRONMENT)
        self.services = Services(
            client if origin else None, self._clients, lambda _: self.heads, self.ledger.head, self._may_tell
        )  # fmt: skip
        now_ms = self._upstream.time
        self.tracker = Tracker(self.clock, [TREE], self.ledger, self.services, now_ms, now_ms, self.changed.append)
        self.ledger.keep_updates(TREE, True, 0)

    def _keys_of(self, tree: str) -> list[PublicKey]:
        return self.keys_of_trees.get(tree, [self._upstream.key.public])

    def _may_tell(self, tree: str, epoch: str, besides: str) -> bool:
        return any(said == epoch for name, said in self.said.items() if name != besides)

    def hear(self, name: str, node: RelayNode, *, leads: bool = True) -> None:
        """Hear a heartbeat of a relay."""
        copy = node.copies.copy(TREE)
        assert copy is not None
        self.heads[name] = copy.head
        self.said[name] = copy.head.epoch
        self.tracker.take_relay_heads({TREE: copy.head}, 0, leads=leads)

    def hear_origin(self) -> None:
        """Hear a heartbeat of the origin."""
        frames = self._upstream.heartbeat_frames()
        self.tracker.take_heartbeat(parse_heartbeat(open_envelope(frames[1]).msg), frames[1])

    def silence(self, name: str) -> None:
        """Have the service of a relay answer no more."""
        stopped = maybeDeferred(self._ports.pop(name).stopListening)
        self.turn_until(lambda: stopped.called)

    def turn_until(self, condition: Any, *, waiting: bool = False) -> None:
        """Turn the reactor until the condition holds; with `waiting` retries come without delay."""
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            self._reactor.iterate(0.005)
            calls = [call.getTime() - self.clock.seconds() for call in self.clock.getDelayedCalls()]
            if waiting and calls:
                self.clock.advance(min(calls))

    def turn(self, rounds: int = 60) -> None:
        """Turn the reactor some times, so that whatever is being asked is answered."""
        for _ in range(rounds):
            self._reactor.iterate(0.005)

    def turn_until_done(self, *, waiting: bool = False) -> None:
        """Turn until the tracker is done with what it asks."""
        before = len(self.changed)
        self.turn_until(lambda: len(self.changed) > before, waiting=waiting)

    @property
    def announced(self) -> int:
        return self.ledger.tree(TREE).announced

    @property
    def pending(self) -> list[int]:
        """The serials that are pending; negative for the whole tree."""
        return [-update.serial if update.changes is None else update.serial for update in self.ledger.pending(TREE)]

    def apply(self) -> None:
        """Record that all that is announced is in place."""
        record = self.ledger.tree(TREE)
        assert self.ledger.finish_puts(
            TREE, record.announced, record.generation, (), settled=(), due_ms=0, entries=10, incomplete=(),
            full_sync_ms=1,
        )  # fmt: skip

    def stop(self, spin: Spin) -> None:
        """Leave off, and stop listening."""
        self.tracker.stop()
        for port in self._ports.values():
            stopped = maybeDeferred(port.stopListening)
            spin(lambda stopped=stopped: stopped.called)


@pytest.fixture
def below(reactor: Any, spin: Spin, upstream: Upstream, ledger: Ledger) -> Iterator[Below]:
    below = Below(reactor, upstream, ledger)
    yield below
    below.stop(spin)


@pytest.fixture
def second(tmp_path: Path, upstream: Upstream) -> Iterator[RelayNode]:
    node = RelayNode(tmp_path / "second")
    yield node
    node.ledger.close()


def bring(node: RelayNode, upstream: Upstream, *, upto: int, cleaned: int | None = None) -> None:
    """Have a relay apply everything up to a serial, and be clean up to another."""
    node.begin(Head(upstream.journal.epoch, 0, None))
    node.apply(0, full_sync_ms=1)
    if upto:
        node.hear(upstream, *upstream.journal.updates_after(TREE, 0, upto))
    if cleaned is not None:
        node.apply(cleaned)
    node.apply(upto, deletions=() if cleaned is None else paths("gone"))


def test_a_new_mirror_begins_where_its_relay_is_clean_and_hears_of_the_rest(
    below: Below, node: RelayNode, upstream: Upstream
) -> None:
    """So what the relay has yet to delete becomes pending here as well."""
    upstream.announce(put("a"), put("b"), put("c"))
    bring(node, upstream, upto=3, cleaned=1)
    below.follow((RELAY, node))
    below.hear(RELAY, node)
    below.turn_until(lambda: below.announced == 3)
    assert below.pending == [-1, 2, 3]
    assert below.ledger.changes_after(TREE, 1, 3) == [put("b"), put("c")]


def test_the_history_of_a_relay_fills_a_gap(below: Below, node: RelayNode, upstream: Upstream) -> None:
    """As the origin's does, without a full sync."""
    bring(node, upstream, upto=0)
    below.follow((RELAY, node))
    below.hear(RELAY, node)
    below.turn_until(lambda: below.announced == 0)
    below.turn()
    below.apply()
    rows = upstream.announce(put("a"), put("b"))
    node.hear(upstream, *rows)
    node.apply(2)
    below.hear(RELAY, node)
    below.turn_until(lambda: below.announced == 2)
    assert below.pending == [1, 2]


def test_the_origin_is_asked_first_and_relays_when_it_does_not_answer(
    below: Below, spin: Spin, node: RelayNode, upstream: Upstream
) -> None:
    """What one has is as good as what the other has."""
    upstream.announce(put("a"))
    bring(node, upstream, upto=1)
    below.follow((RELAY, node), origin=True)
    below.tracker.ask_about_all()
    below.turn_until(lambda: below.announced == 1)
    below.turn()
    below.apply()
    assert upstream.service.asked
    stopped = upstream.stop()
    spin(lambda: stopped.called)
    node.hear(upstream, *upstream.announce(put("b")))
    node.apply(2)
    below.hear(RELAY, node)
    below.turn_until(lambda: below.announced == 2)
    assert below.pending == [2]
    assert not [asked for asked in upstream.service.asked if isinstance(asked, UpdatesQuestion) and asked.after == 1]


def test_of_two_relays_the_one_that_is_further_is_asked_first(
    below: Below, node: RelayNode, second: RelayNode, upstream: Upstream
) -> None:
    """A relay that is behind is no sign of a fork, and nothing that has to be asked about."""
    upstream.announce(put("a"), put("b"))
    bring(node, upstream, upto=1)
    bring(second, upstream, upto=2)
    below.follow((RELAY, node), (SECOND, second))
    below.hear(SECOND, second)
    below.turn_until(lambda: below.announced == 2)
    below.turn()
    below.apply()
    below.changed.clear()
    below.hear(RELAY, node)
    below.turn()
    assert (below.announced, below.pending, below.changed) == (2, [], [])


def test_a_mirror_waits_for_a_relay_that_is_behind_rather_than_do_a_full_sync(
    below: Below, node: RelayNode, upstream: Upstream
) -> None:
    """The origin told of an update that nobody can hand out yet; when no relay is heard it is a full sync after all."""
    upstream.announce(put("a"))
    bring(node, upstream, upto=1)
    below.follow((RELAY, node))
    below.hear(RELAY, node)
    below.turn_until(lambda: below.announced == 1)
    below.turn()
    below.apply()
    upstream.announce(put("b"), put("c"))
    below.hear_origin()
    below.turn_until_done(waiting=True)
    assert (below.announced, below.pending) == (1, [])
    below.heads.clear()
    below.hear_origin()
    below.turn_until(lambda: below.announced == 3, waiting=True)
    assert below.pending == [-3]
    assert vouches(below.ledger.header(TREE) or b"", TREE, upstream.head())


def test_nobody_starts_over_at_what_a_relay_says_by_the_way(below: Below, node: RelayNode, upstream: Upstream) -> None:
    """Its service does not answer, and nothing that the publisher has signed tells of the serial: the mirror waits."""
    upstream.announce(put("a"))
    bring(node, upstream, upto=1)
    below.follow((RELAY, node))
    below.hear(RELAY, node)
    below.turn_until(lambda: below.announced == 1)
    below.turn()
    below.apply()
    upstream.announce(put("b"))
    ahead = RelayHead(upstream.journal.epoch, upstream.head(), 2)
    below.silence(RELAY)
    below.heads[RELAY] = ahead
    below.tracker.take_relay_heads({TREE: ahead}, 0, leads=True)
    below.turn_until_done(waiting=True)
    assert (below.announced, below.pending) == (1, [])


def test_who_begins_by_the_word_of_a_relay_has_that_of_the_publisher_as_well(
    below: Below, node: RelayNode, upstream: Upstream
) -> None:
    """The relay hands on the newest message by which the publisher can be held to what it said."""
    rows = upstream.announce(put("a"), put("b"))
    bring(node, upstream, upto=2)
    node.hear(upstream, *upstream.announce(put("c")))
    node.ledger.kept.shorten(TREE, 2, oldest_ms=10**18, max_bytes=10**9)
    below.follow((RELAY, node))
    below.hear(RELAY, node)
    below.turn_until(lambda: below.announced == rows[-1].serial)
    assert below.ledger.header(TREE) == node.ledger.header(TREE) is not None


def test_what_a_relay_says_that_the_publisher_signed_is_verified(
    below: Below, node: RelayNode, upstream: Upstream
) -> None:
    """What is signed by anybody else is not kept; the relay's own word counts all the same."""
    (row,) = upstream.announce(put("a"))
    bring(node, upstream, upto=1)
    node.ledger.keep_testimony(TREE, upstream.sealed(UPDATED, upstream.message(row), upstream.node_key)[1])
    node.ledger.kept.shorten(TREE, 1, oldest_ms=10**18, max_bytes=10**9)
    below.follow((RELAY, node))
    below.hear(RELAY, node)
    below.turn_until(lambda: below.announced == 1)
    assert below.ledger.header(TREE) is None
    node.ledger.keep_testimony(TREE, row.envelope())
    below.tracker.ask_about_all()
    below.turn_until(lambda: below.ledger.header(TREE) == row.envelope())


def test_the_publishers_word_is_verified_with_the_keys_of_its_tree(
    below: Below, node: RelayNode, upstream: Upstream
) -> None:
    """The key of the publisher is of no use for a tree that has one of its own."""
    (row,) = upstream.announce(put("a"))
    bring(node, upstream, upto=1)
    node.ledger.kept.shorten(TREE, 1, oldest_ms=10**18, max_bytes=10**9)
    below.keys_of_trees[TREE] = [upstream.node_key.public]
    below.follow((RELAY, node))
    below.hear(RELAY, node)
    below.turn_until(lambda: below.announced == 1)
    assert below.ledger.header(TREE) is None
    own = upstream.sealed(UPDATED, upstream.message(row), upstream.node_key)[1]
    node.ledger.keep_testimony(TREE, own)
    below.tracker.ask_about_all()
    below.turn_until(lambda: below.ledger.header(TREE) == own)


def proof_of(upstream: Upstream, head: Head) -> bytes:
    """Return a message in which the publisher tells of `head`."""
    return upstream.heartbeat_frames({TREE: head})[1]


@pytest.mark.parametrize(
    ("epoch", "serial", "told"),
    [
        ("1790000000001-0123456789abcdef", 4, None),
        ("7258118400000-0123456789abcdef", 1, None),
        (None, MAX_INTEGER, None),
        (None, MAX_INTEGER, 1),
        (None, 1, None),
    ],
    ids=["epoch", "epoch to come", "serial", "serial beyond what was signed", "digest"],
)
def test_a_relay_that_lies_does_not_lead_away_from_what_the_publisher_signed(
    below: Below,
    node: RelayNode,
    second: RelayNode,
    upstream: Upstream,
    epoch: str | None,
    serial: int,
    told: int | None,
) -> None:
    """Nobody starts over for what it makes up, and honest updates are believed as before: no key of a relay, with
    nothing that the publisher has signed, makes them look old."""
    upstream.announce(put("a"))
    bring(node, upstream, upto=1)
    below.follow((RELAY, node), (SECOND, second))
    below.hear(RELAY, node)
    below.turn_until(lambda: below.announced == 1)
    below.turn()
    below.apply()
    honest = upstream.head()
    made_up = Head(epoch or honest.epoch, serial, "e" * 64)
    second.begin(made_up, None if told is None else proof_of(upstream, replace(honest, serial=told)))
    second.apply(serial)
    below.heads.pop(RELAY)
    below.silence(RELAY)
    below.hear(SECOND, second)
    below.turn_until_done(waiting=True)
    assert (below.ledger.head(TREE), below.pending) == (honest, [])
    (row,) = upstream.announce(put("b"))
    below.tracker.take_update(heard(upstream, row))
    assert below.ledger.head(TREE) == upstream.head()


def test_a_younger_epoch_is_believed_of_a_relay_and_an_older_one_only_when_nobody_told_the_younger_last(
    below: Below, node: RelayNode, second: RelayNode, upstream: Upstream
) -> None:
    """Two relays, of which one has yet to follow the publisher into its new journal, do not drive a mirror to and
    fro; nor when the other one is silent for a while."""
    upstream.announce(put("a"))
    bring(node, upstream, upto=1)
    bring(second, upstream, upto=1)
    below.follow((RELAY, node), (SECOND, second))
    below.hear(RELAY, node)
    below.turn_until(lambda: below.announced == 1)
    below.turn()
    young = Head("1790000000001-0123456789abcdef", 4, "d" * 64)
    second.begin(young, proof_of(upstream, young))
    second.apply(4)
    below.heads.pop(RELAY)
    below.hear(SECOND, second, leads=False)
    below.turn_until(lambda: below.announced == 4)
    below.turn()
    for round_number in range(4):
        if round_number == 2:
            below.heads.pop(SECOND)
            below.silence(SECOND)
        upstream.time.now_ms += 120_000
        below.hear(RELAY, node)
        below.turn_until_done(waiting=True)
        assert below.ledger.head(TREE) == young
    del below.said[SECOND]
    upstream.time.now_ms += 120_000
    below.hear(RELAY, node)
    below.turn_until(lambda: below.announced == 1)
    assert below.pending == [-1]


def test_another_digest_for_the_same_serial_is_believed_of_the_relay_that_goes_before_the_others(
    below: Below, node: RelayNode, upstream: Upstream
) -> None:
    """Only of that one, since two on two branches would go on for ever."""
    upstream.announce(put("a"))
    bring(node, upstream, upto=1)
    below.follow((RELAY, node))
    below.hear(RELAY, node)
    below.turn_until(lambda: below.announced == 1)
    below.turn()
    below.apply()
    fork = Head(upstream.journal.epoch, 1, "e" * 64)
    node.begin(fork, proof_of(upstream, fork))
    node.apply(1)
    below.changed.clear()
    below.hear(RELAY, node, leads=False)
    below.turn()
    assert (below.changed, below.pending) == ([], [])
    below.hear(RELAY, node)
    below.turn_until(lambda: below.ledger.head(TREE) == fork)
    assert below.pending == [-1]


def test_a_fork_at_the_origin_outweighs_a_relay_that_has_nothing_newer(
    below: Below, node: RelayNode, upstream: Upstream
) -> None:
    """Its journal went back and goes on otherwise; a relay that has not heard of that still tells the old history."""
    upstream.announce(put("a"))
    backup = upstream.backup()
    upstream.announce(put("b"))
    bring(node, upstream, upto=2)
    below.follow((RELAY, node), origin=True)
    below.tracker.ask_about_all()
    below.turn_until(lambda: below.announced == 2)
    below.turn()
    below.apply()
    heard = below.ledger.head(TREE)
    upstream.restore(backup)
    upstream.announce(put("c"), put("d"))
    assert heard is not None and heard.epoch == upstream.journal.epoch
    below.tracker.ask_about_all()
    below.turn_until(lambda: below.ledger.head(TREE) != heard)
    assert below.ledger.head(TREE) == upstream.head()
    assert upstream.head().epoch != heard.epoch, "the publisher was shown what it had said"


def test_a_report_finds_nobody_where_the_relays_take_none(
    below: Below, spin: Spin, node: RelayNode, upstream: Upstream
) -> None:
    """That is an error like any other of a service; whoever reports goes on."""
    below.follow((RELAY, node))
    failed: list[Any] = []
    Deferred.fromCoroutine(below.services.report(b"{}")).addErrback(failed.append)
    spin(lambda: failed)
    assert failed[0].check(ServiceError)


def test_an_origin_that_fails_for_a_moment_costs_no_full_sync_on_the_word_of_a_relay(
    below: Below, node: RelayNode, upstream: Upstream
) -> None:
    """The relay's history begins later than what is missing; the publisher itself still has all of it."""
    upstream.announce(put("a"))
    bring(node, upstream, upto=1)
    below.follow((RELAY, node), origin=True)
    below.tracker.ask_about_all()
    below.turn_until(lambda: below.announced == 1)
    below.turn()
    below.apply()
    node.hear(upstream, *upstream.announce(put("b"), put("c"), put("d")))
    node.apply(4)
    node.ledger.kept.shorten(TREE, 4, oldest_ms=10**18, max_bytes=10**9)
    before = len(upstream.service.asked)
    upstream.service.lie = lambda question: Refusal(503, "later") if len(upstream.service.asked) < before + 4 else None
    below.hear(RELAY, node)
    below.turn_until(lambda: below.announced == 4, waiting=True)
    assert below.pending == [2, 3, 4]

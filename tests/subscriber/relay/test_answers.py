"""A relay's HTTP service, asked by a real client: the origin's history up to what is applied, and its own word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred

from pushmirror.core.model import ChangeList, Head, RelayState
from pushmirror.core.paths import TreePath
from pushmirror.core.relaying import Comparison, Recheck
from pushmirror.errors import BadSignature, MalformedMessage, ServiceError
from pushmirror.http.questions import ListQuestion, Refusal
from pushmirror.subscriber.records import HeardUpdate
from pushmirror.subscriber.relay.client import RelayAddress, RelayClient
from pushmirror.subscriber.service_client import HistoryGone
from tests.subscriber.relay.node import RELAY, RelayNode, heard
from tests.subscriber.relay.test_forwarding import report_of, take
from tests.subscriber.upstream import ENVIRONMENT, OTHER_TREE, PREFIX, PUBLISHER, TREE, Upstream, make_key, put
from tests.support.reactor import Spin

LARGE = ChangeList(changed=tuple(TreePath(b"pool/%08d/%s" % (number, b"x" * 80)) for number in range(3000)))


class Asking:
    """Asks the service of a relay and turns the reactor until there is an answer."""

    def __init__(self, reactor: Any, spin: Spin, upstream: Upstream, node: RelayNode) -> None:
        self._spin = spin
        self._reactor = reactor
        self._upstream = upstream
        self.port, self._url = node.serve(reactor, node.answers())
        self.client = self.client_with(node.key.public)

    def client_with(self, key: Any, name: str = RELAY) -> RelayClient:
        """Return a client that knows the relay by another key or name."""
        address = RelayAddress(name, self._url, (key,))
        return RelayClient(
            self._reactor, address, PUBLISHER, lambda tree: [self._upstream.key.public], PREFIX, ENVIRONMENT
        )

    def result(self, coroutine: Any) -> Any:
        """Return what `coroutine` returns, or raise what it raises."""
        found: list[Any] = []
        Deferred.fromCoroutine(coroutine).addBoth(found.append)
        self._spin(lambda: found)
        if hasattr(found[0], "raiseException"):
            found[0].raiseException()
        return found[0]

    def state(self, tree: str = TREE) -> RelayState:
        return self.result(self.client.relay_state(tree))  # type: ignore[no-any-return]  # what the question returns

    def updates(self, epoch: str, after: int) -> list[HeardUpdate]:
        taken: list[HeardUpdate] = []
        assert self.result(self.client.updates(TREE, epoch, after, taken.append)) == len(taken)
        return taken


@pytest.fixture
def asking(reactor: Any, spin: Spin, upstream: Upstream, node: RelayNode) -> Iterator[Asking]:
    """A relay that has applied 2 of 3 updates and cleaned 1, and whoever asks it."""
    node.begin(upstream.head())
    node.apply(0, full_sync_ms=1)
    node.hear(upstream, *upstream.announce(put("a"), LARGE, put("c")))
    node.apply(1)
    node.apply(2, deletions=(TreePath(b"gone"),))
    asking = Asking(reactor, spin, upstream, node)
    yield asking
    stopped = maybeDeferred(asking.port.stopListening)
    spin(lambda: stopped.called)


def test_history_goes_up_to_what_is_applied_and_verifies_by_the_origins_keys(
    asking: Asking, upstream: Upstream
) -> None:
    """Lists that are stored apart come with it."""
    found = asking.updates(upstream.journal.epoch, 0)
    assert [heard.update.serial for heard in found] == [1, 2]
    assert found[1].changes == LARGE
    assert asking.updates(upstream.journal.epoch, 2) == []
    assert asking.updates(upstream.journal.epoch, 3) == []


def test_the_state_tells_what_is_applied_cleaned_and_kept(asking: Asking, upstream: Upstream) -> None:
    """With the digests, under the nonce of whoever asked."""
    state = asking.state()
    first, second = upstream.journal.updates_after(TREE, 0, 2)
    assert (state.head.applied.serial, state.head.applied.digest) == (2, second.digest)
    assert (state.head.cleaned, state.cleaned_digest, state.oldest) == (1, first.digest, 1)


def test_a_serial_that_was_left_out_has_no_digest(node: RelayNode, upstream: Upstream) -> None:
    """Serials may have gaps, and what a relay reads from may be clean up to just such a number."""
    first, second = (heard(upstream, row) for row in upstream.announce(put("a"), put("b")))
    epoch = upstream.journal.epoch
    node.begin(Head(epoch, 0, None))
    node.apply(0, full_sync_ms=1)
    skipping = replace(second, update=replace(second.update, serial=3))
    node.ledger.announce_all(TREE, (first, skipping), node.time())
    compared = Comparison((), 2, rechecks=(Recheck(TreePath(b"directory"), 3, 3),))
    node.apply(3, compared=compared)
    copy = node.copies.copy(TREE)
    assert copy is not None
    assert (copy.head.applied.serial, copy.head.cleaned, copy.cleaned_digest) == (3, 2, None)


def test_history_of_another_epoch_or_from_before_the_beginning_is_gone(
    asking: Asking, upstream: Upstream, node: RelayNode
) -> None:
    """Whoever asks has to ask for the state."""
    with pytest.raises(HistoryGone):
        asking.updates("1790000000001-0123456789abcdef", 0)
    node.ledger.kept.shorten(TREE, 1, oldest_ms=10**18, max_bytes=10**18)
    with pytest.raises(HistoryGone):
        asking.updates(upstream.journal.epoch, 0)
    assert [heard.update.serial for heard in asking.updates(upstream.journal.epoch, 1)] == [2]
    assert (asking.state().oldest, asking.state().cleaned_digest is None) == (2, False)


def test_a_state_counts_only_from_the_relay_that_was_asked(asking: Asking, upstream: Upstream, node: RelayNode) -> None:
    """Neither the origin's key nor another relay's makes it good."""
    with pytest.raises(BadSignature):
        asking.result(asking.client_with(upstream.key.public).relay_state(TREE))
    with pytest.raises(MalformedMessage):
        asking.result(asking.client_with(node.key.public, "other.example.net").relay_state(TREE))
    with pytest.raises(BadSignature):
        asking.result(asking.client.state(TREE))


def test_what_is_not_relayed_is_not_answered(asking: Asking, node: RelayNode) -> None:
    """Another tree, and one that is not relayed now."""
    with pytest.raises(ServiceError, match="404"):
        asking.state(OTHER_TREE)
    node.ledger.want_whole(TREE, 0)
    node.apply(3)
    node.ledger.want_whole(TREE, 0)
    with pytest.raises(ServiceError, match="503"):
        asking.state()


def test_a_list_is_handed_out_by_its_digest_once_its_update_is_applied(node: RelayNode, upstream: Upstream) -> None:
    """It is the same bytes as at the origin."""
    node.begin(upstream.head())
    node.apply(0, full_sync_ms=1)
    (row,) = upstream.announce(LARGE)
    node.hear(upstream, row)
    question = ListQuestion(TREE, str(row.list_digest))
    assert isinstance(node.answers().answer(question, b""), Refusal)
    node.apply(1)
    answer = node.answers().answer(question, b"")
    assert not isinstance(answer, Refusal) and hasattr(answer, "chunks")
    body = b"".join(answer.chunks)
    assert (body, answer.length_bytes) == (upstream.journal.list_body(str(row.list_digest)), len(body))


def test_reports_need_a_list_of_nodes_and_a_node_that_stands_in_it(
    node: RelayNode, upstream: Upstream, tmp_path: Any
) -> None:
    """They are handed on as they came; without a list of nodes there is no such address."""
    nodes = tmp_path / "below"
    nodes.write_text(f"{upstream.node_key.public.line} t2.example.net\n")
    body = report_of(upstream, upstream.node_key)
    assert take(node.answers(), body) == 404
    assert take(node.answers(nodes), body) == 204
    assert take(node.answers(nodes), report_of(upstream, make_key(tmp_path, "stranger"))) == 403
    assert node.handed_on == [body]

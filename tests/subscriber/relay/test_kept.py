"""What is kept of updates after they were applied, and how much of it may be handed on."""

from __future__ import annotations

from pathlib import Path

import pytest

from pushmirror.core.lists import format_changes
from pushmirror.core.model import ChangeList, Head
from pushmirror.core.paths import TreePath
from pushmirror.core.wire import canonical
from pushmirror.errors import StateError
from pushmirror.subscriber.records import NEVER
from pushmirror.subscriber.relay.copies import Copies
from tests.subscriber.relay.node import RelayNode
from tests.subscriber.upstream import PUBLISHER, TREE, Upstream, paths, put

LARGE = ChangeList(changed=tuple(TreePath(b"pool/%08d/%s" % (number, b"x" * 80)) for number in range(8000)))
FAR_MS = 10**9


def begun(node: RelayNode, upstream: Upstream) -> None:
    """Have the node apply all that the upstream has, by a full sync."""
    node.begin(upstream.head())
    node.apply(upstream.head().serial, full_sync_ms=1)


def kept(node: RelayNode, after: int | None = None) -> list[int]:
    """Return the serials that can be handed out after `after` (None: after the beginning, if there is one)."""
    try:
        beginning = node.ledger.kept.beginning(TREE, 1000) if after is None else after
    except KeyError:
        return []
    return [update.serial for update in node.ledger.kept.updates(TREE, beginning, 1000, 1000)]


def test_what_is_forgotten_while_it_is_read_ends_the_answer(node: RelayNode, upstream: Upstream) -> None:
    """There is never a hole: whoever asks again learns where the history begins now."""
    begun(node, upstream)
    node.hear(upstream, *upstream.announce(put("a"), put("b"), put("c"), put("d")))
    node.apply(4)
    reader = node.ledger.kept.updates(TREE, 0, 4, 10)
    assert next(reader).serial == 1
    node.ledger.kept.shorten(TREE, 3, oldest_ms=FAR_MS * FAR_MS, max_bytes=FAR_MS)
    assert list(reader) == []


def test_a_list_that_is_forgotten_while_it_is_read_breaks_off(node: RelayNode, upstream: Upstream) -> None:
    """Half a list must not look like a whole one."""
    begun(node, upstream)
    rows = upstream.announce(LARGE, put("a"), put("b"), put("c"))
    node.hear(upstream, *rows)
    node.apply(4)
    parts = node.ledger.kept.list_parts(TREE, str(rows[0].list_digest))
    assert next(parts)
    node.ledger.kept.shorten(TREE, 3, oldest_ms=FAR_MS * FAR_MS, max_bytes=FAR_MS)
    with pytest.raises(StateError, match="forgotten"):
        list(parts)


def test_what_was_announced_is_handed_on_when_it_is_applied_and_not_before(node: RelayNode, upstream: Upstream) -> None:
    """In order, as it was signed."""
    begun(node, upstream)
    assert node.applied == 0
    rows = upstream.announce(put("a"), put("b"), put("c"))
    node.hear(upstream, *rows)
    assert node.applied == 0
    node.apply(2)
    copy = node.copies.copy(TREE)
    assert copy is not None
    assert (copy.head.applied, copy.oldest) == (Head(upstream.journal.epoch, 2, rows[1].digest), 1)
    assert [update.envelope for update in node.ledger.kept.updates(TREE, 0, 2, 10)] == [
        row.envelope() for row in rows[:2]
    ]


def test_nothing_is_handed_on_before_the_first_full_sync_or_while_one_was_asked_for(
    node: RelayNode, upstream: Upstream
) -> None:
    """What is in place may not be what was announced."""
    assert node.copies.refusal(TREE) == "its first full sync is still to come"
    begun(node, upstream)
    node.ledger.want_whole(TREE, 5)
    assert "asked for" in str(node.copies.refusal(TREE))
    node.apply(0, full_sync_ms=2)
    assert node.applied == 0


def test_an_update_of_the_whole_tree_doubts_nothing_that_is_applied(node: RelayNode, upstream: Upstream) -> None:
    """It is pending above what is applied."""
    begun(node, upstream)
    node.hear(upstream, *upstream.announce(put("a"), None))
    node.apply(1)
    assert node.applied == 1


def test_a_tree_with_incomplete_paths_or_filters_is_not_handed_on(
    node: RelayNode, upstream: Upstream, tmp_path: Path
) -> None:
    """Nor is it known of a tree that nobody wants to be relayed."""
    begun(node, upstream)
    node.apply(0, incomplete=paths("secret"))
    assert node.applied is None
    assert node.copies.show(TREE) == {"serving": None, "cleaned": None, "reason": node.copies.refusal(TREE)}
    node.apply(0, deletions=paths("gone"))
    assert node.copies.show(TREE) == {"serving": 0, "cleaned": NEVER, "reason": None}
    node.ledger.finish_deletions(TREE, paths("gone"), (), node.time())
    assert node.copies.show(TREE) == {"serving": 0, "cleaned": 0, "reason": None}
    filtered = Copies(node.ledger, node.ledger.kept, {TREE: PUBLISHER}, [TREE])
    assert filtered.copy(TREE) is None
    assert Copies(node.ledger, node.ledger.kept, {}, ()).show(TREE) is None


def test_a_list_that_did_not_travel_inline_is_kept_in_parts(node: RelayNode, upstream: Upstream) -> None:
    """And comes back byte for byte; only an update that is handed on vouches for it."""
    begun(node, upstream)
    (row,) = upstream.announce(LARGE)
    node.hear(upstream, row)
    (update,) = node.ledger.kept.updates(TREE, 0, 1, 10)
    assert update.list_digest == row.list_digest
    parts = list(node.ledger.kept.list_parts(TREE, str(update.list_digest)))
    assert len(parts) > 1
    assert b"".join(parts) == canonical(format_changes(LARGE))
    assert node.ledger.kept.list_bytes(TREE, str(update.list_digest)) == sum(map(len, parts))
    assert node.ledger.kept.has_list(TREE, str(update.list_digest), 1)
    assert not node.ledger.kept.has_list(TREE, str(update.list_digest), 0)
    assert list(node.ledger.kept.changes(TREE, 0, 1)) == [LARGE]


def test_missed_updates_leave_no_hole_but_a_new_beginning(node: RelayNode, upstream: Upstream) -> None:
    """After a full sync for want of updates only what follows it can be handed out; before it, what was there."""
    begun(node, upstream)
    node.hear(upstream, *upstream.announce(put("a"), put("b")))
    node.apply(2)
    upstream.announce(put("c"), put("d"))
    node.ledger.start_over(TREE, upstream.head(), 0, 0, same_history=True)
    copy = node.copies.copy(TREE)
    assert copy is not None and (copy.head.applied.serial, copy.oldest) == (2, 1)
    node.apply(4, full_sync_ms=2)
    copy = node.copies.copy(TREE)
    assert copy is not None and (copy.head.applied, copy.oldest) == (upstream.head(), 0)
    node.hear(upstream, *upstream.announce(put("e")))
    node.apply(5)
    copy = node.copies.copy(TREE)
    assert copy is not None and (copy.head.applied.serial, copy.oldest) == (5, 5)


def test_another_history_voids_what_is_kept(node: RelayNode, upstream: Upstream) -> None:
    """A new epoch, or a fork, begins from nothing."""
    begun(node, upstream)
    node.hear(upstream, *upstream.announce(put("a"), put("b")))
    node.apply(2)
    node.begin(Head("1790000000001-0123456789abcdef", 1, "f" * 64))
    assert (node.applied, kept(node)) == (None, [])
    node.apply(1)
    copy = node.copies.copy(TREE)
    assert copy is not None and (copy.head.applied.digest, copy.oldest) == ("f" * 64, 0)


def test_a_relay_that_was_switched_off_for_a_while_begins_anew_at_what_is_announced(
    node: RelayNode, upstream: Upstream
) -> None:
    """Updates that were not kept leave no hole either; and without `relay` nothing is kept."""
    begun(node, upstream)
    node.hear(upstream, *upstream.announce(put("a")))
    node.ledger.keeping.clear()
    node.hear(upstream, *upstream.announce(put("b")))
    node.apply(2)
    assert kept(node) == [1]
    node.ledger.keep_updates(TREE, True, 0)
    node.hear(upstream, *upstream.announce(put("c")))
    node.apply(3)
    copy = node.copies.copy(TREE)
    assert copy is not None and (copy.head.applied.serial, copy.oldest) == (3, 3)
    node.ledger.keep_updates(TREE, False, 0)
    assert kept(node) == []


def test_an_update_that_follows_on_one_that_is_not_kept_is_not_kept(node: RelayNode, upstream: Upstream) -> None:
    """A history with a hole would be handed out as one without."""
    begun(node, upstream)
    node.ledger.keeping.clear()
    node.hear(upstream, *upstream.announce(put("a")))
    node.ledger.keeping.add(TREE)
    node.hear(upstream, *upstream.announce(put("b")))
    node.apply(2)
    assert (kept(node), node.applied) == ([], None)


def test_what_is_kept_survives_a_start(node: RelayNode, upstream: Upstream) -> None:
    """A relay that was killed goes on with the history that it had."""
    begun(node, upstream)
    node.hear(upstream, *upstream.announce(put("a"), put("b")))
    node.apply(1)
    again = RelayNode(node.path.parent)
    copy = again.copies.copy(TREE)
    assert copy is not None and (copy.head.applied.serial, copy.oldest) == (1, 1)
    assert kept(again) == [1, 2]
    again.ledger.close()


@pytest.mark.parametrize(
    ("oldest_ms", "max_bytes", "left"),
    [(0, FAR_MS, [1, 2, 3, 4]), (FAR_MS * FAR_MS, FAR_MS, [4]), (0, 0, [4]), (0, 2000, [3, 4])],
)
def test_what_is_old_or_too_much_is_forgotten_from_the_beginning(
    node: RelayNode, upstream: Upstream, oldest_ms: int, max_bytes: int, left: list[int]
) -> None:
    """But nothing above what is cleaned; the digest of what was forgotten last stays known."""
    begun(node, upstream)
    node.hear(upstream, *upstream.announce(put("a"), put("b"), put("c"), put("d")))
    node.apply(4)
    node.ledger.kept.shorten(TREE, 3, oldest_ms=oldest_ms, max_bytes=max_bytes)
    assert kept(node) == left
    assert node.ledger.kept.beginning(TREE, 4) == left[0] - 1
    assert node.ledger.kept.digest(TREE, left[0] - 1) is not None or left[0] == 1
    copy = node.copies.copy(TREE)
    assert copy is not None and copy.oldest == left[0]


def test_a_list_that_no_update_names_any_more_is_forgotten_with_it(node: RelayNode, upstream: Upstream) -> None:
    """Its parts take no room."""
    begun(node, upstream)
    (row, _) = upstream.announce(LARGE, put("b"))
    node.hear(upstream, *upstream.journal.updates_after(TREE, 0, 2))
    node.apply(2)
    node.ledger.kept.shorten(TREE, 2, oldest_ms=FAR_MS * FAR_MS, max_bytes=FAR_MS)
    assert node.ledger.kept.list_bytes(TREE, str(row.list_digest)) == 0

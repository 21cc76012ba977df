"""What an announcement becomes: with its list, without it, or of the whole tree."""

from __future__ import annotations

import json
from typing import Any

import fedmsg.encoding
import pytest

from pushmirror.core.lists import MAX_LIST_PATHS, list_digest
from pushmirror.core.messages import parse_update
from pushmirror.core.model import ChangeList, Head, Update
from pushmirror.core.paths import TreePath
from pushmirror.core.wire import MAX_INLINE_BYTES, parse_object
from pushmirror.keys import PrivateKey, seal
from pushmirror.publisher.announcement import Announcement, ComposedUpdate, compose_update, prepare_list
from pushmirror.publisher.identity import Identity

NOTHING = Head("1790000000000-0123456789abcdef", 0, None)
HEARD = Head(NOTHING.epoch, 41, "a" * 64)
AT_MS = 1_790_000_123_456


def paths(count: int, length: int = 20) -> tuple[TreePath, ...]:
    return tuple(TreePath(b"%0*d" % (length, number)) for number in range(count))


def compose(identity: Identity, changes: ChangeList | None, previous: Head = HEARD, **more: Any) -> ComposedUpdate:
    announcement = Announcement(identity, "debian", changes, **more)
    return compose_update(announcement, prepare_list(changes), previous, at_ms=AT_MS)


def read(composed: ComposedUpdate) -> Update:
    return parse_update(parse_object(composed.signed, max_bytes=MAX_INLINE_BYTES)["msg"])


def test_a_small_list_travels_in_the_message(identity: Identity) -> None:
    """The update says everything that was announced, and what it follows on."""
    changes = ChangeList(changed=paths(3), deleted=(TreePath(b"gone\xff"),), directories=(TreePath(b"dists"),))
    composed = compose(identity, changes, bytes=77, root_mtime_ns=5, max_clients=20)
    assert composed.inline
    assert read(composed) == Update(
        publisher="mirror.example.org",
        tree="debian",
        epoch=HEARD.epoch,
        serial=42,
        previous=41,
        previous_digest="a" * 64,
        at_ms=AT_MS,
        whole=False,
        list_digest=list_digest(changes),
        changes=changes,
        changed=3,
        deleted=1,
        bytes=77,
        root_mtime_ns=5,
        max_clients=20,
    )


def test_the_envelope_names_the_publisher_the_serial_and_the_topic(identity: Identity) -> None:
    """The parts of a message that fedmsg knows are those of fedmsg."""
    envelope = json.loads(compose(identity, None).signed)
    assert envelope["topic"] == "org.example.prod.pushmirror.tree.updated"
    assert (envelope["i"], envelope["username"], envelope["timestamp"]) == (42, "mirror.example.org", AT_MS // 1000)
    assert envelope["msg_id"].startswith("2026-") and len(envelope["msg_id"]) == 5 + 36


def test_the_first_update_follows_on_nothing(identity: Identity) -> None:
    """Serial 1 has no digest before it."""
    update = read(compose(identity, None, NOTHING))
    assert (update.serial, update.previous, update.previous_digest) == (1, 0, None)


def test_every_message_stays_under_the_limit_and_no_list_stays_out_needlessly(
    identity: Identity, key: PrivateKey
) -> None:
    """With the list growing path by path, the signed message is inline up to just under 64 KiB and never above."""
    sizes = {}
    for count in range(2700, 2860, 4):
        composed = compose(identity, ChangeList(changed=paths(count)))
        assert read(composed).changed == count
        sizes[count] = (composed.inline, len(seal(composed.signed, key)))
    inline = [size for is_inline, size in sizes.values() if is_inline]
    outside = [size for is_inline, size in sizes.values() if not is_inline]
    assert MAX_INLINE_BYTES - 700 < max(inline) < MAX_INLINE_BYTES
    assert outside and max(outside) < 2000
    assert [is_inline for is_inline, _ in sizes.values()] == sorted((is_i for is_i, _ in sizes.values()), reverse=True)


def test_a_list_that_does_not_fit_is_left_out_and_vouched_for(identity: Identity) -> None:
    """The header of a long list has its digest and its counts."""
    changes = ChangeList(changed=paths(5000), deleted=(TreePath(b"old"),))
    update = read(compose(identity, changes, bytes=9))
    assert update.changes is None and not update.whole
    assert update.list_digest == list_digest(changes)
    assert (update.changed, update.deleted, update.bytes) == (5000, 1, 9)


def test_the_whole_tree_has_no_list(identity: Identity) -> None:
    """An announcement without a list is one of the whole tree."""
    update = read(compose(identity, None, root_mtime_ns=7))
    assert update.whole and update.list_digest is None and update.changes is None and update.root_mtime_ns == 7


@pytest.mark.parametrize(("count", "fits"), [(MAX_LIST_PATHS, True), (MAX_LIST_PATHS + 1, False)])
def test_a_list_of_too_many_paths_becomes_the_whole_tree(count: int, fits: bool) -> None:
    """The number of paths in one list is bounded."""
    assert (prepare_list(ChangeList(changed=paths(count, 7))) is not None) == fits
    half, rest = paths(count // 2, 7), count - 2 * (count // 2)
    both = ChangeList(changed=half, deleted=tuple(map(TreePath, [b"x"] * rest)), bare=half)
    assert (prepare_list(both) is not None) == fits


def test_a_list_of_too_many_bytes_becomes_the_whole_tree() -> None:
    """The size of one list is bounded, too: long names reach it before the number of paths does."""
    deep = tuple(TreePath(b"/".join([b"%08d" % number, *[b"\xff" * 250] * 11])) for number in range(18_200))
    assert prepare_list(ChangeList(changed=deep)) is None
    assert prepare_list(ChangeList(changed=deep[:100])) is not None


def test_what_is_signed_is_what_fedmsg_would_encode(identity: Identity) -> None:
    """The canonical form is byte for byte that of fedmsg."""
    changes = ChangeList(changed=(TreePath("größe".encode()), TreePath(b'"quoted"\\')), deleted=(TreePath(b"\xff"),))
    signed = compose(identity, changes).signed
    assert fedmsg.encoding.dumps(json.loads(signed)).encode() == signed

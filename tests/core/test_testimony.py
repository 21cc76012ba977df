"""What a publisher has signed about where its trees are, and which message is as good as another."""

from __future__ import annotations

from typing import Any

import pytest

from pushmirror.core.messages import format_heartbeat, format_state, format_update, topic
from pushmirror.core.model import Head, Heartbeat, TreeState, Update
from pushmirror.core.testimony import check_address, read_testimony, vouches
from pushmirror.core.wire import attach, compose, digest, open_envelope
from pushmirror.errors import MalformedMessage

PUBLISHER, PREFIX, ENVIRONMENT = "t1.example.org", "org.example", "test"
EPOCH, OTHER_EPOCH = "1790000000000-0123456789abcdef", "1790000000001-0123456789abcdef"
HEAD = Head(EPOCH, 7, "d" * 64)
UPDATE = format_update(
    Update(
        publisher=PUBLISHER, tree="debian", epoch=EPOCH, serial=7, previous=6, previous_digest="c" * 64, at_ms=1,
        whole=True, list_digest=None, changes=None, changed=0, deleted=0, bytes=0,
    )
)  # fmt: skip
STATE = format_state(TreeState(PUBLISHER, "debian", HEAD, 1, "nonce-of-mine"))
HEARTBEAT = format_heartbeat(Heartbeat(PUBLISHER, 1, 1, 30_000, {"debian": HEAD, "fedora": Head(EPOCH, 0, None)}))


def message(kind: str, msg: dict[str, Any], prefix: str = PREFIX) -> bytes:
    """Return a message; whose signature it has does not matter here."""
    name = topic(prefix, ENVIRONMENT, kind)
    signed = compose(name, msg, msg_id="1", at_ms=1000, counter=1, username=PUBLISHER)
    return attach(signed, bytes(64), "ssh-ed25519 AAAA")


def test_each_kind_that_tells_where_trees_are_is_read() -> None:
    """The head of an update is the update itself."""
    update = open_envelope(message("tree.updated", UPDATE))
    itself = Head(EPOCH, 7, digest(update.signed))
    assert (read_testimony(update).publisher, read_testimony(update).heads) == (PUBLISHER, {"debian": itself})
    assert read_testimony(open_envelope(message("tree.state", STATE))).heads == {"debian": HEAD}
    assert read_testimony(open_envelope(message("tree.heartbeat", HEARTBEAT))).heads["debian"] == HEAD


@pytest.mark.parametrize("kind", ["tree.updating", "sync.completed", "relay.state", "relay.heartbeat"])
def test_nothing_else_is_testimony(kind: str) -> None:
    """Least of all what somebody else says."""
    envelope = open_envelope(message(kind, STATE))
    with pytest.raises(MalformedMessage, match="does not tell"):
        read_testimony(envelope)
    with pytest.raises(MalformedMessage, match="topic"):
        check_address(envelope, PUBLISHER, PREFIX, ENVIRONMENT)


def test_what_does_not_say_that_it_is_of_this_publisher_is_refused_unread() -> None:
    """By its topic and by its name."""
    check_address(open_envelope(message("tree.state", {"publisher": PUBLISHER})), PUBLISHER, PREFIX, ENVIRONMENT)
    with pytest.raises(MalformedMessage, match="another publisher"):
        check_address(open_envelope(message("tree.state", STATE)), "t9.example.org", PREFIX, ENVIRONMENT)
    with pytest.raises(MalformedMessage, match="topic"):
        check_address(open_envelope(message("tree.state", STATE, "org.other")), PUBLISHER, PREFIX, ENVIRONMENT)


def test_a_message_vouches_for_the_head_it_tells_and_for_those_before() -> None:
    """A journal that lacks an earlier update lacks the later one too, since each names the one before."""
    body = message("tree.state", STATE)
    assert vouches(body, "debian", HEAD) and vouches(body, "debian", Head(EPOCH, 3, "e" * 64))
    assert not vouches(body, "debian", Head(EPOCH, 8, "e" * 64))
    assert not vouches(body, "debian", Head(OTHER_EPOCH, 7, "d" * 64))
    assert not vouches(body, "fedora", HEAD)
    assert not vouches(b"no message", "debian", HEAD)

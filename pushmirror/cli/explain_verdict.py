"""Whether a subscriber would believe a message: the daemon's own checks in the daemon's own order, on one message."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pushmirror.core.messages import HEARTBEAT, UPDATED, kind_of, parse_heartbeat, parse_update, topic
from pushmirror.core.model import Heartbeat, Update
from pushmirror.core.wire import MAX_MESSAGE_BYTES, Envelope, digest, open_envelope_object, parse_object
from pushmirror.errors import MalformedMessage
from pushmirror.keys import PublicKey, verify_envelope
from pushmirror.settings.subscriber import SubscriberSettings
from pushmirror.subscriber.key_ring import KeyRing
from pushmirror.subscriber.ledger import Ledger

BELIEVED = "believed"
DROPPED = "dropped"
MAX_FILE_BYTES = 2 * MAX_MESSAGE_BYTES
"""A line of ``tail --json`` holds the message and some more."""


@dataclass(frozen=True)
class Verdict:
    """`cause` is the word under which the daemon counts a dropped message, `reason` the sentence."""

    verdict: str
    reason: str
    cause: str | None = None
    kind: str | None = None
    msg: Mapping[str, Any] | None = None
    upstream: str | None = None
    content: Update | Heartbeat | None = None
    digest: str | None = None


class _Drop(Exception):
    def __init__(self, cause: str, reason: str) -> None:
        super().__init__(reason)
        self.cause = cause


def judge_message(body: bytes, settings: SubscriberSettings, ledger: Ledger | None) -> Verdict:
    """Return what a subscriber with `settings` makes of a message, as it travels or as ``tail --json`` shows it.

    Exchanged keys count as its `ledger` has them, which must be a copy; without one only those that are pinned do.
    """
    kind: str | None = None
    msg: Mapping[str, Any] | None = None
    try:
        envelope = _open(body)
        kind, msg = kind_of(envelope.topic), envelope.msg
        upstream = _find_upstream(envelope, settings)
        if kind == UPDATED:
            _check_tree(msg, upstream, settings)
        verify_envelope(envelope, _find_keys(str(msg["tree"]) if kind == UPDATED else None, upstream, settings, ledger))
        content = parse_update(msg) if kind == UPDATED else parse_heartbeat(msg)
    except MalformedMessage as error:
        return Verdict(DROPPED, str(error), error.cause_name, kind, msg)
    except _Drop as drop:
        return Verdict(DROPPED, str(drop), drop.cause, kind, msg)
    reason = f"signed with a key that is believed for {upstream}"
    return Verdict(BELIEVED, reason, None, kind, msg, upstream, content, digest(envelope.signed))


def _open(body: bytes) -> Envelope:
    raw = parse_object(body, max_bytes=MAX_FILE_BYTES)
    shown = raw.get("envelope")
    if isinstance(shown, dict) and "msg" not in raw:
        raw = shown
    elif len(body.strip()) > MAX_MESSAGE_BYTES:
        raise MalformedMessage(f"{len(body)} bytes, above the limit of {MAX_MESSAGE_BYTES}")
    return open_envelope_object(raw)


def _find_upstream(envelope: Envelope, settings: SubscriberSettings) -> str:
    kind = kind_of(envelope.topic)
    speaking = {
        name
        for name, upstream in settings.upstreams.items()
        if kind in (UPDATED, HEARTBEAT) and envelope.topic == topic(upstream.topic_prefix, upstream.environment, kind)
    }
    if not speaking and kind is not None and kind.startswith("sync."):
        raise _Drop("topic", "a report of a node: subscribers do not listen to those")
    if not speaking:
        raise _Drop("topic", "none of the upstreams speaks under this topic")
    publisher = envelope.msg.get("publisher")
    if publisher not in speaking:
        raise _Drop("publisher", f"the publisher is not an upstream here; there are: {', '.join(sorted(speaking))}")
    return str(publisher)


def _find_keys(
    tree: str | None, upstream: str, settings: SubscriberSettings, ledger: Ledger | None
) -> tuple[PublicKey, ...]:
    """Return the keys that count for `tree`; None: for any of its trees, as a heartbeat may be about all of them."""
    trees = {name: found for name, found in settings.trees.items() if found.upstream == upstream}
    tree_keys = {name: keys for name, found in trees.items() if (keys := found.public_keys) is not None}
    known = settings.upstreams[upstream]
    if ledger is None:
        every = (*known.public_keys, *(key for keys in tree_keys.values() for key in keys))
        return every if tree is None else tree_keys.get(tree, known.public_keys)
    ring = KeyRing(
        upstream,
        known.public_keys,
        ledger,
        lambda: time.time_ns() // 1_000_000,
        tree_keys=tree_keys,
        accept_rotation=known.accept_rotation,
    )
    return ring.every if tree is None else ring.of_tree(tree)


def _check_tree(msg: Mapping[str, Any], upstream: str, settings: SubscriberSettings) -> None:
    tree = msg.get("tree")
    followed = [name for name, found in settings.trees.items() if found.upstream == upstream]
    if tree not in followed:
        raise _Drop("tree", f"this tree is not mirrored from {upstream} here; there are: {', '.join(followed)}")

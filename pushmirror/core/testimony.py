"""What a publisher has signed about where its trees are: testimony, which it can be held to when its journal is lost.

An update tells where one tree is, and so does the state that was asked for; a heartbeat tells it of all. Each of them
is sent only when the journal holds what it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pushmirror.core.messages import (
    HEARTBEAT,
    STATE,
    UPDATED,
    kind_of,
    parse_heartbeat,
    parse_state,
    parse_update,
    topic,
)
from pushmirror.core.model import Head
from pushmirror.core.wire import Envelope, digest, open_envelope
from pushmirror.errors import MalformedMessage


@dataclass(frozen=True)
class Testimony:
    """Where `publisher` said that its trees were."""

    publisher: str
    heads: Mapping[str, Head]


def read_testimony(envelope: Envelope) -> Testimony:
    """Return what a message tells of where trees are. Raises MalformedMessage; who signed it is for others to check."""
    kind = kind_of(envelope.topic)
    if kind == UPDATED:
        update = parse_update(envelope.msg)
        return Testimony(update.publisher, {update.tree: Head(update.epoch, update.serial, digest(envelope.signed))})
    if kind == STATE:
        state = parse_state(envelope.msg)
        return Testimony(state.publisher, {state.tree: state.head})
    if kind == HEARTBEAT:
        heartbeat = parse_heartbeat(envelope.msg)
        return Testimony(heartbeat.publisher, heartbeat.trees)
    raise MalformedMessage("the message does not tell where a tree is")


def check_address(envelope: Envelope, publisher: str, prefix: str, environment: str) -> None:
    """Raise MalformedMessage for a message that does not even say that it is testimony of `publisher`.

    This is cheap, and comes before the signature; the content, which may be a long list, is read after it.
    """
    if envelope.topic not in {topic(prefix, environment, kind) for kind in (UPDATED, STATE, HEARTBEAT)}:
        raise MalformedMessage("the topic is not that of an update, a state or a heartbeat of this publisher")
    if envelope.msg.get("publisher") != publisher:
        raise MalformedMessage("the message is of another publisher")


def vouches(body: bytes, tree: str, head: Head) -> bool:
    """Tell whether the message `body` is testimony about `head` of `tree`, or about a later one of the same epoch."""
    try:
        told = read_testimony(open_envelope(body)).heads.get(tree)
    except MalformedMessage:
        return False
    return told is not None and told.epoch == head.epoch and told.serial >= head.serial

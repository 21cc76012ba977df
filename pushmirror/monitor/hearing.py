"""Judges a message for somebody who only looks on: whose it is, and whether that is proven."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from pushmirror.core.messages import (
    HEARTBEAT,
    STATE,
    UPDATED,
    kind_of,
    parse_heartbeat,
    parse_report,
    parse_state,
    parse_update,
)
from pushmirror.core.relay_messages import (
    RELAY_HEARTBEAT,
    RELAY_STATE,
    parse_relay_heartbeat,
    parse_relay_state,
)
from pushmirror.core.wire import Envelope, open_envelope_object, parse_object
from pushmirror.errors import BadSignature, MalformedMessage
from pushmirror.keys import PublicKey, verify_envelope

MAX_SHOWN_BYTES = 128 * 1024
REPORT_PREFIX = "sync."


class Trust(Enum):
    """How far a message may be believed."""

    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    """Well-formed, and not signed with a key that is known here for whoever it claims to come from."""
    MALFORMED = "malformed"
    """Not what the protocol says, whoever signed it."""


@dataclass(frozen=True)
class Voice:
    """Who may speak under the topics that begin with `topic_start`: the publisher, the nodes that report to it, and the
    relays that hand its updates on. Of `tree_keys` each tree has its own, in the place of `keys`."""

    publisher: str
    topic_start: str
    keys: tuple[PublicKey, ...] = ()
    nodes: Mapping[str, PublicKey] = field(default_factory=dict)
    relays: Mapping[str, tuple[PublicKey, ...]] = field(default_factory=dict)
    tree_keys: Mapping[str, tuple[PublicKey, ...]] = field(default_factory=dict)

    def keys_for(self, msg: Mapping[str, Any]) -> tuple[PublicKey, ...]:
        """Return the keys that count for a message of the publisher, by the trees that it is about.

        For a heartbeat that is also the publisher's, whatever trees it tells of.
        """
        tree, trees = msg.get("tree"), msg.get("trees")
        if isinstance(tree, str):
            return self.tree_keys.get(tree, self.keys)
        about = trees if isinstance(trees, Mapping) else ()
        own = dict.fromkeys(key for keys in self.tree_keys.values() for key in keys)
        return (*self.keys, *(key for key in own if all(key in self.tree_keys.get(name, ()) for name in about)))


@dataclass(frozen=True)
class Heard:
    """One message. `kind` is the end of its topic, `raw` its envelope as it came (None: it was no JSON object).

    `cause` and `fault` say why it is not verified: one word, and a sentence.
    """

    topic: str
    kind: str | None
    raw: Mapping[str, Any] | None
    trust: Trust
    signer: str | None = None
    cause: str | None = None
    fault: str | None = None
    envelope: Envelope | None = None

    @property
    def msg(self) -> Mapping[str, Any]:
        """The content, unchecked; empty when there is none."""
        content = None if self.raw is None else self.raw.get("msg")
        return content if isinstance(content, Mapping) else {}


class _NotProven(BadSignature):
    """Nobody who is known here has signed it."""


def hear(topic_frame: bytes | None, body: bytes, voices: Iterable[Voice]) -> Heard:
    """Return what is to be made of one message. Raises nothing.

    `topic_frame` is the frame before it, None when the message did not come from the bus. `voices` are those who are
    known; without any, nothing can be verified.
    """
    topic = "" if topic_frame is None else topic_frame.decode("utf-8", "backslashreplace")
    raw: Mapping[str, Any] | None = None
    envelope: Envelope | None = None
    try:
        raw = parse_object(body, max_bytes=MAX_SHOWN_BYTES)
        if topic_frame is None:
            topic = raw["topic"] if isinstance(raw.get("topic"), str) else ""
        envelope = open_envelope_object(raw)
        if envelope.topic != topic:
            raise _fault("topic", "the topic of the frame is not the one that was signed")
        kind = kind_of(topic)
        if kind is None:
            raise _fault("topic", "the topic is not one of ours")
        signer = _verify(kind, envelope, voices)
        check_content(kind, envelope.msg)
    except MalformedMessage as error:
        trust = Trust.UNVERIFIED if isinstance(error, BadSignature) else Trust.MALFORMED
        return Heard(topic, kind_of(topic), raw, trust, cause=error.cause_name, fault=str(error), envelope=envelope)
    return Heard(topic, kind, raw, Trust.VERIFIED, signer=signer, envelope=envelope)


def check_content(kind: str, msg: Mapping[str, Any]) -> None:
    """Raises MalformedMessage when the content is not what the protocol says of its kind; unknown kinds pass."""
    if kind == UPDATED:
        parse_update(msg)
    elif kind == HEARTBEAT:
        parse_heartbeat(msg)
    elif kind == STATE:
        parse_state(msg)
    elif kind == RELAY_HEARTBEAT:
        parse_relay_heartbeat(msg)
    elif kind == RELAY_STATE:
        parse_relay_state(msg)
    elif kind.startswith(REPORT_PREFIX):
        parse_report(kind, msg)


def _verify(kind: str, envelope: Envelope, voices: Iterable[Voice]) -> str:
    """Return the name of whoever has signed: the publisher, the node of a report, or a relay."""
    publisher = envelope.msg.get("publisher")
    known = tuple(voices)
    if not known:
        raise _NotProven("no keys are known")
    voice = next((v for v in known if v.publisher == publisher and envelope.topic == v.topic_start + kind), None)
    if voice is None:
        raise _NotProven("no key is known here for this publisher and topic")
    if kind in (RELAY_HEARTBEAT, RELAY_STATE):
        relay = str(envelope.msg.get("relay"))
        verify_envelope(envelope, voice.relays.get(relay, ()))
        return relay
    if not kind.startswith(REPORT_PREFIX):
        verify_envelope(envelope, voice.keys_for(envelope.msg))
        return voice.publisher
    node = str(envelope.msg.get("node"))
    if node not in voice.nodes:
        raise _NotProven("the key of this node is not known here")
    verify_envelope(envelope, [voice.nodes[node]])
    return node


def _fault(cause_name: str, text: str) -> MalformedMessage:
    error = MalformedMessage(text)
    error.cause_name = cause_name
    return error

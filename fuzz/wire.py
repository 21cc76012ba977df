"""Bytes as a message: refused, or an envelope that nobody who is trusted has signed, whatever it says."""

from __future__ import annotations

from collections.abc import Iterable

from fuzz.harness import Believed
from fuzz.meaning import examples, read_as_every_kind
from fuzz.parties import PINNED, compose_message, forge, sign_as_stranger
from pushmirror.core.wire import Envelope, open_envelope
from pushmirror.errors import BadSignature, MalformedMessage
from pushmirror.keys import verify_envelope


def check(data: bytes) -> None:
    """No exception but MalformedMessage, no signature that fits, and one canonical form of what was read."""
    try:
        envelope = open_envelope(data)
    except MalformedMessage as error:
        assert str(error).isprintable(), str(error)
        return
    assert open_envelope(envelope.travelling) == envelope, "the canonical form is another message"
    _expect_refusal(envelope)
    read_as_every_kind(envelope.msg)


def _expect_refusal(envelope: Envelope) -> None:
    try:
        verify_envelope(envelope, [PINNED.public])
    except BadSignature:
        return
    raise Believed("a signature that nobody made was believed")


def seeds() -> Iterable[bytes]:
    """Yield each kind of message, signed by a stranger, forged and unsigned."""
    for kind, msg in examples():
        yield sign_as_stranger(kind, msg)
        yield forge(kind, msg)
        yield compose_message(kind, msg)

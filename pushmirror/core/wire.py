"""Messages as bytes, and back: canonical JSON, the fedmsg envelope, and the limits that come before any belief.

Everything here raises MalformedMessage, and nothing else, for bytes that are not what the protocol says
(``docs/protocol.md``). What a message means once it is well-formed is in `pushmirror.core.messages`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pushmirror.errors import BadSignature, MalformedMessage

FORMAT = 1
"""The version of the protocol that this program speaks; ``format`` in every message."""

CRYPTO = "ed25519"
MAX_MESSAGE_BYTES = 128 * 1024
"""A message on the bus; one with an inline list stays under 64 KiB, so this leaves room for any header."""
MAX_INLINE_BYTES = 64 * 1024
MAX_INTEGER = 2**63 - 1
MAX_TOPIC_LENGTH = 255
MAX_VALUES = 2_000_000
"""Twice what the longest list comes to. Each value takes a hundred bytes of memory, however short it is written."""
_MAX_TEXT = 1024
_MAX_INTEGER_DIGITS = 19
_SIGNATURE_BYTES = 64

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
_HEAD = b'{"crypto":'
_TAIL = re.compile(rb'("msg_id":"[^"\\]*"),("timestamp":[0-9]+,"topic":"[^"\\]*","username":"[^"\\]*"\})')
"""How the signed bytes of our own messages begin and end: ``certificate`` goes before the one, ``signature`` into the
other."""


def canonical(value: object) -> bytes:
    """Return the canonical JSON of `value`, which is what ``fedmsg.encoding.dumps`` gives: sorted, no spaces, ASCII."""
    return _ENCODER.encode(value).encode("ascii")


def digest(signed: bytes | bytearray) -> str:
    """Return the SHA-256 of `signed` as lower-case hexadecimal digits."""
    return hashlib.sha256(signed).hexdigest()


def parse_object(body: bytes | bytearray, *, max_bytes: int) -> dict[str, Any]:
    """Return the JSON object in `body`. Floating-point numbers, huge integers and repeated keys are malformed."""
    if len(body) > max_bytes:
        raise MalformedMessage(f"{len(body)} bytes, above the limit of {max_bytes}")
    # Counted before anything is made of them; commas in texts count as well.
    if len(body) > MAX_MESSAGE_BYTES and sum(map(body.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise MalformedMessage(f"more than {MAX_VALUES} values")
    try:
        return _check_object(_DECODER.decode(body.decode("utf-8")))
    except (ValueError, RecursionError) as error:
        raise _not_json(error) from error


def parse_object_in(text: str, start: int) -> tuple[dict[str, Any], int]:
    """Return the JSON object that begins at `start` of `text`, by the same rules, and where it ends."""
    try:
        value, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        raise _not_json(error) from error
    return _check_object(value), end


def _not_json(error: Exception) -> MalformedMessage:
    return MalformedMessage(f"not JSON: {type(error).__name__}")


def _check_object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedMessage("not a JSON object")
    return value


def _refuse_number(text: str) -> object:
    raise MalformedMessage(f"the number {text[:40]} is not an integer")


def _parse_integer(text: str) -> int:
    if len(text) > _MAX_INTEGER_DIGITS + 1:
        raise MalformedMessage("an integer has too many digits")
    return int(text)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedMessage("a key is repeated")
    return found


_DECODER = json.JSONDecoder(
    parse_float=_refuse_number,
    parse_constant=_refuse_number,
    parse_int=_parse_integer,
    object_pairs_hook=_unique_keys,
)


@dataclass(frozen=True)
class Envelope:
    """A message whose outer form is right and whose signature nobody has checked yet."""

    topic: str
    msg: Mapping[str, Any]
    signed: bytes
    """The canonical bytes that `signature` covers; their digest identifies the message."""
    signature: bytes
    certificate: str
    """The public key that the message claims, one OpenSSH line. It selects a pinned key; it is never one itself."""
    timestamp: int
    """When it was made, in seconds since the epoch, by the clock of whoever signed it."""
    counter: int
    """How many messages whoever signed it had made by then, since it was started."""

    @property
    def travelling(self) -> bytes:
        """The message as it travels, in its canonical form: signed bytes, signature and certificate."""
        return attach(self.signed, self.signature, self.certificate)


def compose(topic: str, msg: Mapping[str, Any], *, msg_id: str, at_ms: int, counter: int, username: str) -> bytes:
    """Return the bytes to be signed of a new message: its canonical JSON without signature and certificate."""
    return canonical(
        {
            "topic": topic,
            "msg": msg,
            "msg_id": msg_id,
            "timestamp": at_ms // 1000,
            "i": counter,
            "username": username,
            "crypto": CRYPTO,
        }
    )


def attach(signed: bytes, signature: bytes, certificate: str) -> bytes:
    """Return the message as it travels: `signed` (from `compose`) with its signature and the signer's public key."""
    signature_text = base64.b64encode(signature).decode("ascii")
    tail = _TAIL.fullmatch(signed, max(0, signed.rfind(b'"msg_id":')))
    if tail and signed.startswith(_HEAD):  # both have their places; the rest, which may be long, is left alone
        head = b'{"certificate":%s,' % canonical(certificate)
        return b'%s%s,"signature":"%s",%s' % (head, signed[1 : tail.end(1)], signature_text.encode(), tail[2])
    envelope = json.loads(signed)
    return canonical({**envelope, "signature": signature_text, "certificate": certificate})


def open_envelope(body: bytes, *, max_bytes: int = MAX_MESSAGE_BYTES) -> Envelope:
    """Return the envelope in `body`; its signature is still to be verified against a pinned key."""
    return open_envelope_object(parse_object(body, max_bytes=max_bytes))


def open_envelope_object(raw: Mapping[str, Any]) -> Envelope:
    """Return the envelope of an object that was parsed already, for example out of a line of the history service."""
    envelope = dict(raw)
    fields = Fields(envelope)
    if not fields.has("signature") or not fields.has("certificate"):
        raise BadSignature("the message is not signed")
    signature = _decode_signature(fields.text("signature"))
    certificate = fields.text("certificate")
    topic = fields.text("topic", max_length=MAX_TOPIC_LENGTH)
    msg = fields.object("msg")
    if fields.text("crypto") != CRYPTO:
        raise BadSignature(f"crypto is not {CRYPTO}")
    timestamp = fields.integer("timestamp")
    counter = fields.integer("i")
    fields.text("msg_id")
    fields.text("username")
    del envelope["signature"], envelope["certificate"]
    try:
        signed = canonical(envelope)
    except (ValueError, RecursionError) as error:
        raise MalformedMessage("the message has no canonical form") from error
    return Envelope(topic, msg, signed, signature, certificate, timestamp, counter)


def _decode_signature(text: str) -> bytes:
    try:
        signature = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadSignature("the signature is not base64") from error
    if len(signature) != _SIGNATURE_BYTES:
        raise BadSignature(f"the signature has not {_SIGNATURE_BYTES} bytes")
    return signature


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair, as an escape in the JSON: nothing could store or print it
        return False
    return True


class Fields:
    """Reads typed values out of a JSON object; a value that is not of its kind raises MalformedMessage."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self._raw = raw

    def has(self, key: str) -> bool:
        """Tell whether `key` is there and not null."""
        return self._raw.get(key) is not None

    def text(self, key: str, *, max_length: int = _MAX_TEXT) -> str:
        value = self._raw.get(key)
        if not isinstance(value, str) or len(value) > max_length or not _is_unicode(value):
            raise MalformedMessage(f"{key} is not a text of at most {max_length} characters")
        return value

    def integer(self, key: str, *, lowest: int = 0) -> int:
        value = self._raw.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= MAX_INTEGER:
            raise MalformedMessage(f"{key} is not an integer from {lowest} to {MAX_INTEGER}")
        return value

    def flag(self, key: str) -> bool:
        value = self._raw.get(key)
        if not isinstance(value, bool):
            raise MalformedMessage(f"{key} is neither true nor false")
        return value

    def object(self, key: str) -> Mapping[str, Any]:
        value = self._raw.get(key)
        if not isinstance(value, dict):
            raise MalformedMessage(f"{key} is not an object")
        return value

    def array(self, key: str) -> list[Any]:
        """Return the array at `key`; one that is absent is empty."""
        value = self._raw.get(key, [])
        if not isinstance(value, list):
            raise MalformedMessage(f"{key} is not an array")
        return value

"""The envelope of a message: what it must hold, and which bytes its signature covers."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pushmirror.core.wire import MAX_MESSAGE_BYTES, attach, canonical, compose, open_envelope, open_envelope_object
from pushmirror.errors import BadSignature, MalformedMessage
from tests.core.strategies import texts
from tests.core.test_wire import json_objects

SIGNATURE = bytes(range(64))
CERTIFICATE = "ssh-ed25519 AAAA mirror.example.org"
TOPIC = "org.example.prod.pushmirror.tree.updated"


def make_signed(msg: dict[str, Any]) -> bytes:
    """Return the bytes to be signed of a message with `msg` in it."""
    return compose(TOPIC, msg, msg_id="2026-1", at_ms=1_795_338_257_999, counter=7, username="mirror.example.org")


MESSAGE = attach(make_signed({"format": 1, "tree": "debian", "é": [1, {"b": None}]}), SIGNATURE, CERTIFICATE)


def test_composed() -> None:
    """A message has the fields of fedmsg's envelope, with whole seconds, in canonical form."""
    assert json.loads(make_signed({"a": 1})) == {
        "topic": TOPIC,
        "msg": {"a": 1},
        "msg_id": "2026-1",
        "timestamp": 1_795_338_257,
        "i": 7,
        "username": "mirror.example.org",
        "crypto": "ed25519",
    }
    assert make_signed({"a": 1}) == canonical(json.loads(make_signed({"a": 1})))


@given(json_objects, st.binary(min_size=64, max_size=64))
def test_signed_bytes_come_back(msg: dict[str, Any], signature: bytes) -> None:
    """The receiver checks the signature over exactly the bytes that were signed."""
    signed = make_signed(msg)
    envelope = open_envelope(attach(signed, signature, CERTIFICATE))
    assert envelope.signed == signed
    assert (envelope.topic, envelope.msg) == (TOPIC, msg)
    assert (envelope.signature, envelope.certificate) == (signature, CERTIFICATE)


texts_with_borders = st.sampled_from(["x", "é", '"', "\\", '","msg_id":"', '"timestamp":1,"topic":"']) | texts
extras = st.dictionaries(st.sampled_from(["a", "msg_ie", "since", "signaturf", "zone", 'n"msg_id']), json_objects)


@given(json_objects, st.tuples(texts_with_borders, texts_with_borders, texts_with_borders), extras)
@example({}, ("1", "x", "y"), {"a": 1})
@example({}, ("1", "x", "y"), {"since": 1})
@example({}, ("1", "x", "y"), {"zone": 1})
def test_signature_and_certificate_take_their_places(
    msg: dict[str, Any], names: tuple[str, str, str], extra: dict[str, Any]
) -> None:
    """A message travels in canonical form, whatever its texts hold and whichever keys it has besides."""
    msg_id, topic, username = names
    signed = compose(topic, msg, msg_id=msg_id, at_ms=1_795_338_257_999, counter=7, username=username)
    envelope = {**json.loads(signed), **extra}
    attached = attach(canonical(envelope), SIGNATURE, CERTIFICATE)
    signature = base64.b64encode(SIGNATURE).decode()
    assert attached == canonical({**envelope, "signature": signature, "certificate": CERTIFICATE})


@given(json_objects, st.booleans(), st.integers(0, 3))
def test_form_on_the_way_is_free(msg: dict[str, Any], ascii_only: bool, indent: int) -> None:
    """A message that was reformatted on its way, or whose keys were reordered, is signed over the same bytes."""
    signed = make_signed(msg)
    shuffled = dict(reversed(json.loads(attach(signed, SIGNATURE, CERTIFICATE)).items()))
    body = json.dumps(shuffled, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    try:
        envelope = open_envelope(body)
    except MalformedMessage:
        assert not ascii_only  # half a surrogate pair has no UTF-8
        return
    assert envelope.signed == signed


def test_further_fields_are_signed() -> None:
    """A field that this program does not know is kept among the signed bytes."""
    envelope = json.loads(MESSAGE)
    envelope["source_name"] = "datanommer"
    assert b'"source_name":"datanommer"' in open_envelope(canonical(envelope)).signed


WRONG: dict[str, tuple[object, ...]] = {
    "topic": (None, 1, True, [], {}, "x" * 256, "\ud800"),
    "msg": (None, 1, "", [], True),
    "msg_id": (None, 1, "x" * 1025, []),
    "timestamp": (None, "1", True, -1, 2**63, []),
    "i": (None, "1", False, -1, 2**63, {}),
    "username": (None, 1, "x" * 1025, "\udfff"),
    "crypto": (None, 1, "", "x509", "gpg", "ED25519"),
    "certificate": (None, 1, [], "x" * 1025),
    "signature": (
        None,
        1,
        "",
        "=",
        "not base64",
        "é" * 88,
        "\ud800",
        base64.b64encode(SIGNATURE).decode() + "\n",
        base64.b64encode(SIGNATURE[:-1]).decode(),
        base64.b64encode(SIGNATURE + b"x").decode(),
    ),
}


@pytest.mark.parametrize("key", WRONG)
def test_missing_field(key: str) -> None:
    """An envelope without one of its fields is malformed."""
    envelope = json.loads(MESSAGE)
    del envelope[key]
    with pytest.raises(MalformedMessage) as caught:
        open_envelope(canonical(envelope))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_mistyped_field(key: str, value: object) -> None:
    """An envelope with a field of another kind is malformed, and the words name the field."""
    with pytest.raises(MalformedMessage, match=f"{key}|the message is not signed") as caught:
        open_envelope(canonical({**json.loads(MESSAGE), key: value}))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("absent", [("signature",), ("certificate",), ("signature", "certificate", "crypto")])
def test_unsigned(absent: tuple[str, ...]) -> None:
    """An envelope without a signature or without the signer's key counts as unsigned, not as a faulty form."""
    envelope = {key: value for key, value in json.loads(MESSAGE).items() if key not in absent}
    with pytest.raises(BadSignature, match="not signed"):
        open_envelope(canonical(envelope))


def test_the_argument_is_left_alone() -> None:
    """Opening an object that was parsed already does not change it."""
    envelope = json.loads(MESSAGE)
    open_envelope_object(envelope)
    assert envelope == json.loads(MESSAGE)


def test_message_of_the_limit() -> None:
    """A message may have as many bytes as the limit, not one more."""
    room = MAX_MESSAGE_BYTES - len(attach(make_signed({"a": ""}), SIGNATURE, CERTIFICATE))
    largest = attach(make_signed({"a": "x" * room}), SIGNATURE, CERTIFICATE)
    assert len(largest) == MAX_MESSAGE_BYTES
    assert open_envelope(largest).msg == {"a": "x" * room}
    with pytest.raises(MalformedMessage, match="above the limit"):
        open_envelope(largest + b" ")


def test_truncated_at_every_byte() -> None:
    """A message that was cut short anywhere is malformed."""
    for length in range(len(MESSAGE)):
        with pytest.raises(MalformedMessage):
            open_envelope(MESSAGE[:length])


@pytest.mark.parametrize("depth", [*range(880, 1060, 8), 100_000])
def test_deep_nesting(depth: int) -> None:
    """A message that can be read but is nested too deep for its canonical form is malformed, not an accident."""
    body = MESSAGE[:-1] + b',"z":' + b"[" * depth + b"]" * depth + b"}"
    try:
        envelope = open_envelope(body, max_bytes=10_000_000)
    except MalformedMessage:
        return
    assert envelope.topic == TOPIC


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """Return the valid message with some of its bytes replaced, removed, repeated or inserted."""
    body = bytearray(MESSAGE)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(body)))
        end = min(len(body), start + draw(st.integers(0, 6)))
        pieces = st.binary(max_size=4) | st.sampled_from(
            [b"null", b"true", b"[]", b"{}", b"1e5", b'"', b"\\ud800", b"-"]
        )
        body[start:end] = draw(pieces)
    return bytes(body)


@given(mutations() | st.binary(max_size=200))
def test_any_bytes(body: bytes) -> None:
    """Whatever the bytes are: an envelope in order, or MalformedMessage in printable words."""
    try:
        envelope = open_envelope(body)
    except MalformedMessage as error:
        assert str(error).isprintable()
        return
    assert len(envelope.signature) == 64
    assert json.loads(envelope.signed)["msg"] == envelope.msg


@given(st.dictionaries(st.sampled_from(sorted(WRONG)), json_objects | st.none() | texts | st.integers(), max_size=3))
def test_any_fields(changed: dict[str, Any]) -> None:
    """Whatever the values of the fields are: an envelope, or MalformedMessage."""
    try:
        open_envelope_object({**json.loads(MESSAGE), **changed})
    except MalformedMessage as error:
        assert str(error).isprintable()

"""JSON from strangers: the canonical form, and everything that is refused before its meaning is looked at."""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

import fedmsg.encoding
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror.core.wire import MAX_INTEGER, Fields, canonical, digest, parse_object
from pushmirror.errors import MalformedMessage

LIMIT = 10_000_000

json_texts = st.text(max_size=8)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), MAX_INTEGER) | json_texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(json_texts, inner, max_size=4),
    max_leaves=12,
)
json_objects = st.dictionaries(json_texts, json_values, max_size=5)


@given(json_objects)
def test_canonical_is_that_of_fedmsg(value: dict[str, Any]) -> None:
    """The canonical form is byte for byte what fedmsg writes."""
    assert canonical(value) == fedmsg.encoding.dumps(value).encode("ascii")


def test_canonical_form() -> None:
    """Keys are sorted by code point, there are no spaces, and everything beyond ASCII is escaped."""
    value = {"b": [1, None, True], "a": {"é": "日", "Z": '"\n'}, "": -0}
    assert canonical(value) == rb'{"":0,"a":{"Z":"\"\n","\u00e9":"\u65e5"},"b":[1,null,true]}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_canonical_refuses_what_json_lacks(value: float) -> None:
    """There is no canonical form of a number that JSON cannot write."""
    with pytest.raises(ValueError, match="JSON"):
        canonical({"a": value})


def test_digest() -> None:
    """A digest is SHA-256 in lower-case hexadecimal digits."""
    assert digest(b"abc") == hashlib.sha256(b"abc").hexdigest()
    assert digest(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(json_objects)
def test_objects_come_back(value: dict[str, Any]) -> None:
    """What was written in canonical form is read as it was."""
    assert parse_object(canonical(value), max_bytes=LIMIT) == value


MALFORMED = {
    "empty": b"",
    "blank": b"  ",
    "array": b"[]",
    "text": b'"a"',
    "number": b"1",
    "null": b"null",
    "two objects": b"{}{}",
    "byte order mark": b"\xef\xbb\xbf{}",
    "not UTF-8": b'{"a":"\xff"}',
    "surrogate in UTF-8": b'{"a":"\xed\xa0\x80"}',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "NUL": b"\0",
    "raw newline in text": b'{"a":"\n"}',
    "float": b'{"a":1.0}',
    "exponent": b'{"a":1e3}',
    "huge exponent": b'{"a":1e999999}',
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":Infinity}',
    "minus Infinity": b'{"a":[-Infinity]}',
    "long float": b'{"a":0.' + b"1" * 10_000 + b"}",
    "integer of 21 digits": b'{"a":' + b"1" * 21 + b"}",
    "integer of 100,000 digits": b'{"a":' + b"1" * 100_000 + b"}",
    "repeated key": b'{"a":1,"a":1}',
    "repeated key in another spelling": b'{"a":1,"\\u0061":2}',
    "repeated key below": b'{"a":[{"b":1,"b":2}]}',
    "single quotes": b"{'a':1}",
    "trailing comma": b'{"a":1,}',
    "comment": b'{"a":1}//',
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed(body: bytes) -> None:
    """What is not a JSON object of texts and modest integers is refused in printable words."""
    with pytest.raises(MalformedMessage) as caught:
        parse_object(body, max_bytes=LIMIT)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


@given(st.floats())
def test_no_float_passes(value: float) -> None:
    """No floating-point number is read, whole ones included."""
    with pytest.raises(MalformedMessage):
        parse_object(json.dumps({"a": [value]}).encode(), max_bytes=LIMIT)


def test_size_limit() -> None:
    """A body may have exactly as many bytes as the limit says."""
    assert parse_object(b'{"a":1}', max_bytes=7) == {"a": 1}
    with pytest.raises(MalformedMessage, match="7 bytes, above the limit of 6"):
        parse_object(b'{"a":1}', max_bytes=6)


def nested(depth: int, opening: bytes, closing: bytes) -> bytes:
    """Return an object with `depth` containers inside each other."""
    return b'{"a":' + opening * depth + b"1" + closing * depth + b"}"


RECURSION_LIMIT = sys.getrecursionlimit()


@pytest.mark.parametrize("form", [(b"[", b"]"), (b'{"a":', b"}")], ids=["arrays", "objects"])
@pytest.mark.parametrize("depth", [*range(RECURSION_LIMIT - 120, RECURSION_LIMIT + 60, 10), 100_000, 1_000_000])
def test_deep_nesting(depth: int, form: tuple[bytes, bytes]) -> None:
    """However deep a body is nested, near the interpreter's limit or far above: it is read, or refused."""
    body = nested(depth, *form)
    try:
        value = parse_object(body, max_bytes=LIMIT)
    except MalformedMessage as error:
        assert str(error).isprintable()
    else:
        assert set(value) == {"a"}
    with pytest.raises(MalformedMessage):
        parse_object(body[:-1], max_bytes=LIMIT)


def test_truncated_at_every_byte() -> None:
    """No beginning of an object is taken for an object."""
    body = b'{"a":[1,true,null,"x\\u00e9"],"b":{"c":-12}} '
    for length in range(len(body.rstrip())):
        with pytest.raises(MalformedMessage):
            parse_object(body[:length], max_bytes=LIMIT)
    assert parse_object(body, max_bytes=LIMIT)["b"] == {"c": -12}


@given(st.binary(max_size=64) | st.text(max_size=32).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes(body: bytes) -> None:
    """Whatever the bytes are: an object, or MalformedMessage."""
    try:
        value = parse_object(body, max_bytes=LIMIT)
    except MalformedMessage:
        return
    assert isinstance(value, dict)


VALUES: dict[str, object] = {
    "null": None,
    "true": True,
    "zero": 0,
    "minus one": -1,
    "highest": MAX_INTEGER,
    "above highest": MAX_INTEGER + 1,
    "text": "a",
    "long text": "x" * 1024,
    "too long text": "x" * 1025,
    "half a surrogate pair": "a\ud800",
    "array": [],
    "object": {},
}
TAKEN = {
    "text": {"text", "long text"},
    "integer": {"zero", "highest"},
    "flag": {"true"},
    "object": {"object"},
    "array": {"array"},
}


@pytest.mark.parametrize("kind", TAKEN)
@pytest.mark.parametrize("value", VALUES)
def test_fields(kind: str, value: str) -> None:
    """A value of another kind is malformed; true is no integer, an integer has bounds, a text is Unicode."""
    read = getattr(Fields({"key": VALUES[value]}), kind)
    if value in TAKEN[kind]:
        assert read("key") == VALUES[value]
        return
    with pytest.raises(MalformedMessage, match=r"^key is n") as caught:
        read("key")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("kind", ["text", "integer", "flag", "object"])
def test_absent_field(kind: str) -> None:
    """A field that is not there is malformed; only an array that is absent is empty."""
    with pytest.raises(MalformedMessage):
        getattr(Fields({}), kind)("key")
    assert Fields({}).array("key") == []


def test_has() -> None:
    """Null counts as absent."""
    fields = Fields({"null": None, "zero": 0, "no": False})
    assert [fields.has(key) for key in ("null", "zero", "no", "absent")] == [False, True, True, False]


def test_lowest_integer() -> None:
    """The lowest integer that is taken can be set."""
    assert Fields({"key": -1}).integer("key", lowest=-1) == -1
    with pytest.raises(MalformedMessage, match="from -1 to"):
        Fields({"key": -2}).integer("key", lowest=-1)

"""Lines of the history: what a service writes is taken apart without a copy, and any other form of it just as well."""

from __future__ import annotations

import contextlib
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror.core.history_line import list_body, split_line
from pushmirror.core.wire import MAX_MESSAGE_BYTES, MAX_VALUES, canonical, digest, parse_object
from pushmirror.errors import MalformedMessage
from tests.core.test_wire import json_objects

LISTED: dict[str, Any] = {"changed": ["pool/\u00e9", 'pool/,"list":null}'], "deleted": [], "directories": []}
UPDATE: dict[str, Any] = {"msg": {"tree": "debian"}, "topic": ',"list":'}


def make_line(update: object, listed: object) -> bytearray:
    """Return a line as services write it."""
    return bytearray(b'{"update":%s,"list":%s}' % (canonical(update), canonical(listed)))


@given(json_objects, st.none() | json_objects)
def test_round_trip(update: dict[str, Any], listed: dict[str, Any] | None) -> None:
    """The update comes back as an object, its list as the bytes that came."""
    found = split_line(make_line(update, listed))
    assert found.update == update
    assert found.listed == (None if listed is None else canonical(listed))


def test_a_long_list_is_not_copied() -> None:
    """What is left of the line is the list."""
    line = make_line(UPDATE, LISTED)
    assert split_line(line).listed is line


@pytest.mark.parametrize(
    "line",
    [
        json.dumps({"update": UPDATE, "list": LISTED}).encode(),
        json.dumps({"list": LISTED, "update": UPDATE}).encode(),
        json.dumps({"update": UPDATE, "list": LISTED}, ensure_ascii=False, indent=1).encode(),
        b'{"update":%s,"list":%s,"later":1}' % (canonical(UPDATE), canonical(LISTED)),
        b'{"update":%s,"later":1,"list":%s}' % (canonical(UPDATE), canonical(LISTED)),
        b'{"update":%s, "list":%s}' % (canonical(UPDATE), json.dumps(LISTED).encode()),
        b'{"update":%s,"list":%s}' % (canonical(UPDATE), json.dumps(LISTED, ensure_ascii=False).encode()),
        b'{"update":%s%s,"list":%s}' % (b" " * MAX_MESSAGE_BYTES, canonical(UPDATE), canonical(LISTED)),
    ],
)  # fmt: skip
def test_other_forms(line: bytes) -> None:
    """A line may be written in any way that JSON allows, with keys that are not known."""
    found = split_line(bytearray(line))
    assert found.update == UPDATE
    assert parse_object(list_body(found.listed, digest(canonical(LISTED))), max_bytes=1000) == LISTED


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"null", b'{"update":', b'{"update":{}', b'{"update":1,"list":null}', b'{"update":{},"list":nul',
     b"[]", b'{"update":{},"list":[]}x', b'{"update":{"a":1.5},"list":null}', b'{"update":{},"update":{},"list":null}',
     b'{"list":null}', b"\xff", b'{"update":{"a":1,"a":2},"list":null}'],
)  # fmt: skip
def test_malformed(line: bytes) -> None:
    """What is no line of the history is malformed."""
    with pytest.raises(MalformedMessage):
        split_line(bytearray(line))


@pytest.mark.parametrize("listed", [None, b"{}", b'{"changed":[}', b"null", b"[1]", b'{},"list":{}', b"1.5", b"\xff"])
def test_another_list(listed: bytes | None) -> None:
    """A list that is not the one of the header, in whatever form, is malformed."""
    with pytest.raises(MalformedMessage):
        list_body(listed, digest(canonical(LISTED)))


def test_the_list_has_its_canonical_form() -> None:
    """The bytes that are handed on are those of the digest, also when others came."""
    body = canonical(LISTED)
    assert list_body(json.dumps(LISTED, indent=2).encode(), digest(body)) == body
    assert list_body(body, digest(body)) is body


def measure(read: Callable[[bytearray], object], body: bytes) -> int:
    """Return how many bytes of memory reading takes at its highest, beside those that are read."""
    line = bytearray(body)
    tracemalloc.start()
    try:
        with contextlib.suppress(MalformedMessage):
            read(line)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_millions_of_empty_values_are_not_made() -> None:
    """Plain JSON takes twenty times the size of such a line, before any signature could be looked at."""
    attack = b'{"update":{},"more":[' + b"[]," * (MAX_VALUES // 2) + b"0]}"
    assert measure(json.loads, attack) > 20 * len(attack)
    assert measure(split_line, attack) < len(attack) / 4
    with pytest.raises(MalformedMessage, match="values"):
        split_line(bytearray(attack))


def test_an_update_is_no_longer_than_a_message() -> None:
    """In whatever form its line is written."""
    update = {"text": "x" * MAX_MESSAGE_BYTES}
    with pytest.raises(MalformedMessage, match="update of more than"):
        split_line(bytearray(json.dumps({"update": update, "list": None}).encode()))

"""Change lists and lines of the history: two ways of reading them, which must come to the same."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable

from fuzz.meaning import examples, judge_changes
from fuzz.parties import CHANGES, sign_as_stranger
from pushmirror.core.history_line import list_body, split_line
from pushmirror.core.lists import MAX_LIST_BYTES, format_changes, open_changes, parse_changes
from pushmirror.core.messages import UPDATED
from pushmirror.core.model import ChangeList
from pushmirror.core.wire import canonical, digest, parse_object
from pushmirror.errors import MalformedMessage


def check(data: bytes) -> None:
    """Read `data` as a list, out of its bytes and as JSON, and as a line of the history."""
    changes = _read_plainly(data)
    assert _read_packed(data) == changes, "two ways of reading a list differ"
    if changes is not None:
        judge_changes(changes)
        assert open_changes(canonical(format_changes(changes))) == changes
    _check_line(data)


def _read_plainly(data: bytes) -> ChangeList | None:
    try:
        return parse_changes(parse_object(data, max_bytes=MAX_LIST_BYTES))
    except MalformedMessage as error:
        assert str(error).isprintable(), str(error)
        return None


def _read_packed(data: bytes) -> ChangeList | None:
    try:
        return open_changes(data)
    except MalformedMessage as error:
        assert str(error).isprintable(), str(error)
        return None


def _check_line(data: bytes) -> None:
    try:
        line = split_line(bytearray(data))
        if line.listed is not None:
            open_changes(list_body(line.listed, digest(line.listed)))
        list_body(line.listed, "0" * 64)
    except MalformedMessage as error:
        assert str(error).isprintable(), str(error)
        return
    raise AssertionError("a list was taken that has another digest")


def seeds() -> Iterable[bytes]:
    """Yield lists in canonical form and in others, and lines."""
    listed = format_changes(CHANGES)
    yield canonical(listed)
    yield canonical({**listed, "stamps": [["dists/InRelease", 1, 2]], "bare": ["dists"], "more": {"changed": ["x"]}})
    yield canonical({"changed": ["a", "b"], "deleted": ["c"], "directories": ["d"], "linked_bytes": [["/w==", "YQ=="]]})
    for odd in (b"../\xff", b"\xff//a", b"/\xff", b"\xff\0", b".~tmp~/\xff", b"\xff" * 256):
        yield canonical({**listed, "changed_bytes": [b64encode(odd).decode()]})
        yield canonical({**listed, "linked_bytes": [[b64encode(odd).decode(), "YQ=="]]})
    yield b'{ "changed" : [ "a" ], "deleted": [], "directories": [] }'
    yield b'{"changed":["],[\\",\\"deleted\\":["],"deleted":["a"],"directories":[]}'
    yield b'{"changed":[],"deleted":[],"changed":[]}'
    for kind, msg in examples():
        if kind == UPDATED:
            envelope = sign_as_stranger(kind, msg)
            yield b'{"update":%s,"list":null}' % envelope
            yield b'{"update":%s,"list":%s}' % (envelope, canonical(listed))
            yield b'{"list":%s,"update":%s}' % (canonical(listed), envelope)

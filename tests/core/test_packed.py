"""Change lists read out of their bytes: the same as through objects of JSON, at a fraction of the memory."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror.core.lists import MAX_LIST_PATHS, format_changes, open_changes, parse_changes
from pushmirror.core.model import ChangeList
from pushmirror.core.packed import NotPacked, unpack
from pushmirror.core.paths import TreePath
from pushmirror.core.wire import MAX_VALUES, canonical, parse_object
from pushmirror.errors import MalformedMessage
from tests.core.strategies import change_lists
from tests.core.test_lists import HOSTILE_LISTS, HOSTILE_PATHS, listings, make_raw

LIMIT = 1_000_000


def read_as_objects(body: bytes) -> ChangeList | None:
    """Return what `body` says when it is read as any JSON is, None when it is refused."""
    try:
        return parse_changes(parse_object(body, max_bytes=LIMIT))
    except MalformedMessage:
        return None


def read(body: bytes) -> ChangeList | None:
    """Return what `body` says, None when it is refused."""
    try:
        return open_changes(body)
    except MalformedMessage:
        return None


@given(change_lists())
def test_round_trip(changes: ChangeList) -> None:
    """A list comes back from its canonical bytes, however it is read."""
    assert open_changes(canonical(format_changes(changes))) == changes


@given(change_lists(), st.booleans(), st.sampled_from([None, 1]))
def test_any_form(changes: ChangeList, ascii_only: bool, indent: int | None) -> None:
    """A list that is written in another form than the canonical one is read as well."""
    body = json.dumps(format_changes(changes), ensure_ascii=ascii_only, indent=indent).encode()
    assert open_changes(body) == changes


@given(listings)
def test_any_object(raw: dict[str, Any]) -> None:
    """Whatever the object: both ways to read it say the same."""
    assert read(canonical(raw)) == read_as_objects(canonical(raw))


@pytest.mark.parametrize("raw", HOSTILE_LISTS.values(), ids=HOSTILE_LISTS.keys())
def test_hostile_lists(raw: dict[str, Any]) -> None:
    """What is refused as an object is refused as bytes."""
    with pytest.raises(MalformedMessage):
        open_changes(canonical(raw))


@pytest.mark.parametrize("path", HOSTILE_PATHS.values(), ids=HOSTILE_PATHS.keys())
def test_hostile_paths(path: object) -> None:
    """A path that could leave its tree refuses the whole list."""
    with pytest.raises(MalformedMessage):
        open_changes(canonical(make_raw(changed=[path])))


DISGUISED = {
    "inside of an unknown array": b'{"aa":[{"Q":[1],"changed":["evil"],"deleted":[],"zz":[]}]}',
    "inside of an unknown object": b'{"aa":{"changed":["evil"],"deleted":[]},"changed":[],"deleted":[]}',
    "inside of a known array": b'{"changed":[{"Q":[1],"deleted":["evil"]}],"directories":[]}',
    "behind the end": b'{"changed":["a"]} {"deleted":["evil"]}',
    "cut off": b'{"changed":["a"],"deleted":["b"]',
    "a key twice": b'{"changed":["a"],"changed":["evil"]}',
    "keys out of order": b'{"deleted":["b"],"changed":["a"]}',
    "in a text": b'{"changed":["a,\\"deleted\\":[\\"evil\\"]"],"deleted":["b"]}',
    "a comma too many": b'{"changed":["a",],"deleted":["b"]}',
    "a comma in the place of the brace": b',"changed":["a"],"deleted":["b"]}',
    "a brace in the place of a comma": b'{"changed":["a"]{"deleted":["b"]}',
    "a number with a fraction": b'{"changed":["a"],"stamps":[["a",1.0,1]]}',
    "nothing": b"",
    "no object": b"[]",
    "not UTF-8": b'{"changed":["\xff"]}',
}


@pytest.mark.parametrize("body", DISGUISED.values(), ids=DISGUISED.keys())
def test_what_only_looks_like_a_list(body: bytes) -> None:
    """A key counts where JSON has one, and nowhere else."""
    assert read(body) == read_as_objects(body)


def long_list(count: int) -> ChangeList:
    """Return a list of many puts, of which some have what looks like a border between them in their name."""
    names = (b'%06d/],["/,"/%s' % (number, b"x" * 80) for number in range(count))
    changed = tuple(map(TreePath, names))
    pairs = tuple((path, TreePath(b"s%s" % path)) for path in changed[: count // 10])
    return ChangeList(changed=changed, linked=pairs)


def test_a_list_of_many_blocks() -> None:
    """Borders between blocks are found where items end, and not in names that look like one."""
    changes = long_list(5000)
    body = canonical(format_changes(changes))
    assert len([*unpack(body, ("changed", "deleted", "directories", "linked"))["linked"]]) == len(changes.linked)
    assert open_changes(body) == changes


def test_memory_of_a_long_list() -> None:
    """Beside the bytes of a list there is memory for its paths, and for hardly anything else."""
    changes = long_list(20_000)
    body = canonical(format_changes(changes))
    tracemalloc.start()
    try:
        found = open_changes(body)
        kept_bytes, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == changes
    assert peak_bytes - kept_bytes < len(body) / 4


@pytest.mark.parametrize(
    "body",
    [
        b'{"changed":[' + b"[]," * (MAX_VALUES // 2) + b"0]}",
        b'{"changed":["a",' + b"0," * MAX_VALUES + b"0]}",
        b'{"changed":[' * (MAX_VALUES // 2 + 1) + b"]}",
    ],
    ids=["arrays", "numbers", "keys"],
)
def test_memory_of_what_is_no_list(body: bytes) -> None:
    """What a publisher signs that was taken over is refused before millions of objects are made of it."""
    tracemalloc.start()
    try:
        with pytest.raises(MalformedMessage):
            open_changes(body)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < len(body) / 4


def test_more_paths_than_the_limit() -> None:
    """A list with more items than the limit is refused, one with just so many is taken."""
    most = [f"{number:06}" for number in range(MAX_LIST_PATHS)]
    assert len(open_changes(canonical(make_raw(changed=most))).changed) == MAX_LIST_PATHS
    with pytest.raises(MalformedMessage, match="more than"):
        open_changes(canonical(make_raw(changed=most, deleted=["x"])))


def test_other_keys_are_left_to_json() -> None:
    """An object with a key that is not known is not read like this."""
    with pytest.raises(NotPacked):
        unpack(b'{"changed":["a"],"later":["b"]}', ("changed",))

"""Change lists on the wire: one form for each list, and a refusal for everything else."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror.core.lists import MAX_LIST_PATHS, format_changes, list_digest, parse_changes
from pushmirror.core.model import ChangeList
from pushmirror.core.paths import MAX_PATH_BYTES, TreePath
from pushmirror.core.wire import canonical, digest, parse_object
from pushmirror.errors import MalformedMessage, UntrustedPath
from tests.core.strategies import change_lists
from tests.core.test_wire import json_objects, json_values

KEYS = ("changed", "deleted", "directories")
LIMIT = 100_000_000


def tree_paths(*raw: bytes) -> tuple[TreePath, ...]:
    """Return `raw` as paths, unchecked."""
    return tuple(map(TreePath, raw))


def in_base64(*raw: bytes) -> list[str]:
    """Return `raw` as the wire writes what is not UTF-8."""
    return [base64.b64encode(path).decode() for path in raw]


def make_raw(**arrays: Any) -> dict[str, Any]:
    """Return the JSON object of an otherwise empty list."""
    return {"changed": [], "deleted": [], "directories": [], **arrays}


def test_format() -> None:
    """Names that are UTF-8 travel as text with dashes masked, the others as base64, each array sorted as written."""
    changes = ChangeList(
        changed=tree_paths(b"-rf", b"a", b"caf\xe9", "é".encode(), b"\xff"),
        deleted=tree_paths(b"-", b"\xfe"),
        directories=tree_paths(b"d"),
        linked=((TreePath(b"-rf"), TreePath(b"s")), (TreePath(b"a"), TreePath(b"\xff"))),
        bare=tree_paths(b"-rf", b"\xff"),
    )
    assert format_changes(changes) == {
        "changed": ["./-rf", "a", "é"],
        "changed_bytes": sorted(in_base64(b"caf\xe9", b"\xff")),
        "deleted": ["./-"],
        "deleted_bytes": in_base64(b"\xfe"),
        "directories": ["d"],
        "bare": ["./-rf"],
        "bare_bytes": in_base64(b"\xff"),
        "linked": [["./-rf", "s"]],
        "linked_bytes": [in_base64(b"a", b"\xff")],
    }


def test_format_of_the_empty_list() -> None:
    """The three arrays of paths are always there, the others only when they hold something."""
    assert format_changes(ChangeList()) == make_raw()


@given(change_lists())
def test_round_trip(changes: ChangeList) -> None:
    """A list comes back from its canonical bytes, and has the digest of exactly these."""
    body = canonical(format_changes(changes))
    assert parse_changes(parse_object(body, max_bytes=LIMIT)) == changes
    assert list_digest(changes) == digest(body)


@given(st.data())
def test_a_list_has_one_form(data: st.DataObject) -> None:
    """A form of a list that is taken is the one that would be written, empty arrays apart."""
    raw = format_changes(data.draw(change_lists()))
    key = data.draw(st.sampled_from(sorted(raw)))
    altered = {**raw, key: data.draw(st.permutations(raw[key]).map(list) | st.just(raw[key] * 2))}
    try:
        changes = parse_changes(altered)
    except MalformedMessage:
        assert altered != raw
        return
    assert format_changes(changes) == altered == raw


def test_order_is_that_of_bytes() -> None:
    """Order is by the bytes as written: a plane beyond the basic one sorts after it, unlike in UTF-16."""
    assert parse_changes(make_raw(changed=["\ufffd", "\U0001f600"])).changed
    with pytest.raises(MalformedMessage, match="sorted"):
        parse_changes(make_raw(changed=["\U0001f600", "\ufffd"]))
    assert parse_changes(make_raw(changed=["./-a", "/".join("ab"), "a0"])).changed == tree_paths(b"-a", b"a/b", b"a0")


HOSTILE_PATHS: dict[str, object] = {
    "leaves the tree": "../x",
    "leaves the tree later": "a/../../x",
    "two dots": "..",
    "dot": ".",
    "absolute": "/x",
    "dash": "-x",
    "dash alone": "-",
    "dot and dash escaping": "./-/../../x",
    "dot before no dash": "./x",
    "empty": "",
    "empty part": "a//b",
    "dot part": "a/./b",
    "trailing slash": "a/",
    "NUL": "a\0b",
    "part too long": "x" * 256,
    "path too long": "a/" * (MAX_PATH_BYTES // 2) + "a",
    "far too long": "x" * 100_000,
    "surrogate": "a\ud800",
    "low surrogate": "\udcff",
    "reserved": "a/.~tmp~/b",
    "ours": ".~pushmirror~/x",
    "integer": 1,
    "true": True,
    "null": None,
    "array": ["a"],
    "object": {"path": "a"},
}
HOSTILE_BYTES: dict[str, object] = {
    "UTF-8": in_base64(b"a")[0],
    "UTF-8 beyond ASCII": in_base64("é".encode())[0],
    "UTF-8 with a dash": in_base64(b"-x")[0],
    "leaves the tree": in_base64(b"../\xff")[0],
    "absolute": in_base64(b"/\xff")[0],
    "NUL": in_base64(b"\xff\0")[0],
    "reserved": in_base64(b".~tmp~/\xff")[0],
    "empty": "",
    "no base64": "ÿ",
    "no alphabet": "/w==\n",
    "no padding": "/w",
    "other padding": "/w==/w==",
    "spare bits": "/x==",
    "surrogate": "\udcff",
    "too long": in_base64(b"\xff" * (MAX_PATH_BYTES + 1))[0],
    "integer": 1,
    "null": None,
    "array": ["/w=="],
}


def assert_refused(raw: dict[str, Any]) -> None:
    """Assert that `raw` is refused in printable words of modest length."""
    with pytest.raises(MalformedMessage) as caught:
        parse_changes(raw)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("path", HOSTILE_PATHS.values(), ids=HOSTILE_PATHS.keys())
def test_hostile_path(key: str, path: object) -> None:
    """A path that could leave its tree or is none refuses the whole list, whatever good paths are beside it."""
    assert_refused(make_raw(**{key: [path]}))
    assert_refused(make_raw(**{key: [path, "zz"]}))


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("item", HOSTILE_BYTES.values(), ids=HOSTILE_BYTES.keys())
def test_hostile_bytes(key: str, item: object) -> None:
    """Base64 is for what is not UTF-8 and nothing else, in its one strict form."""
    assert_refused(make_raw(**{f"{key}_bytes": [item]}))


@pytest.mark.parametrize("path", HOSTILE_PATHS.values(), ids=HOSTILE_PATHS.keys())
def test_hostile_pair(path: object) -> None:
    """Both names of a pair are paths like any other."""
    assert_refused(make_raw(changed=["a"], linked=[["a", path]]))
    assert_refused(make_raw(changed=["a"], linked=[[path, "a"]]))


HOSTILE_LISTS: dict[str, dict[str, Any]] = {
    "unsorted": make_raw(changed=["b", "a"]),
    "sorted by parts": make_raw(changed=["a/b", "a-b"]),
    "duplicate": make_raw(deleted=["a", "a"]),
    "unsorted bytes": make_raw(changed_bytes=sorted(in_base64(b"\xff", b"\xfe\xff", b"\xfd"), reverse=True)),
    "duplicate bytes": make_raw(directories_bytes=in_base64(b"\xff", b"\xff")),
    "put and deleted": make_raw(changed=["a"], deleted=["a"]),
    "directory and deleted": make_raw(directories=["a"], deleted=["a"]),
    "put and deleted bytes": make_raw(changed_bytes=in_base64(b"\xff"), deleted_bytes=in_base64(b"\xff")),
    "a directory that is not put": make_raw(changed=["a"], directories=["b"], bare=["b"]),
    "a directory that is deleted": make_raw(deleted=["b"], bare=["b"]),
    "directories out of order": make_raw(changed=["a", "b"], bare=["b", "a"]),
    "no array": make_raw(changed="a"),
    "an object": make_raw(deleted={"a": 1}),
    "null": make_raw(directories=None),
    "true": make_raw(changed_bytes=True),
    "pairs no array": make_raw(linked={"a": "b"}),
    "pair of one": make_raw(linked=[["a"]]),
    "pair of three": make_raw(linked=[["a", "b", "c"]]),
    "pair as text": make_raw(linked=["ab"]),
    "pair as object": make_raw(linked=[{"a": 1, "b": 2}]),
    "pair of integers": make_raw(linked=[[1, 2]]),
    "pairs unsorted": make_raw(linked=[["b", "s"], ["a", "s"]]),
    "pairs unsorted in the second": make_raw(linked=[["a", "t"], ["a", "s"]]),
    "pair twice": make_raw(linked=[["a", "s"], ["a", "s"]]),
    "pair of text as bytes": make_raw(linked_bytes=[in_base64(b"a", b"b")]),
    "pair with hostile bytes": make_raw(linked_bytes=[in_base64(b"../\xff", b"b")]),
    "pairs of bytes unsorted": make_raw(
        linked_bytes=sorted([in_base64(b"\xff", b"a"), in_base64(b"a", b"\xff")])[::-1]
    ),
}


@pytest.mark.parametrize("raw", HOSTILE_LISTS.values(), ids=HOSTILE_LISTS.keys())
def test_hostile_list(raw: dict[str, Any]) -> None:
    """A list that is out of order, or that contradicts itself, is refused."""
    assert_refused(raw)


def test_pair_half_in_bytes() -> None:
    """A pair of which one name is not UTF-8 travels as base64, both names of it."""
    changes = parse_changes(make_raw(changed=["a"], linked_bytes=[in_base64(b"a", b"\xff")]))
    assert changes.linked == ((b"a", b"\xff"),)


def test_put_below_a_deletion() -> None:
    """One update may delete a directory and put something into it anew."""
    assert parse_changes(make_raw(changed=["a/b"], deleted=["a"])).deleted == (b"a",)


def test_cause_of_a_refusal() -> None:
    """A path that leaves its tree is counted as such, other faults as faults of form."""
    with pytest.raises(UntrustedPath):
        parse_changes(make_raw(changed=["../x"]))
    with pytest.raises(MalformedMessage) as caught:
        parse_changes(make_raw(changed=["b", "a"]))
    assert caught.value.cause_name == "format"


def test_more_paths_than_the_limit() -> None:
    """A list of 300,000 paths is refused before any of them is looked at."""
    assert_refused(make_raw(deleted=[f"{number:06}" for number in range(300_000)]))
    assert_refused(make_raw(changed=["../x"] * 300_000))


def test_the_limit_is_over_all_arrays() -> None:
    """The limit holds for the sum of all arrays, and a list of exactly so many paths is taken."""
    half = MAX_LIST_PATHS // 2
    put = [f"p{number:06}" for number in range(half)]
    deleted = [f"d{number:06}" for number in range(MAX_LIST_PATHS - half)]
    assert len(parse_changes(make_raw(changed=put, deleted=deleted)).deleted) == len(deleted)
    assert_refused(make_raw(changed=put, deleted=deleted, directories=["x"]))


def test_absent_arrays_are_empty() -> None:
    """Arrays that are absent are empty, and a key of a later version of the protocol is ignored."""
    assert parse_changes({"changed": ["a"], "later": {"x": 1}}) == ChangeList(changed=tree_paths(b"a"))


listings = st.dictionaries(
    st.sampled_from([*KEYS, *(f"{key}_bytes" for key in KEYS), "bare", "bare_bytes", "linked", "linked_bytes", "x"]),
    json_values | st.lists(st.text(max_size=4)) | st.lists(st.lists(st.text(max_size=3), max_size=3), max_size=3),
    max_size=4,
)


@given(listings | json_objects)
def test_any_object(raw: dict[str, Any]) -> None:
    """Whatever the object: a list whose form is that object's, or MalformedMessage in printable words."""
    try:
        changes = parse_changes(raw)
    except MalformedMessage as error:
        assert str(error).isprintable()
        return
    written = format_changes(changes)
    assert all(raw.get(key, []) == written.get(key, []) for key in listings_keys())


def listings_keys() -> list[str]:
    """Return the keys that a list may have."""
    return [*KEYS, *(f"{key}_bytes" for key in KEYS), "bare", "bare_bytes", "linked", "linked_bytes"]


def test_the_test_data_is_sharp() -> None:
    """The hostile values differ from good ones in nothing else: the same objects with good paths are taken."""
    check: Callable[[dict[str, Any]], ChangeList] = parse_changes
    for key in KEYS:
        assert check(make_raw(**{key: ["a", "zz"]}))
        assert check(make_raw(**{f"{key}_bytes": in_base64(b"\xff")}))
    assert check(json.loads(json.dumps(make_raw(changed=["a"], linked=[["a", "b"]])))).linked

"""The door for paths: what is refused and why, and what the text of a path is."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pushmirror.core.paths import (
    MAX_PART_BYTES,
    MAX_PATH_BYTES,
    RESERVED_PARTS,
    TreePath,
    add_ancestors,
    ancestors,
    format_text,
    lies_below,
    parse_text,
    shorten,
    topmost,
    trust,
)
from pushmirror.errors import MalformedMessage, UntrustedPath
from tests.core.strategies import paths

REFUSALS = {
    b"": "is empty",
    b"/": "is absolute",
    b"/etc/passwd": "is absolute",
    b"//a": "is absolute",
    b".": "has the part '.'",
    b"..": "has the part '..'",
    b"./a": "has the part '.'",
    b"../a": "has the part '..'",
    b"a/..": "has the part '..'",
    b"a/../b": "has the part '..'",
    b"a/./b": "has the part '.'",
    b"a/.": "has the part '.'",
    b"a//b": "has the part ''",
    b"a/": "has the part ''",
    b"a\0b": "holds a NUL byte",
    b"\0": "holds a NUL byte",
    b".~tmp~": "names the reserved folder '.~tmp~'",
    b"a/.~tmp~/b": "names the reserved folder '.~tmp~'",
    b".~pushmirror~": "names the reserved folder '.~pushmirror~'",
    b".~pushmirror~/tmp/x": "names the reserved folder '.~pushmirror~'",
    b"a/.~pushmirror~": "names the reserved folder '.~pushmirror~'",
    b"x" * (MAX_PART_BYTES + 1): f"has a part longer than {MAX_PART_BYTES} bytes",
    b"a/" * (MAX_PATH_BYTES // 2) + b"a": f"is longer than {MAX_PATH_BYTES} bytes",
}
ACCEPTED = (
    b"a",
    b"a/b/c",
    b"-rf",
    b"a/-rf",
    b"...",
    b"..a",
    b"a..",
    b" ",
    b"a b",
    b"a\nb",
    b"*?[]{}",
    b"~root",
    b"C:\\x",
    b"host:path",
    b"\xff\xfe",
    b".~tmp",
    b"x" * MAX_PART_BYTES,
    b"a/" * (MAX_PATH_BYTES // 2 - 1) + b"bc",
)


def is_normal(raw: bytes) -> bool:
    """Judge a path in the words of posixpath alone; reserved names and lengths apart."""
    if not raw or b"\0" in raw or posixpath.isabs(raw):
        return False
    inside = posixpath.normpath(posixpath.join(b"/tree", raw))
    return posixpath.normpath(raw) == raw and inside == b"/tree/" + raw and raw != b"."


@pytest.mark.parametrize(("raw", "reason"), REFUSALS.items(), ids=[repr(raw[:20]) for raw in REFUSALS])
def test_refusal(raw: bytes, reason: str) -> None:
    """A path that could leave its tree, or that no file system takes, is refused with the reason."""
    with pytest.raises(UntrustedPath) as caught:
        trust(raw)
    assert str(caught.value).endswith(reason)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("raw", ACCEPTED, ids=[repr(raw[:20]) for raw in ACCEPTED])
def test_accepted(raw: bytes) -> None:
    """Any other name is a name, however it looks to a shell."""
    assert trust(raw) == raw


def test_longest_path() -> None:
    """A path may be exactly as long as the limit."""
    longest = b"/".join([b"x" * MAX_PART_BYTES] * 12)
    assert len(longest) == MAX_PATH_BYTES - 1
    assert trust(longest) == longest
    with pytest.raises(UntrustedPath):
        trust(longest + b"/y")


path_soup = st.lists(st.sampled_from([b"a", b".", b"..", b"/", b"-", b"\0", b"\xff", b" "]), max_size=8).map(b"".join)


@given((path_soup | st.binary(max_size=12)).filter(lambda raw: RESERVED_PARTS.isdisjoint(raw.split(b"/"))))
@example(b"..")
@example(b"a/../../b")
def test_trust_accepts_exactly_normal_relative_paths(raw: bytes) -> None:
    """A path is trusted if and only if normalising it changes nothing and it stays inside."""
    try:
        trusted = trust(raw) == raw
    except UntrustedPath:
        trusted = False
    assert trusted == is_normal(raw)


@given(paths)
@example(TreePath(b"-rf"))
@example(TreePath(b"-/-"))
@example(TreePath(b"caf\xe9"))
def test_text_round_trip(path: TreePath) -> None:
    """The text of a path stands for it; only a path that is not UTF-8 has none; no text begins with a dash."""
    text = format_text(path)
    if text is None:
        with pytest.raises(UnicodeDecodeError):
            path.decode("utf-8")
        return
    assert parse_text(text) == path
    assert not text.startswith("-")


@given(st.text(max_size=12) | path_soup.map(lambda raw: raw.decode("latin-1")))
@example("./-rf")
@example("./a")
@example("././-a")
def test_a_path_has_one_text(text: str) -> None:
    """Whatever text is accepted is the one that would be written: no two texts stand for one path."""
    try:
        path = parse_text(text)
    except UntrustedPath:
        return
    assert format_text(path) == text


@pytest.mark.parametrize("text", ["-rf", "-", "./a", "./", "./-/../..", "", "\udc80", "a/\ud800", "x" * 256, "/-a"])
def test_hostile_text(text: str) -> None:
    """Text that is no path is refused in printable words."""
    with pytest.raises(UntrustedPath) as caught:
        parse_text(text)
    assert str(caught.value).isprintable()
    assert caught.value.cause_name == "path"
    assert isinstance(caught.value, MalformedMessage)


@given(st.binary(max_size=40), st.integers(1, 30))
def test_shortened_is_printable(raw: bytes, limit: int) -> None:
    """A shortened path holds no control characters and is cut at the limit, with a mark."""
    text = shorten(raw, limit)
    assert text.isprintable()
    assert len(text) <= limit + 1
    assert len(text) <= limit or text.endswith("…")


def test_shortened_tells_the_bytes() -> None:
    """A short path is shown whole, its unprintable bytes as escapes."""
    assert shorten(b"pool/a b") == "pool/a b"
    assert shorten(b"a\nb\xff") == "a\\nb\\xff"


@given(paths)
def test_ancestors(path: TreePath) -> None:
    """The directories above a path come nearest first, without the root."""
    expected = []
    above = posixpath.dirname(path)
    while above:
        expected.append(above)
        above = posixpath.dirname(above)
    assert list(ancestors(path)) == expected


@given(st.lists(st.lists(paths, max_size=5), max_size=3))
def test_ancestors_of_many(several: list[list[TreePath]]) -> None:
    """All directories above all paths, however the paths come."""
    found: set[TreePath] = set()
    for some in several:
        add_ancestors(found, some)
    assert found == {above for some in several for path in some for above in ancestors(path)}


def is_below(path: bytes, directory: bytes) -> bool:
    """The oracle: component by component."""
    inner, outer = path.split(b"/"), directory.split(b"/")
    return len(inner) > len(outer) and inner[: len(outer)] == outer


near_paths = st.lists(st.sampled_from([b"a", b"ab", b"-", b"a-", b"a.b"]), min_size=1, max_size=4).map(
    lambda found: TreePath(b"/".join(found))
)


@given(near_paths, st.sets(near_paths, max_size=6))
def test_lies_below(path: TreePath, directories: set[TreePath]) -> None:
    """Below means components deeper, not letters further."""
    assert lies_below(path, directories) == any(is_below(path, directory) for directory in directories)


@given(st.lists(near_paths, max_size=12))
def test_topmost(found: list[TreePath]) -> None:
    """What lies below another path goes, the rest comes sorted and once."""
    expected = {path for path in found if not any(is_below(path, other) for other in found)}
    assert topmost(found) == tuple(sorted(expected))

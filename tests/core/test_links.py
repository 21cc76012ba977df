"""Which links lead out of a tree."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pushmirror.core.links import leads_out
from pushmirror.core.paths import TreePath

INSIDE = {
    b"link": (b"file", b"d/file", b"./file", b".", b"d//e", b"d/./e", b"...", b"..a"),
    b"d/link": (b"../file", b"..", b"../e/f", b".././file"),
    b"d/e/f/link": (b"../../../file", b"../../..", b"../x"),
}
OUTSIDE = {
    b"link": (b"", b"/", b"/etc/passwd", b"..", b"../", b"../file", b"d/../file", b"d/..", b"./../file"),
    b"d/link": (b"../..", b"../../file", b"../e/../file", b"..//../file"),
    b"d/e/f/link": (b"../../../../file", b"x/../../../../../file"),
}


@pytest.mark.parametrize(("path", "target"), [(path, target) for path in INSIDE for target in INSIDE[path]])
def test_a_link_that_stays(path: bytes, target: bytes) -> None:
    """Down, or up as far as the root and then down."""
    assert not leads_out(TreePath(path), target)


@pytest.mark.parametrize(("path", "target"), [(path, target) for path in OUTSIDE for target in OUTSIDE[path]])
def test_a_link_that_leads_out(path: bytes, target: bytes) -> None:
    """Absolute, empty, above the root, and up again after it went down: through a link that may be anywhere."""
    assert leads_out(TreePath(path), target)


parts = st.lists(st.sampled_from([b"..", b".", b"", b"a"]), max_size=6)


@given(st.integers(0, 3), parts)
@example(2, [b"..", b"..", b".."])
def test_no_link_that_stays_ends_outside_by_its_words(depth: int, target: list[bytes]) -> None:
    """Normalised, it is below the root, or the root itself."""
    folder = b"/".join([b"tree", *[b"d"] * depth])
    if not leads_out(TreePath(b"/".join([b"d"] * depth + [b"link"])), b"/".join(target)):
        assert posixpath.normpath(folder + b"/" + b"/".join(target)).split(b"/")[0] == b"tree"

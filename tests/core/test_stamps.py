"""Stamps in change lists: their form on the wire, and what a merge makes of them."""

from __future__ import annotations

from typing import Any

import pytest

from pushmirror.core.changes import merge, settle
from pushmirror.core.lists import format_changes, parse_changes
from pushmirror.core.model import ChangeList, Stamp
from pushmirror.core.paths import TreePath
from pushmirror.errors import MalformedMessage

A, B = TreePath(b"dists/a"), TreePath(b"dists/b")
LISTED = ChangeList(changed=(A, B), stamps=(Stamp(A, 1, 2), Stamp(B, 3, 4)))


def test_they_survive_the_wire() -> None:
    """A list with stamps comes back as it was; one without has no key for them."""
    assert parse_changes(format_changes(LISTED)) == LISTED
    assert format_changes(LISTED)["stamps"] == [["dists/a", 1, 2], ["dists/b", 3, 4]]
    assert "stamps" not in format_changes(ChangeList(changed=(A,)))


@pytest.mark.parametrize(
    "stamps",
    [
        "text",
        ["dists/a"],
        [["dists/a", 1]],
        [["dists/a", 1, 2, 3]],
        [[1, 1, 2]],
        [["dists/a", True, 2]],
        [["dists/a", 1.5, 2]],
        [["dists/a", -1, 2]],
        [["dists/a", 1, 2**63]],
        [["dists/b", 1, 2], ["dists/a", 1, 2]],
        [["dists/a", 1, 2], ["dists/a", 1, 2]],
        [["dists/c", 1, 2]],
        [["../a", 1, 2]],
    ],
)
def test_what_is_none_is_malformed(stamps: Any) -> None:
    """Rows of a listed path, a size and a time, sorted and each once; anything else is refused."""
    with pytest.raises(MalformedMessage):
        parse_changes({**format_changes(ChangeList(changed=(A, B))), "stamps": stamps})


def test_the_newest_stamp_of_a_path_counts() -> None:
    """A path that is put again without a stamp has none; one that is deleted loses its own."""
    newer = ChangeList(changed=(A,), stamps=(Stamp(A, 9, 9),))
    assert settle(merge([LISTED, newer]), lambda path: False).stamps == (Stamp(A, 9, 9), Stamp(B, 3, 4))
    assert settle(merge([LISTED, ChangeList(changed=(A,))]), lambda path: False).stamps == (Stamp(B, 3, 4),)
    assert settle(merge([LISTED, ChangeList(deleted=(A,))]), lambda path: False).stamps == (Stamp(B, 3, 4),)

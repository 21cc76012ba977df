"""What of a list arrived, and what of a dry run's surplus can be believed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror.core.arrival import (
    Arrival,
    find_moved,
    find_turned,
    find_twins,
    judge_arrival,
    reliable_surplus,
    still_incomplete,
)
from pushmirror.core.output import Items, Notes
from pushmirror.core.paths import TreePath
from tests.core.strategies import paths


def tree_paths(*names: str) -> tuple[TreePath, ...]:
    """Return names as paths."""
    return tuple(TreePath(name.encode("latin-1")) for name in names)


def make_items(present: tuple[str, ...] = (), directories: tuple[str, ...] = ()) -> Items:
    """Return what rsync itemised: files and the like, and directories."""
    plain = frozenset(tree_paths(*present))
    return Items(present=plain | frozenset(tree_paths(*directories)), plain=plain)


def make_notes(vanished: tuple[str, ...] = (), unreadable: tuple[str, ...] = ()) -> Notes:
    """Return what rsync complained about."""
    return Notes(vanished=frozenset(tree_paths(*vanished)), unreadable=frozenset(tree_paths(*unreadable)))


# What was listed, itemised, complained about; what is missing and incomplete.
TABLE: dict[str, tuple[tuple[str, ...], Items, Notes, tuple[str, ...], tuple[str, ...]]] = {
    "nothing listed": ((), make_items(), make_notes(), (), ()),
    "everything is here": (("a", "d"), make_items(("a",), ("d",)), make_notes(), (), ()),
    "one is not mentioned": (("a", "b"), make_items(("a",)), make_notes(), ("b",), ()),
    "nothing is mentioned": (("b", "a"), make_items(), make_notes(), ("a", "b"), ()),
    "itemised and vanished": (("a", "b"), make_items(("a", "b")), make_notes(("b",)), ("b",), ()),
    "itemised and unreadable": (("a", "b"), make_items(("a", "b")), make_notes((), ("b",)), (), ("b",)),
    "below an unreadable directory": (("d/a", "b"), make_items(("b",)), make_notes((), ("d",)), (), ("d", "d/a")),
    "vanished and unreadable": (("a",), make_items(), make_notes(("a",), ("a",)), (), ("a",)),
    "below what is a file now": (("d/a", "d"), make_items(("d",)), make_notes(), (), ()),
    "far below what is a link now": (("d/e/f/a",), make_items(("d",)), make_notes(), (), ()),
    "below a directory": (("d/a", "d"), make_items((), ("d",)), make_notes(), ("d/a",), ()),
    "beside a file with a shorter name": (("da",), make_items(("d",)), make_notes(), ("da",), ()),
    "vanished inside a recursive directory": (("d",), make_items((), ("d",)), make_notes(("d/x",)), ("d/x",), ()),
    "unreadable inside one": (("d",), make_items((), ("d",)), make_notes((), ("d/x",)), (), ("d/x",)),
}


@pytest.mark.parametrize(("listed", "items", "notes", "missing", "incomplete"), TABLE.values(), ids=TABLE.keys())
def test_arrival(listed: Any, items: Items, notes: Notes, missing: Any, incomplete: Any) -> None:
    """Missing is what was listed and not seen, or seen and gone; incomplete is what may not be read."""
    expected = Arrival(tree_paths(*missing), tree_paths(*incomplete))
    assert judge_arrival(tree_paths(*listed), items, notes) == expected


@pytest.mark.parametrize(("announced", "missing"), [("d", ()), ("e", ("d/a",))])
def test_what_stands_above_may_be_put_by_another_stage(announced: str, missing: tuple[str, ...]) -> None:
    """A path below what is no directory any more is not waited for when that was announced; otherwise it is."""
    notes = Notes(superseded=frozenset(tree_paths("d/a")))
    arrival = judge_arrival(tree_paths("d/a"), make_items(), notes, frozenset(tree_paths(announced)))
    assert arrival == Arrival(tree_paths(*missing))


def test_what_turned_out_to_be_a_directory() -> None:
    """A put that was announced as a file and is itemised as a directory, as far as this run was for it."""
    items, plain = make_items(("a", "b"), ("c", "d", "e")), frozenset(tree_paths("a", "c", "e", "x"))
    assert find_turned(tree_paths("e", "d", "a", "x"), plain, items) == tree_paths("e")


def test_which_names_came_as_one_file() -> None:
    """Those that share the inode of one whose content came; not what was linked to a file that was there."""
    a, b, c, d, e = tree_paths("a", "b", "c", "d", "e")
    items = Items(transferred=frozenset({b, e}), relinked=frozenset({a, c, d}))
    assert find_twins(items, {a: 1, b: 1, c: 2, d: 1}) == (a, b, d)
    assert find_twins(items, {c: 2}) == ()
    assert find_twins(Items(transferred=frozenset({a, b})), {}) == ()


def test_what_moved_between_two_runs() -> None:
    """What the second one found changed, and what it did not find."""
    a, b, c = tree_paths("a", "b", "c")
    assert find_moved((a, b, c), Items(present=frozenset({a, b}), changed=frozenset({b}))) == (b, c)


path_sets = st.frozensets(paths, max_size=5)


@given(st.data())
def test_nothing_is_lost(data: st.DataObject) -> None:
    """Every listed path was seen, or is missing, or incomplete, or stands below something that was seen."""
    listed = data.draw(st.lists(paths, min_size=1, max_size=6))
    some = st.frozensets(st.sampled_from(listed)) | path_sets
    plain, directories = data.draw(some), data.draw(some)
    items = Items(present=plain | directories, plain=plain)
    notes = Notes(vanished=data.draw(some), unreadable=data.draw(some))
    arrival = judge_arrival(listed, items, notes)
    accounted = items.present | {*arrival.missing, *arrival.incomplete}
    for path in listed:
        assert path in accounted or any(path.startswith(above + b"/") for above in items.plain | notes.unreadable)
    assert not set(arrival.missing) & set(arrival.incomplete)
    assert notes.vanished | notes.unreadable <= {*arrival.missing, *arrival.incomplete}
    assert [*arrival.missing] == sorted(set(arrival.missing))
    assert [*arrival.incomplete] == sorted(set(arrival.incomplete))


def test_what_stays_incomplete() -> None:
    """A path stays incomplete until a list names it again; what is incomplete now is added, sorted and once."""
    before, listed, now = tree_paths("b", "a", "c"), tree_paths("b", "c", "e"), tree_paths("d", "c", "a")
    assert still_incomplete(before, listed, now) == tree_paths("a", "c", "d")
    assert still_incomplete((), listed, ()) == ()


# What a dry run would delete, what was unreadable; what of it is surplus.
SURPLUS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "nothing": ((), (), ()),
    "all readable": (("b", "a/x", "a"), (), ("a", "a/x", "b")),
    "below an unreadable directory": (("d/x", "d/y/z", "a"), ("d",), ("a",)),
    "the unreadable path itself": (("d", "a"), ("d",), ("a",)),
    "beside it": (("da", "d-", "d"), ("d",), ("d-", "da")),
    "paths that are none": (("../x", "/etc", "a//b", ".", "", ".~tmp~/x", ".~pushmirror~", "a"), (), ("a",)),
    "names that are not UTF-8": (("caf\xe9",), (), ("caf\xe9",)),
}


@pytest.mark.parametrize(("deleted", "unreadable", "expected"), SURPLUS.values(), ids=SURPLUS.keys())
def test_surplus(deleted: Any, unreadable: Any, expected: Any) -> None:
    """What the upstream hides looks like surplus and is none; neither is anything of ours or outside the tree."""
    items = Items(deleted=tree_paths(*deleted))
    assert reliable_surplus(items, make_notes((), unreadable)) == tree_paths(*expected)

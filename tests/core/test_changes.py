"""Merging lists: what several announcements amount to, and that nothing is lost or left over however they are cut."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pushmirror.core.changes import Merged, merge, settle
from pushmirror.core.lists import format_changes, parse_changes
from pushmirror.core.model import ChangeList
from pushmirror.core.paths import TreePath, ancestors, lies_below
from tests.core.strategies import change_lists
from tests.core.tree_model import Entry, Style, Tree, announce, below, bring, delete, is_plain, place, remove


def tree_paths(*names: str) -> tuple[TreePath, ...]:
    """Return names as paths."""
    return tuple(TreePath(name.encode()) for name in names)


def put(*names: str) -> ChangeList:
    """Return the list of an update that put these."""
    return ChangeList(changed=tree_paths(*names))


def gone(*names: str) -> ChangeList:
    """Return the list of an update that deleted these."""
    return ChangeList(deleted=tree_paths(*names))


def recursive(*names: str) -> ChangeList:
    """Return the list of an update that names directories to be synced recursively."""
    return ChangeList(directories=tree_paths(*names))


def folder(name: str, *, deleted: str = "") -> ChangeList:
    """Return the list of an update that put a directory by itself."""
    return ChangeList(tree_paths(name), tree_paths(deleted) if deleted else (), bare=tree_paths(name))


D = tree_paths("d")[0]

# The updates, the directories that the mirror has, and the list of the job.
TABLE: dict[str, tuple[list[ChangeList], set[str], ChangeList]] = {
    "nothing": ([], set(), ChangeList()),
    "one put": ([put("a")], set(), put("a")),
    "puts add up": ([put("a", "b"), put("b", "c")], set(), put("a", "b", "c")),
    "a deletion takes a put back": ([put("a", "b"), gone("a")], set(), ChangeList(tree_paths("b"), tree_paths("a"))),
    "a put takes a deletion back": ([gone("a"), put("a")], set(), put("a")),
    "a deleted directory takes the puts below": (
        [put("d/a", "da"), gone("d")],
        {"d"},
        ChangeList(tree_paths("da"), (D,)),
    ),
    "and the deletions below": ([gone("d/a", "d/b"), gone("d")], {"d"}, gone("d")),
    "and the recursive directories": ([recursive("d", "d/x"), gone("d")], {"d", "d/x"}, gone("d")),
    "a put into a deleted directory": ([gone("d"), put("d/a")], {"d"}, recursive("d")),
    "the same where the mirror has none": ([gone("d"), put("d/a")], set(), put("d/a")),
    "far below": ([gone("d"), put("d/x/y/z")], {"d", "d/x"}, recursive("d")),
    "a file for a directory": ([gone("d"), put("d")], {"d"}, put("d")),
    "the same in one word": ([put("d/a", "d/b"), put("d")], {"d"}, put("d")),
    "the deletions below go with it": ([gone("d/a"), recursive("d/b"), put("d")], {"d", "d/b"}, put("d")),
    "the recursive sync of it as well": ([recursive("d"), put("d")], {"d"}, put("d")),
    "a file and a directory again": ([put("d/a"), put("d"), put("d", "d/b")], {"d"}, recursive("d")),
    "a directory that is empty": ([put("d"), folder("d")], {"d"}, recursive("d")),
    "a directory that the mirror does not have yet": ([put("d"), put("d/b")], set(), recursive("d")),
    "a file, a directory, a file": ([put("d"), put("d/b"), put("d")], {"d"}, put("d")),
    "a file, a directory, nothing": ([put("d"), put("d/b"), gone("d")], {"d"}, gone("d")),
    "the attributes of a directory": ([put("d/a"), folder("d")], {"d"}, put("d", "d/a")),
    "the attributes alone": ([folder("d")], {"d"}, folder("d")),
    "and a deletion in it": ([ChangeList((D,), tree_paths("d/a"), bare=(D,))], {"d"}, folder("d", deleted="d/a")),
    "a file with nothing but longer names beside it": ([put("d-e", "da"), put("d")], set(), put("d", "d-e", "da")),
    "in one update": ([ChangeList(tree_paths("d/a"), (D,))], {"d"}, recursive("d")),
    "a recursive sync below a deletion": ([gone("d"), recursive("d/x")], {"d"}, recursive("d")),
    "deleted, put, deleted": ([gone("d"), put("d/a"), gone("d")], {"d"}, gone("d")),
    "put, deleted, put": ([put("d/a"), gone("d"), put("d/b")], {"d"}, recursive("d")),
    "replaced, then deleted inside": ([gone("d"), put("d/a", "d/b"), gone("d/a")], {"d"}, recursive("d")),
    "the same without it here": (
        [gone("d"), put("d/a", "d/b"), gone("d/a")],
        set(),
        ChangeList(tree_paths("d/b"), tree_paths("d/a")),
    ),
    "a file deleted, a directory made and emptied": ([gone("a"), put("a/b"), gone("a/b")], set(), recursive("a")),
    "puts in a recursive directory": ([recursive("d"), put("d/a", "e")], set(), ChangeList(tree_paths("e"), (), (D,))),
    "recursive directories, the topmost": ([recursive("d/x"), recursive("d")], set(), recursive("d")),
    "deletions in a recursive directory": ([recursive("d"), gone("d/a")], {"d"}, recursive("d")),
    "a neighbour with a longer name": ([gone("d"), put("d-e", "da")], {"d"}, ChangeList(tree_paths("d-e", "da"), (D,))),
}


@pytest.mark.parametrize(("lists", "here", "expected"), TABLE.values(), ids=TABLE.keys())
def test_table(lists: list[ChangeList], here: set[str], expected: ChangeList) -> None:
    """The newer update wins, and a path that was deleted and put again is synced recursively where a directory is."""
    directories = set(tree_paths(*here))
    assert settle(merge(lists), lambda path: path in directories) == expected


def test_links() -> None:
    """The sibling of a put travels with it as long as it is put; a newer put without one says that it has none."""
    first = ChangeList(
        tree_paths("a", "b"), linked=((TreePath(b"a"), TreePath(b"s")), (TreePath(b"b"), TreePath(b"s")))
    )
    assert settle(merge([first, put("c")]), lambda path: False).linked == first.linked
    assert settle(merge([first, put("a")]), lambda path: False).linked == first.linked[1:]
    assert settle(merge([first, gone("b")]), lambda path: False).linked == first.linked[:1]
    assert settle(merge([first, recursive("a")]), lambda path: False).linked == first.linked[1:]


def test_merging_step_by_step() -> None:
    """Lists may be added one at a time, with looks in between that change nothing."""
    lists = [gone("d"), put("d/a"), recursive("e"), gone("d/a"), put("e/x", "f")]
    merged = Merged()
    for changes in lists:
        merged.add(changes)
        settle(merged, lambda path: True)
    assert merged == merge(lists)


@given(st.lists(change_lists(), max_size=5), st.booleans())
def test_a_settled_list_is_in_order(lists: list[ChangeList], all_directories: bool) -> None:
    """What comes out could be announced itself, and no path in it is said twice."""
    found = settle(merge(lists), lambda path: all_directories)
    assert parse_changes(format_changes(found)) == found
    directories = set(found.directories)
    assert not {*found.bare} & {above for path in found.changed for above in ancestors(path)}
    for paths in (found.changed, found.deleted, found.directories):
        assert not any(lies_below(path, directories) for path in paths)
    assert not directories & {*found.changed, *found.deleted}
    assert not any(lies_below(path, set(found.deleted)) for path in found.deleted)


names = st.sampled_from([b"a", b"b", b"a-"])
model_paths = st.lists(names, min_size=1, max_size=3).map(lambda found: TreePath(b"/".join(found)))
entries = st.builds(Entry, st.sampled_from(["file", "file", "link", "directory"]), st.integers(0, 3))


@dataclass(frozen=True)
class Edit:
    """One thing that happens to the publisher's tree: `entry` is put at `path`, or None: what is there goes."""

    path: TreePath
    entry: Entry | None

    def apply(self, tree: Tree) -> None:
        if self.entry is None:
            remove(tree, self.path)
        else:
            place(tree, self.path, self.entry)


@dataclass(frozen=True)
class Step:
    """The edits behind one update, how it is worded, and what a mirror does afterwards."""

    edits: tuple[Edit, ...]
    style: Style
    job: bool
    """The mirror runs a job over all that is pending."""
    later: int = 0
    """By so many updates the upstream has moved on when the job runs."""
    clean: bool = True
    """The job runs its deletions; otherwise they stay pending."""


edits = st.builds(Edit, model_paths, st.none() | entries)
styles = st.builds(
    Style,
    parents_alone=st.booleans(),
    anew=st.none() | model_paths,
    kinds_untold=st.booleans(),
    recursive=st.none() | st.none() | model_paths,
)
steps = st.builds(
    Step,
    st.lists(edits, min_size=1, max_size=3).map(tuple),
    styles,
    st.booleans(),
    st.integers(0, 2),
    st.booleans(),
)
trees = st.lists(st.tuples(model_paths, entries), max_size=8)


def play(start: Tree, script: list[Step]) -> tuple[list[Tree], list[ChangeList]]:
    """Return the publisher's tree after each step, the start first, and the list of each update."""
    states, lists = [start], []
    for step in script:
        tree = dict(states[-1])
        for edit in step.edits:
            edit.apply(tree)
        lists.append(announce(states[-1], tree, step.style))
        states.append(tree)
    return states, lists


def run_jobs(states: list[Tree], lists: list[ChangeList], script: list[Step], *, exact: bool) -> Tree:
    """Return the mirror after the jobs of the script and a last one.

    As in the protocol: a job over lists of which a put is missing is not applied, its lists stay pending; a deletion of
    what came back stays pending until an update puts it. With `exact` every job sees the upstream as announced.
    """
    mirror = dict(states[0])
    pending: list[ChangeList] = []
    for number, (step, changes) in enumerate(zip(script, lists, strict=True), start=1):
        pending.append(changes)
        last = number == len(script)
        if not (step.job or last):
            continue
        upstream = states[number if exact else min(len(states) - 1, number + step.later)]
        found = settle(merge(pending), lambda path: path in mirror and mirror[path].is_directory)
        if bring(mirror, upstream, found) and not last:
            continue
        left = found.deleted if not (step.clean or exact or last) else delete(mirror, upstream, found.deleted)
        pending = [ChangeList(deleted=tuple(sorted(left)))]
    return mirror


def compare(mirror: Tree, upstream: Tree, script: list[Step]) -> None:
    """Assert that the trees are equal.

    A directory that was never named, and whose only content was deleted before any job, is unknown to the mirror:
    where announcements leave new directories out, empty ones are not compared.
    """
    if any(step.style.parents_alone for step in script):
        mirror, upstream = without_empty_directories(mirror), without_empty_directories(upstream)
    assert mirror == upstream


def without_empty_directories(tree: Tree) -> Tree:
    """Return `tree` without the directories that hold no file or link."""
    return {path: entry for path, entry in tree.items() if any(is_plain(tree, p) for p in (path, *below(tree, path)))}


def grow(found: list[tuple[TreePath, Entry]]) -> Tree:
    """Return a tree with these entries."""
    tree: Tree = {}
    for path, entry in found:
        place(tree, path, entry)
    return tree


A_FILE, A_DIRECTORY = Entry("file", 1), Entry("directory")
A, AB = TreePath(b"a"), TreePath(b"a/b")
DIRECTORY_TO_FILE_AND_BACK = [
    Step((Edit(A, A_FILE),), Style(), job=False),
    Step((Edit(A, A_DIRECTORY),), Style(), job=False),
]


# Histories that go wrong are rare: these two properties look at more of them than others do.
MANY = max(100, settings.default.max_examples if settings.default else 0)


@settings(max_examples=MANY)
@given(trees, st.lists(steps, min_size=1, max_size=6))
@example([(AB, A_FILE)], DIRECTORY_TO_FILE_AND_BACK)
@example([(AB, A_FILE)], [Step((Edit(A, None),), Style(), False), Step((Edit(A, A_DIRECTORY),), Style(), True)])
def test_jobs_give_the_tree_that_was_announced(start: list[tuple[TreePath, Entry]], script: list[Step]) -> None:
    """However the updates are gathered into jobs, the mirror ends with exactly the publisher's tree."""
    states, lists = play(grow(start), script)
    compare(run_jobs(states, lists, script, exact=True), states[-1], script)


@settings(max_examples=MANY)
@given(trees, st.lists(steps, min_size=1, max_size=6))
@example([(AB, A_FILE)], [Step((Edit(A, A_FILE),), Style(), True, later=1), DIRECTORY_TO_FILE_AND_BACK[1]])
@example([(AB, A_FILE)], [Step((Edit(A, None),), Style(), True, clean=False), DIRECTORY_TO_FILE_AND_BACK[1]])
def test_jobs_while_the_upstream_moves_on(start: list[tuple[TreePath, Entry]], script: list[Step]) -> None:
    """The same when jobs see an upstream that is ahead of its announcements, and deletions wait."""
    states, lists = play(grow(start), script)
    compare(run_jobs(states, lists, script, exact=False), states[-1], script)


@given(trees, st.lists(steps, min_size=1, max_size=4))
def test_every_announcement_is_well_formed(start: list[tuple[TreePath, Entry]], script: list[Step]) -> None:
    """The lists that the properties above are about are ones that the protocol takes."""
    for changes in play(grow(start), script)[1]:
        assert parse_changes(format_changes(changes)) == changes


def test_the_model_can_fail() -> None:
    """The simulated job is no full sync: what is not listed is neither brought nor deleted."""
    upstream = grow([(A, A_FILE), (TreePath(b"b/c"), A_FILE)])
    mirror = grow([(TreePath(b"d/e"), A_FILE)])
    assert bring(mirror, upstream, put("a", "x")) == tree_paths("x")
    assert delete(mirror, upstream, tree_paths("a", "y")) == tree_paths("a")
    assert set(mirror) == {*tree_paths("a", "d", "d/e")}
    assert below(mirror, D) == [*tree_paths("d/e")]

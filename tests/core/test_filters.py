"""Filters: what the rules of a tree leave of a change list."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pushmirror.core.filters import Rules, filter_changes, rsync_arguments
from pushmirror.core.model import ChangeList, Stamp
from pushmirror.core.paths import MAX_PATH_BYTES, TreePath
from pushmirror.core.patterns import parse_pattern


def rules(exclude: str = "", include: str = "") -> Rules:
    """Return rules from patterns with spaces between them."""
    return Rules(tuple(map(parse_pattern, include.split())), tuple(map(parse_pattern, exclude.split())))


def listed(text: str) -> tuple[TreePath, ...]:
    """Return the paths in a text with spaces between them."""
    return tuple(TreePath(path.encode()) for path in text.split())


def directories(text: str) -> Callable[[TreePath], bool]:
    """Return an answer to what is a directory: these paths are."""
    return set(listed(text)).__contains__


def never_asked(path: TreePath) -> bool:
    """Stand for an answer that must not be needed."""
    raise AssertionError(f"asked about {path!r}")


@pytest.mark.parametrize(
    ("given", "path", "hidden"),
    [
        (rules(), "a", False),
        (rules("a"), "a", True),
        (rules("a"), "a/b/c", True),
        (rules("a"), "b/a", True),
        (rules("/a"), "b/a", False),
        (rules("a", "a"), "a", False),
        (rules("*.rpm", "keep*.rpm"), "d/keep.rpm", False),
        (rules("*.rpm", "keep*.rpm"), "d/other.rpm", True),
        (rules("debug/", "debug/keep.rpm"), "debug/keep.rpm", True),
        (rules("debug/**", "debug/keep.rpm"), "debug/keep.rpm", False),
        (rules("debug/"), "debug", False),
        (rules("debug/"), "debug/x", True),
        (rules("*", "x86_64/***"), "x86_64/a/b", False),
        (rules("*", "x86_64/***"), "os/x86_64/a", True),
        (rules("*", "os/ x86_64/***"), "os/x86_64/a", False),
    ],
)
def test_the_first_match_on_the_way_down_decides(given: Rules, path: str, hidden: bool) -> None:
    """Includes come first, and nothing comes back inside a hidden directory."""
    assert given.hides(TreePath(path.encode()), False) is hidden


def test_without_excludes_nothing_is_done() -> None:
    """Rules that hide nothing are false, have no digest, and return the list itself."""
    changes = ChangeList(changed=listed("a"), deleted=listed("b"))
    for empty in (Rules(), rules(include="a")):
        assert not empty
        assert empty.digest == ""
        assert filter_changes(changes, empty, never_asked) is changes


def test_a_list_is_filtered_in_all_its_parts() -> None:
    """Hidden puts, deletions, directories and the pairs of hidden names go; the order stays."""
    changes = ChangeList(
        changed=listed("debug/a os/a.rpm os/debug/b os/z.rpm"),
        deleted=listed("debug os/b.rpm os/debug/c"),
        directories=listed("debug os"),
        linked=((TreePath(b"debug/a"), TreePath(b"x")), *(
            (TreePath(b"os/a.rpm"), TreePath(path)) for path in (b"debug/c", b"os/d.rpm")
        )),
    )  # fmt: skip
    assert filter_changes(changes, rules("debug"), never_asked) == ChangeList(
        changed=listed("os/a.rpm os/z.rpm"),
        deleted=listed("os/b.rpm"),
        directories=listed("os"),
        linked=((TreePath(b"os/a.rpm"), TreePath(b"os/d.rpm")),),
    )


def test_a_list_that_is_hidden_as_a_whole_is_empty() -> None:
    """A wholly filtered update leaves nothing for a job to do."""
    changes = ChangeList(changed=listed("a/debug/x"), deleted=listed("b/debug/y"), directories=listed("c/debug/z"))
    assert filter_changes(changes, rules("*/debug/*"), never_asked) == ChangeList()
    assert not filter_changes(changes, rules("*/debug/*"), never_asked)


def test_a_hidden_directory_hides_each_of_many_paths_below_it() -> None:
    """What was found out about a directory holds for every path in it, beside directories that are not hidden."""
    changes = ChangeList(changed=listed("a/hidden/b/1 a/hidden/b/2 a/hidden/b/c/3 a/seen/b/4 a/seen/b/5"))
    assert filter_changes(changes, rules("hidden"), never_asked).changed == listed("a/seen/b/4 a/seen/b/5")


def test_a_put_with_puts_below_it_is_a_directory() -> None:
    """Nobody is asked about a path that the list itself shows to be a directory."""
    changes = ChangeList(changed=listed("debug debug/a"), directories=listed("os/debug/sub"))
    assert filter_changes(changes, rules("debug/"), never_asked) == ChangeList()


@pytest.mark.parametrize("pattern", ["debug/", "debug/***"])
def test_a_lone_put_is_what_the_list_says(pattern: str) -> None:
    """Of two paths that are hidden as directories only, the one that is listed as such is, and nobody is asked."""
    changes = ChangeList(changed=listed("a b debug os/debug x/debug/y"), bare=listed("b debug"))
    assert filter_changes(changes, rules(pattern), never_asked) == ChangeList(
        changed=listed("a b os/debug"), bare=listed("b")
    )


def test_directories_that_are_included_as_such() -> None:
    """What a path is counts the other way round where directories are included and the rest is not."""
    changes = ChangeList(changed=listed("a b"), bare=listed("b"))
    assert filter_changes(changes, rules("*", "*/"), never_asked) == ChangeList(changed=listed("b"), bare=listed("b"))


def test_a_directory_whose_content_is_hidden_remains_one() -> None:
    """It has no put below it any more that would tell, so the filtered list says it; stamps stay with their paths."""
    stamps = Stamp(listed("d/b")[0], 1, 2), Stamp(listed("e")[0], 3, 4)
    changes = ChangeList(changed=listed("d d/b e"), stamps=stamps)
    assert filter_changes(changes, rules("b"), never_asked) == ChangeList(
        changed=listed("d e"), bare=listed("d"), stamps=stamps[1:]
    )


def test_a_deletion_goes_by_what_the_mirror_has() -> None:
    """What is deleted is hidden or not by its kind on the mirror; what lies below it in the list tells nothing."""
    changes = ChangeList(deleted=listed("debug debug2 os/debug os/debug/x"))
    kept = filter_changes(changes, rules("debug/"), directories("os/debug")).deleted
    assert kept == listed("debug debug2")


def test_a_hostile_path_has_many_parts() -> None:
    """A path of as many parts as fit is judged without a fault."""
    path = TreePath(b"/".join([b"a"] * (MAX_PATH_BYTES // 2)))
    changes = ChangeList(changed=(path,))
    assert filter_changes(changes, rules("b/"), never_asked) is not None
    assert filter_changes(changes, rules("/a/a/"), never_asked) == ChangeList()


def test_arguments_are_in_the_order_that_decides() -> None:
    """Includes come before excludes, each as it was written, and no pattern can be another option or rule."""
    given = rules("*/debug/* -x #y", "keep/ [-]a")
    assert rsync_arguments(given) == (
        "--include=keep/", "--include=[-]a", "--exclude=*/debug/*", "--exclude=-x", "--exclude=#y"
    )  # fmt: skip


def test_a_digest_tells_rules_apart() -> None:
    """The digest is the same for the same rules, and another for others, in another order or role."""
    given = [rules("a b"), rules("b a"), rules("a"), rules("b", "a"), rules("a", "b"), rules("a b")]
    assert len({one.digest for one in given}) == 5
    assert given[0].digest == given[-1].digest

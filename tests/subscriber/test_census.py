"""What a run has made is counted on the disk, by what was not there before."""

from __future__ import annotations

from pathlib import Path

import pytest

from pushmirror.subscriber.census import Census
from pushmirror.subscriber.mirror import Mirror
from tests.subscriber.upstream import paths


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A mirror: a directory of two files, and links to that and to one outside."""
    root = tmp_path / "mirror"
    (root / "a").mkdir(parents=True)
    for name in ("a/one", "a/two"):
        (root / name).touch()
    (root / "to-a").symlink_to("a")
    (tmp_path / "outside").mkdir()
    (root / "outwards").symlink_to("../outside")
    return root


NAMED = ("a/one", "a/three", "b", "b/c/four", "to-a/three", "outwards/five")


@pytest.mark.parametrize("recursive", [False, True])
def test_whoever_makes_nothing_gains_nothing(root: Path, recursive: bool) -> None:
    """Also when content changes, or one kind of entry takes the place of another."""
    census = Census(Mirror(root), paths(*NAMED), recursive=recursive)
    (root / "a" / "one").unlink()
    (root / "a" / "one").symlink_to("two")
    assert census.gained() == 0


def test_new_entries_count_once_with_the_directories_made_for_them(root: Path) -> None:
    """What nobody has named does not count, nor does anything behind a link."""
    census = Census(Mirror(root), paths(*NAMED), recursive=False)
    (root / "b" / "c").mkdir(parents=True)
    for name in ("a/three", "b/c/four", "b/c/unnamed", "outwards/five"):
        (root / name).touch()
    assert census.gained() == len(paths("a/three", "b", "b/c", "b/c/four"))


def test_a_directory_in_the_place_of_a_link_counts_with_what_is_now_in_it(root: Path) -> None:
    """The link has been an entry itself."""
    census = Census(Mirror(root), paths(*NAMED), recursive=False)
    (root / "to-a").unlink()
    (root / "to-a").mkdir()
    (root / "to-a" / "three").touch()
    assert census.gained() == len(paths("to-a/three"))


def test_below_whole_directories_everything_counts(root: Path) -> None:
    """However their paths lie in each other; what goes meanwhile is counted against it, and no further than to none."""
    mirror = Mirror(root)
    census = Census(mirror, paths("a", "a/b", "d/e"), recursive=True)
    (root / "a" / "b").mkdir()
    (root / "a" / "b" / "new").touch()
    (root / "d" / "e").mkdir(parents=True)
    assert census.gained() == len(paths("a/b", "a/b/new", "d", "d/e"))
    (root / "a" / "two").unlink()
    assert census.gained() == 3
    emptied = Census(mirror, paths("a"), recursive=True)
    (root / "a" / "one").unlink()
    assert emptied.gained() == 0

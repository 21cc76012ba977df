"""The mirror on the disk: looked at without following links, and our own folder in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pushmirror.core.paths import STAGING_NAME, TreePath
from pushmirror.subscriber.mirror import Mirror
from tests.subscriber.upstream import paths

STAGING = STAGING_NAME.decode()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree with every kind of entry, and a folder beside it that no link may lead to."""
    root, outside = tmp_path / "tree", tmp_path / "outside"
    for folder in (root / "a" / "b" / "c", root / "empty", outside / "inner"):
        folder.mkdir(parents=True)
    for file in (root / "file", root / "a" / "one", root / "a" / "b" / "c" / "two", outside / "inner" / "three"):
        file.write_text("content")
    (root / "to-file").symlink_to("file")
    (root / "to-folder").symlink_to("a")
    (root / "outwards").symlink_to(outside)
    (root / "absolute").symlink_to("/")
    (root / "dangling").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    (root / "a" / "b" / "up").symlink_to("../../../outside")
    os.mkfifo(root / "pipe")
    (root / "a" / "odd\udcff\n").write_text("odd")
    return root


THERE = (
    "file", "a", "a/one", "a/b/c/two", "empty", "to-file", "to-folder", "outwards", "absolute", "dangling", "loop",
    "a/b/up", "pipe",
)  # fmt: skip
NOT_THERE = (
    "nothing", "a/nothing", "file/below", "to-folder/one", "to-folder/b/c/two", "outwards/inner", "absolute/etc",
    "outwards/inner/three", "dangling/below", "loop/below", "a/b/up/inner", "a/b/up/inner/three", "pipe/below",
    "a" * 255, "/".join(["a" * 100] * 30),
)  # fmt: skip


def test_what_stands_at_a_path_is_seen_and_below_a_link_there_is_nothing(root: Path) -> None:
    """Links are entries themselves, dangling ones and loops too; what they lead to is not the tree's."""
    assert Mirror(root).present(paths(*THERE, *NOT_THERE)) == paths(*THERE)


def test_names_that_are_no_text_are_seen(root: Path) -> None:
    """As bytes."""
    odd = TreePath(b"a/odd\xff\n")
    assert Mirror(root).present([odd, TreePath(b"a/odd\xfe\n")]) == (odd,)


def test_what_does_not_stand_is_told_too(root: Path) -> None:
    """The rest of the same paths."""
    assert Mirror(root).absent(paths(*THERE, *NOT_THERE)) == frozenset(paths(*NOT_THERE))


def test_links_to_directories_are_no_directories(root: Path) -> None:
    """Wherever in the path they stand."""
    mirror = Mirror(root)
    assert [name for name in (*THERE, *NOT_THERE) if mirror.is_directory(*paths(name))] == ["a", "empty"]
    assert {name for name in (*THERE, *NOT_THERE) if mirror.is_link(*paths(name))} == {
        "to-file", "to-folder", "outwards", "absolute", "dangling", "loop", "a/b/up",
    }  # fmt: skip


def test_entries_are_counted_once_and_never_beyond_a_link(root: Path) -> None:
    """The directory itself counts, a link counts one, paths inside counted directories count no second time."""
    mirror = Mirror(root)
    assert mirror.count_entries(paths("a")) == 7
    assert mirror.count_entries(paths("a", "a/b", "a/b/c/two", "file", "nothing")) == 8
    assert mirror.count_entries(paths("outwards", "absolute", "to-folder", "dangling")) == 4
    assert mirror.count_entries(paths("outwards/inner", "to-folder/one")) == 0
    assert mirror.count_entries(()) == 0


def test_a_tree_without_content_is_empty_whatever_we_put_into_it(tmp_path: Path) -> None:
    """Our own folder does not count; a dangling link does."""
    mirror = Mirror(tmp_path)
    assert mirror.is_empty()
    mirror.make_staging()
    assert mirror.is_empty()
    (tmp_path / "dangling").symlink_to("nowhere")
    assert not mirror.is_empty()


def test_a_root_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """It is not an empty tree."""
    mirror = Mirror(tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        mirror.is_empty()
    with pytest.raises(FileNotFoundError):
        mirror.root_mtime_ns()


# --- the staging folder


@pytest.mark.parametrize("elsewhere", [False, True])
def test_staging_is_made_empty_and_removed(root: Path, tmp_path: Path, elsewhere: bool) -> None:
    """Whatever an earlier job left in it goes; links in it are not followed."""
    staging = tmp_path / "staging" if elsewhere else root / STAGING
    mirror = Mirror(root, staging if elsewhere else None)
    (staging / "tmp" / "left").mkdir(parents=True)
    (staging / "tmp" / "outwards").symlink_to(tmp_path / "outside")
    mirror.make_staging()
    assert mirror.temp_dir == str(staging / "tmp")
    assert sorted(path.name for path in staging.rglob("*")) == ["metadata", "tmp"]
    mirror.clear_staging()
    assert not staging.exists()
    mirror.clear_staging()
    assert (tmp_path / "outside" / "inner" / "three").exists()


@pytest.mark.parametrize("target", ["../outside", "nowhere", "file"])
def test_a_link_in_the_place_of_staging_is_removed_and_not_followed(root: Path, tmp_path: Path, target: str) -> None:
    """Nobody gets us to delete or write elsewhere."""
    (root / STAGING).symlink_to(target)
    Mirror(root).make_staging()
    assert (root / STAGING).is_dir() and not (root / STAGING).is_symlink()
    Mirror(root).clear_staging()
    assert not os.path.lexists(root / STAGING)
    assert (tmp_path / "outside" / "inner" / "three").exists()
    assert (root / "file").read_text() == "content"


def test_a_file_in_the_place_of_staging_is_removed(root: Path) -> None:
    """The name is ours."""
    (root / STAGING).write_text("a file")
    Mirror(root).make_staging()
    assert (root / STAGING / "tmp").is_dir()


# --- moving aside


def test_directories_are_moved_aside_whole(root: Path) -> None:
    """Two of one name find room, and the tree is without them."""
    mirror = Mirror(root)
    mirror.make_staging()
    mirror.move_aside(*paths("a/b"))
    mirror.move_aside(*paths("empty"))
    assert not (root / "a" / "b").exists() and not (root / "empty").exists()
    moved = sorted(path.name for path in (root / STAGING / "trash").iterdir())
    assert len(moved) == 2
    assert (root / STAGING / "trash" / moved[0] / "c" / "two").read_text() == "content"


def test_a_link_is_moved_aside_as_a_link(root: Path, tmp_path: Path) -> None:
    """What it leads to stays."""
    mirror = Mirror(root)
    mirror.make_staging()
    mirror.move_aside(*paths("outwards"))
    assert not os.path.lexists(root / "outwards")
    assert (tmp_path / "outside" / "inner" / "three").exists()


@pytest.mark.parametrize("path", ["outwards/inner", "a/b/up/inner", "to-folder/b", "file/below"])
def test_nothing_is_moved_through_a_link(root: Path, tmp_path: Path, path: str) -> None:
    """A link above the path, wherever it leads, is an error and moves nothing; no descriptor is left open."""
    mirror = Mirror(root)
    mirror.make_staging()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(30):
        with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
            mirror.move_aside(*paths(path))
    assert len(os.listdir("/proc/self/fd")) < before + 15
    assert (tmp_path / "outside" / "inner" / "three").exists()
    assert (root / "a" / "b" / "c" / "two").exists()


# --- times


def test_the_roots_time_is_kept_to_the_nanosecond(root: Path) -> None:
    """Its access time is left alone."""
    mirror = Mirror(root)
    accessed = root.stat().st_atime_ns
    mirror.set_root_mtime(1_700_000_000_123_456_789)
    assert mirror.root_mtime_ns() == root.stat().st_mtime_ns == 1_700_000_000_123_456_789
    assert root.stat().st_atime_ns == accessed


@pytest.mark.parametrize("mtime_ns", [0, 2**63 - 1])
def test_any_time_that_a_message_can_carry_can_be_set(root: Path, mtime_ns: int) -> None:
    """A file system may round it; nothing raises."""
    Mirror(root).set_root_mtime(mtime_ns)


def test_a_file_system_with_nanoseconds_is_known_as_one(root: Path) -> None:
    """The probe lies in our own folder and goes with it."""
    mirror = Mirror(root)
    mirror.make_staging()
    assert mirror.keeps_nanoseconds()
    mirror.clear_staging()
    assert not os.path.lexists(root / STAGING)

"""Staged metadata is put in place by renames, in order, and nothing leads out of the mirror."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from pushmirror.core.paths import TreePath
from pushmirror.subscriber.switch import look_staged, put_in_place

DAY_NS = 86_400 * 10**9


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty mirror."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    return folder


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    """An empty staging folder on the same file system."""
    folder = tmp_path / "stage"
    folder.mkdir()
    return folder


def switch(root: Path, stage: Path, order: list[str] | None = None) -> None:
    """Put everything that is staged in place, in the order given or in that of the names."""
    staged = look_staged(os.fsencode(stage))
    ordered = staged.files if order is None else [TreePath(name.encode()) for name in order]
    put_in_place(os.fsencode(root), os.fsencode(stage), ordered, staged)


def still_open_below(folder: Path) -> list[str]:
    """Return what this process has open in `folder`."""
    open_files = []
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            open_files.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return [name for name in open_files if name.startswith(str(folder))]


def test_files_links_and_new_directories_arrive_with_the_attributes_of_their_directories(
    root: Path, stage: Path
) -> None:
    """Directories get the mode and the time of their twins; those that have none keep theirs."""
    (root / "dists").mkdir()
    (root / "dists" / "old").write_text("old")
    (root / "other").mkdir()
    os.utime(root / "other", ns=(DAY_NS, DAY_NS))
    (stage / "dists" / "new").mkdir(parents=True)
    (stage / "dists" / "old").write_text("changed")
    (stage / "dists" / "new" / "file").write_text("new")
    (stage / "dists" / "link").symlink_to("nowhere")
    (stage / "dists" / "new").chmod(0o750)
    for folder in ("dists/new", "dists"):
        os.utime(stage / folder, ns=(DAY_NS, 3 * DAY_NS + 1))
    switch(root, stage)
    assert (root / "dists" / "old").read_text() == "changed"
    assert (root / "dists" / "new" / "file").read_text() == "new"
    assert os.readlink(root / "dists" / "link") == "nowhere"
    assert (root / "dists" / "new").stat().st_mode & 0o777 == 0o750
    assert (root / "dists").stat().st_mtime_ns == (root / "dists" / "new").stat().st_mtime_ns == 3 * DAY_NS + 1
    assert (root / "other").stat().st_mtime_ns == DAY_NS


def test_a_directory_in_which_nothing_is_put_gets_its_attributes(root: Path, stage: Path) -> None:
    """It was listed itself, or what it lost or gained upstream is not mirrored; so was the one above a new one."""
    for folder in (root, stage):
        (folder / "dists").mkdir()
    (stage / "dists" / "new").mkdir()
    (stage / "dists").chmod(0o700)
    os.utime(stage / "dists", ns=(0, DAY_NS))
    switch(root, stage)
    found = (root / "dists").stat()
    assert (found.st_mode & 0o777, found.st_mtime_ns) == (0o700, DAY_NS)


def test_the_order_is_kept(root: Path, stage: Path) -> None:
    """What comes last is not there before the rest: a failure in between leaves it out."""
    for name in ("a", "b", "c"):
        (stage / name).write_text(name)
    (root / "b").mkdir()
    with pytest.raises(OSError):
        switch(root, stage, ["a", "b", "c"])
    assert (root / "a").exists() and not (root / "c").exists()


def test_names_of_one_inode_stay_linked(root: Path, stage: Path) -> None:
    """Two staged names of one file are two names of one file in the mirror, and an unchanged one stays as it is."""
    (root / "settled").write_text("content")
    os.link(root / "settled", stage / "settled")
    os.link(root / "settled", stage / "new")
    switch(root, stage)
    assert (root / "settled").stat().st_ino == (root / "new").stat().st_ino


def test_a_directory_takes_the_place_of_a_link_and_nothing_is_written_behind_it(
    root: Path, stage: Path, tmp_path: Path
) -> None:
    """A link in the mirror leads no rename out of it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "dists").symlink_to(outside)
    (stage / "dists" / "deep").mkdir(parents=True)
    (stage / "dists" / "deep" / "file").write_text("content")
    switch(root, stage)
    assert list(outside.iterdir()) == []
    assert not (root / "dists").is_symlink()
    assert (root / "dists" / "deep" / "file").read_text() == "content"


def test_many_directories_are_open_one_after_the_other(root: Path, stage: Path) -> None:
    """More directories than are kept open at once."""
    for number in range(200):
        (stage / "dists" / f"d{number}" / "deep").mkdir(parents=True)
        (stage / "dists" / f"d{number}" / "deep" / "file").write_text(str(number))
    switch(root, stage)
    assert len(list(root.rglob("file"))) == 200
    assert still_open_below(root.parent) == []

"""Watches: that the kernel's events name the right directories, and what happens when there are too many."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pushmirror.publisher.detect.watch import TreeWatch, advise_limit
from tests.support.reactor import Spin


class Watched:
    """A watched tree, and what its watch has said."""

    def __init__(self, reactor: Any, root: Path) -> None:
        self.root = root
        self.changed: list[bytes] = []
        self.losses: list[bool] = []
        self.watch = TreeWatch(
            reactor, os.fsencode(root), changed=self.changed.append, lost=lambda: self.losses.append(True)
        )


@pytest.fixture
def watched(reactor: Any, tmp_path: Path) -> Iterator[Watched]:
    (tmp_path / "pool" / "a").mkdir(parents=True)
    (tmp_path / "pool" / "a" / "file").write_bytes(b"content")
    tree = Watched(reactor, tmp_path)
    for path in (b"", b"pool", b"pool/a"):
        tree.watch.add(path)
    yield tree
    tree.watch.close()


EDITS: list[tuple[str, Callable[[Path], object], bytes]] = [
    ("rename", lambda root: (root / "pool/a/file").rename(root / "pool/a/other"), b"pool/a"),
    ("link", lambda root: os.link(root / "pool/a/file", root / "pool/b"), b"pool"),
    ("unlink", lambda root: (root / "pool/a/file").unlink(), b"pool/a"),
    ("write", lambda root: (root / "pool/a/file").write_bytes(b"other"), b"pool/a"),
    ("chmod", lambda root: (root / "pool/a/file").chmod(0o600), b"pool/a"),
    ("touch", lambda root: os.utime(root / "pool/a/file"), b"pool/a"),
    ("symlink", lambda root: (root / "link").symlink_to("pool"), b""),
    ("mkdir", lambda root: (root / "pool/new").mkdir(), b"pool"),
    ("rmdir", lambda root: shutil.rmtree(root / "pool/a"), b"pool"),
    ("chmod of a directory", lambda root: (root / "pool/a").chmod(0o700), b"pool/a"),
]


@pytest.mark.parametrize(("edit", "expected"), [row[1:] for row in EDITS], ids=[row[0] for row in EDITS])
def test_every_kind_of_change_names_its_directory(
    watched: Watched, spin: Spin, edit: Callable[[Path], object], expected: bytes
) -> None:
    """Also those that move no directory's time."""
    edit(watched.root)
    spin(lambda: expected in watched.changed)


def test_reading_is_no_change(watched: Watched, spin: Spin) -> None:
    """Mirrors that fetch, and our own scans, have nothing scanned."""
    (watched.root / "pool" / "a" / "file").read_bytes()
    os.listdir(watched.root / "pool")
    (watched.root / "last").touch()
    spin(lambda: watched.changed)
    assert set(watched.changed) == {b""}


def test_what_is_made_in_a_new_directory_is_seen_at_once(watched: Watched, spin: Spin) -> None:
    """A tree that is being filled is not quiet, however deep the new directories are."""
    (watched.root / "new" / "deep" / "deeper").mkdir(parents=True)
    spin(lambda: watched.watch.watched == 6)
    watched.changed.clear()
    (watched.root / "new" / "deep" / "deeper" / "file").touch()
    spin(lambda: b"new/deep/deeper" in watched.changed)


def test_a_directory_that_moved_is_known_by_its_new_name(watched: Watched, spin: Spin) -> None:
    """As soon as it is added again, which the scan does that finds it."""
    (watched.root / "pool").rename(watched.root / "moved")
    watched.watch.add(b"moved/a")
    (watched.root / "moved" / "a" / "file").write_bytes(b"other")
    spin(lambda: b"moved/a" in watched.changed)
    assert b"pool/a" not in watched.changed


def test_directories_that_are_gone_are_forgotten(watched: Watched, spin: Spin) -> None:
    """Neither does a removed directory keep its watch, nor is it an error to add one that is not there."""
    shutil.rmtree(watched.root / "pool" / "a")
    spin(lambda: watched.watch.watched == 2)
    watched.watch.add(b"pool/a")
    assert (watched.watch.watched, watched.watch.problem) == (2, None)


def test_a_symlink_is_not_followed(watched: Watched) -> None:
    """What it leads to is no part of the tree, but the root may be one."""
    (watched.root / "link").symlink_to(watched.root / "pool")
    watched.watch.add(b"link")
    assert watched.watch.watched == 3


@pytest.mark.slow
def test_an_overflow_of_the_queue_is_told(watched: Watched, spin: Spin) -> None:
    """The kernel drops what does not fit: from then on anything may have changed, and later events still come."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 100_000:
        pytest.skip("the queue of this machine is too long to fill")
    first, second = watched.root / "pool" / "one", watched.root / "two"
    for path in (first, second):
        path.touch()
    for _ in range(limit // 2 + 1):  # two directories in turn, so that no two events in a row are equal
        os.utime(first)
        os.utime(second)
    spin(lambda: watched.losses)
    watched.changed.clear()
    first.write_bytes(b"later")
    spin(lambda: b"pool" in watched.changed)


def test_the_limit_of_the_kernel_is_told_with_advice() -> None:
    """How many there are, how many are allowed, and the line for sysctl."""
    text = advise_limit(70_000, 65_536)
    assert "65536" in text and "70000" in text and "fs.inotify.max_user_watches = 140000" in text
    assert "sysctl --system" in text
    assert "too few" in advise_limit(10, None)


def test_no_queue_is_told_as_an_error_with_advice(reactor: Any, tmp_path: Path) -> None:
    """When descriptors or instances have run out."""
    from pushmirror.errors import StateError

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    Watched(reactor, tmp_path).watch.close()  # loads what has to be opened for that
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(StateError, match="max_user_instances"):
            Watched(reactor, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

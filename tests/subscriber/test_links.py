"""Links that lead out of a mirror are removed, and nothing we do goes through a link, also while it is being made."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pushmirror.core.paths import TreePath
from pushmirror.subscriber.links import clear_links_above, remove_links_out
from pushmirror.subscriber.mirror import Mirror
from pushmirror.subscriber.switch import look_staged, put_in_place
from tests.subscriber.upstream import paths

SWAPPING_S = 0.4
PAUSE_S = 0.001


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A mirror with links of all kinds, and a folder beside it that none of them may be used to reach."""
    root = tmp_path / "mirror"
    (root / "d" / "e").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("outside")
    (root / "d" / "file").write_text("inside")
    for name, target in {
        "in": "d/file", "out": "../outside", "absolute": "/etc", "dangling": "nothing", "d/up": "../d",
        "d/e/out": "../../..",
    }.items():  # fmt: skip
        (root / name).symlink_to(target)
    return root


def links_in(root: Path) -> set[str]:
    """Return the links that are left."""
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_symlink()}


def test_links_that_lead_out_are_removed_and_no_others(root: Path) -> None:
    """Of those that are asked about; what is no link, or not there, or below a link, is left alone."""
    asked = paths(
        "in", "out", "absolute", "dangling", "d/up", "d/e/out", "d/file", "d", "nothing", "out/file", "d/up/e/out"
    )
    assert set(remove_links_out(os.fsencode(root), asked)) == set(paths("out", "absolute", "d/e/out"))
    assert links_in(root) == {"in", "dangling", "d/up"}
    assert (root / "d" / "file").read_text() == "inside"
    assert (root.parent / "outside" / "file").read_text() == "outside"


def test_the_way_to_a_path_is_cleared(root: Path) -> None:
    """A link at the path or above it; those elsewhere stay."""
    assert clear_links_above(os.fsencode(root), paths("out/x/y", "in", "d/e/out")) == list(paths("d/e/out", "out"))
    assert links_in(root) == {"in", "absolute", "dangling", "d/up"}


def test_a_mirror_may_itself_be_reached_by_a_link(root: Path, tmp_path: Path) -> None:
    """That link is the operator's."""
    (tmp_path / "by-a-link").symlink_to(root)
    assert remove_links_out(os.fsencode(tmp_path / "by-a-link"), paths("out")) == list(paths("out"))


CLIMBING = (b"../outside/link", b"d/../../outside/link", b"%b/link", b"..", b"d/..", b"../outside")


@pytest.mark.parametrize("form", CLIMBING, ids=ascii)
def test_no_path_that_climbs_or_is_absolute_is_followed(root: Path, tmp_path: Path, form: bytes) -> None:
    """Should one ever come so far: nothing outside is removed, moved or touched, nor is it an endless search."""
    outside = tmp_path / "outside"
    (outside / "link").symlink_to("/nowhere")
    path = TreePath(form.replace(b"%b", os.fsencode(outside)))
    before = [(found, found.lstat().st_mtime_ns) for found in (outside, *sorted(outside.rglob("*")))]
    mirror = Mirror(root)
    mirror.make_staging()
    attempts = (
        lambda: remove_links_out(os.fsencode(root), [path]),
        lambda: mirror.move_aside(path),
        lambda: mirror.doubt([path]),
    )
    for attempt in attempts:
        with contextlib.suppress(OSError):
            attempt()
    assert [(found, found.lstat().st_mtime_ns) for found in (outside, *sorted(outside.rglob("*")))] == before


@contextlib.contextmanager
def swapping(place: Path, outside: Path) -> Iterator[None]:
    """Have somebody put a link to `outside` in the place of a directory, and the directory back, all the time."""
    ended = threading.Event()

    def swap() -> None:
        for number in itertools.count():
            aside = place.with_name(f"aside{number}")
            with contextlib.suppress(OSError):  # something of ours may stand there
                place.rename(aside)
                place.symlink_to(outside)
            if ended.wait(PAUSE_S):
                return
            with contextlib.suppress(OSError):
                place.unlink()
                aside.rename(place)
            ended.wait(PAUSE_S)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def repeat(action: Callable[[], object]) -> int:
    """Do it again and again for a moment; returns how often it succeeded."""
    until, done = time.monotonic() + SWAPPING_S, 0
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            action()
            done += 1
    return done


def test_nothing_is_put_moved_or_touched_through_a_link_that_comes_and_goes(root: Path, tmp_path: Path) -> None:
    """Switching metadata, moving aside, doubting a file and removing links, while a directory is swapped for a link."""
    outside = tmp_path / "outside"
    (outside / "evil").symlink_to("/etc")
    (outside / "e").mkdir()
    before = [(path, path.lstat().st_mtime_ns) for path in sorted(outside.rglob("*"))]
    mirror = Mirror(root)
    mirror.make_staging()
    stage = tmp_path / "stage"

    def switch() -> None:
        (stage / "d").mkdir(parents=True, exist_ok=True)
        (stage / "d" / "file").write_text("new")
        staged = look_staged(os.fsencode(stage))
        put_in_place(os.fsencode(root), os.fsencode(stage), staged.files, staged)

    def move() -> None:
        mirror.move_aside(*paths("d/e"))

    attempts = {
        "switch": switch,
        "move": move,
        "doubt": lambda: mirror.doubt(paths("d/file")),
        "remove": lambda: remove_links_out(os.fsencode(root), paths("d/evil")),
        "look": lambda: mirror.present(paths("d/file", "d/e")),
    }
    with swapping(root / "d", outside):
        succeeded = {name: repeat(action) for name, action in attempts.items()}
    assert [(path, path.lstat().st_mtime_ns) for path in sorted(outside.rglob("*"))] == before
    assert (outside / "file").read_text() == "outside"
    assert succeeded["switch"] and succeeded["doubt"] and succeeded["remove"], succeeded


def test_our_own_folder_is_not_reached_by_a_link(root: Path, tmp_path: Path) -> None:
    """Whoever puts a link in its place during a job gets an error, and nothing is moved to where it leads."""
    mirror = Mirror(root)
    mirror.make_staging()
    mirror.clear_staging()
    (root / ".~pushmirror~").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        mirror.move_aside(*paths("d/e"))
    assert sorted(path.name for path in (tmp_path / "outside").iterdir()) == ["file"]

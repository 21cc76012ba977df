"""What is deleted is counted before: no upstream has more deleted than that, or hides from the count what is there.

Each is shown first without our own option.
"""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pushmirror.core.model import StageKind
from tests.hostile.daemon import Entry, FakeDaemon, Session, directory, missing
from tests.hostile.test_links import Place

pytestmark = pytest.mark.slow


def lose(session: Session) -> None:
    """Say that everything that was asked for is missing."""
    session.greet()
    session.accept()
    session.serve([missing(name) for name in session.listed])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A mirror with a directory of six entries, itself included."""
    found = Place(tmp_path)
    (found.tree / "pool" / "inner").mkdir(parents=True)
    for name in ("one", "two", "inner/three", "inner/four"):
        (found.tree / "pool" / name).write_text("content")
    yield found
    found.assert_untouched()


@pytest.mark.parametrize(("limit", "left"), [((), 0), (("--max-delete=6",), 0), (("--max-delete=2",), 4)])
def test_no_more_entries_go_than_were_counted(place: Place, limit: tuple[str, ...], left: int) -> None:
    """Entries of directories that go count one by one; without a limit a single missing name takes all below it."""
    with FakeDaemon(lose) as daemon:
        place.rsync(StageKind.DELETE, daemon.url("m"), b"pool", more=limit)
    assert len(list(place.tree.rglob("*"))) == left


def test_a_directory_above_a_listed_path_is_not_believed_to_be_missing(place: Place) -> None:
    """An rsync before 3.2.5 would delete it with all that is below; there the limit alone stops it."""

    def play(session: Session) -> None:
        session.greet()
        session.accept()
        session.serve([missing(b"pool"), missing(b"pool/one")])

    with FakeDaemon(play) as daemon:
        printed = place.rsync(StageKind.DELETE, daemon.url("m"), b"pool/one", more=("--max-delete=1",))
    assert "unrequested file-list name: pool" in printed
    assert len(list(place.tree.rglob("*"))) == 6


@pytest.mark.parametrize("mode", [0o300, 0o000, 0o555, 0o733])
def test_a_directory_of_the_mirror_can_be_looked_into(place: Place, mode: int) -> None:
    """Whatever the upstream says: one that its own user cannot read would count as one entry, with all below it."""
    entries = [directory(b"."), Entry(b"d", stat.S_IFDIR | mode)]

    def play(session: Session) -> None:
        session.greet()
        session.accept()
        session.serve(entries)

    with FakeDaemon(play) as daemon:
        place.rsync(StageKind.WHOLE, daemon.url("m"))
    assert stat.S_IMODE((place.tree / "d").stat().st_mode) == mode | 0o500


def test_plain_rsync_makes_a_directory_that_cannot_be_read(place: Place) -> None:
    """So it would be without our option."""
    (place.upstream / "d").mkdir()
    (place.upstream / "d").chmod(0o300)
    subprocess.run(["rsync", "-rlpt", f"{place.upstream}/", f"{place.tree}/"], timeout=30, check=True)
    assert stat.S_IMODE((place.tree / "d").stat().st_mode) == 0o300

"""Links that whoever may write into the state folder has left there for root, who announces in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pushmirror.errors import PushmirrorError
from pushmirror.keys import generate_key_file
from pushmirror.publisher.detect.run_destination import RunContext
from pushmirror.publisher.detect.run_lock import LOCK_NAME, RUNS_NAME, held_for_run, runs_folder
from pushmirror.publisher.detect.run_logs import RunLogs
from pushmirror.publisher.identity import Identity
from pushmirror.publisher.journal_hold import WANTED_NAME, Hold
from pushmirror.publisher.placing import give_to_owner_of
from pushmirror.publisher.rotating import Rotator

NOBODY = 65534
NOTHING = RunContext("/srv/debian", (), None)


class Victim:
    """A file, and a folder with another one, that nothing in the state folder may change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "etc"
        self.folder.mkdir(mode=0o755)
        self.file = self.folder / "shadow"
        self.file.write_text("root:*\n")
        self.file.chmod(0o644)
        self._before = self._look()

    def _look(self) -> list[tuple[str, int, int, str]]:
        places = (self.folder, *sorted(self.folder.iterdir()))
        found = [(path, path.stat()) for path in places]
        return [(path.name, s.st_mode, s.st_uid, path.read_text() if path.is_file() else "") for path, s in found]

    @property
    def is_as_it_was(self) -> bool:
        return self._look() == self._before


@pytest.fixture
def victim(tmp_path: Path) -> Victim:
    return Victim(tmp_path)


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """A state folder into which its group may write; where a test is root, of somebody else."""
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(0o770)
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    return folder


def rotate(state_dir: Path) -> None:
    key = state_dir.parent / "key"
    generate_key_file(key, "t1.example.org")
    Rotator(key, state_dir, Identity("t1.example.org", "org.example", "test"), 1000, lambda: 1).rotate()


def hold_alone(state_dir: Path) -> None:
    hold = Hold(state_dir, patience_ms=1000)
    hold.make_exclusive()
    hold.release()


def run(state_dir: Path) -> None:
    with held_for_run(state_dir, "debian"):
        log = RunLogs(runs_folder(state_dir, "debian")).begin(NOTHING)
        with log.open("a") as file:  # as rsync does
            file.write("2026/11/22 13:24:41 [7] >f+++++++++ pool/a.deb\n")


@pytest.mark.parametrize(
    ("work", "place", "to_folder"),
    [
        (rotate, "rotating.lock", False),
        (hold_alone, WANTED_NAME, False),
        (run, RUNS_NAME, True),
        (run, f"{RUNS_NAME}/debian", True),
        (run, f"{RUNS_NAME}/debian/{LOCK_NAME}", False),
        (run, f"{RUNS_NAME}/debian/000001.new", False),
        (run, f"{RUNS_NAME}/debian/000001.log", False),
    ],
)
def test_a_link_in_the_state_folder_leads_nobody_out_of_it(
    state_dir: Path, victim: Victim, work: Callable[[Path], None], place: str, to_folder: bool
) -> None:
    """What it leads to keeps its owner, its mode and its content; whether the work is done or refused."""
    link = state_dir / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(victim.folder if to_folder else victim.file)
    with contextlib.suppress(PushmirrorError):
        work(state_dir)
    assert victim.is_as_it_was


@pytest.mark.parametrize("work", [rotate, hold_alone, run])
def test_without_links_the_work_is_done(state_dir: Path, work: Callable[[Path], None]) -> None:
    """The same steps raise nothing in a folder as it should be."""
    work(state_dir)


def test_opened_through_a_link_a_file_would_be_given_away(state_dir: Path, victim: Victim) -> None:
    """What the steps above would do by way of a link: a file of somebody else gets another mode, and of root's another
    owner."""
    link = state_dir / "link"
    link.symlink_to(victim.file)
    descriptor = os.open(link, os.O_RDONLY | os.O_CLOEXEC)
    try:
        give_to_owner_of(state_dir, descriptor)
    finally:
        os.close(descriptor)
    assert not victim.is_as_it_was


def test_a_further_name_of_a_file_is_not_given_away(state_dir: Path, victim: Victim) -> None:
    """A hard link is opened like any file, and left as it is."""
    name = state_dir / "rotating.lock"
    name.hardlink_to(victim.file)
    rotate(state_dir)
    assert victim.is_as_it_was


def test_a_lock_that_is_a_link_is_not_taken_for_one(state_dir: Path, victim: Victim) -> None:
    """A run whose lock leads elsewhere is refused, and nothing there is locked."""
    folder = runs_folder(state_dir, "debian")
    folder.mkdir(parents=True)
    (folder / LOCK_NAME).symlink_to(victim.file)
    with pytest.raises(PushmirrorError, match="cannot be noted down"), held_for_run(state_dir, "debian"):
        pass
    with victim.file.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

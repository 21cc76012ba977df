"""What the program that is named as rsync says of itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pushmirror.core.rsync_version import RsyncVersion
from pushmirror.subscriber.installed_rsync import InstalledRsync, ask_rsync

GOOD = RsyncVersion((9, 0, 0), 40)


def script(folder: Path, text: str) -> str:
    """Return a program that does this."""
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_an_old_rsync_is_known_as_one(tmp_path: Path) -> None:
    """By its version, which is what status shows, with each warning a sentence."""
    found = ask_rsync(script(tmp_path, 'echo "rsync  version 3.1.3  protocol version 31"'), os.environ)
    assert found.version == RsyncVersion((3, 1, 3), 31)
    assert found.show()["version"] == "3.1.3"
    assert "rsync 3.1.3 has known faults" in found.show()["warnings"][0]


@pytest.mark.parametrize(
    "text", ["exit 3", "echo something else", r"printf '\377\376'", "kill -9 $$", "echo 'rsync  version 3.5.1'; exit 1"]
)
def test_a_program_that_is_no_rsync_is_told_and_no_error(tmp_path: Path, text: str) -> None:
    """Whatever it does; the daemon starts, and its jobs fail with their own reasons."""
    found = ask_rsync(script(tmp_path, text), os.environ)
    assert found.version is None
    assert "cannot be told" in found.warnings[0]


def test_a_program_that_is_not_there_is_told_and_no_error(tmp_path: Path) -> None:
    """Nor one that may not be run."""
    (tmp_path / "text").write_text("no program")
    for name in ("nothing-of-that-name", str(tmp_path / "text"), str(tmp_path)):
        assert ask_rsync(name, os.environ).version is None


def test_a_good_rsync_that_is_confined_is_not_spoken_of() -> None:
    """And one that is not confined is."""
    assert InstalledRsync(GOOD, True).warnings == ()
    (warning,) = InstalledRsync(GOOD, False).warnings
    assert "Landlock" in warning
    assert InstalledRsync(GOOD, False, is_free=True).warnings == ()


def test_an_operator_may_let_it_write_anywhere(tmp_path: Path) -> None:
    """Then it is not confined, and that is no news to him."""
    found = ask_rsync(script(tmp_path, 'echo "rsync  version 3.5.9  protocol version 33"'), os.environ, confine=False)
    assert found.show() == {"version": "3.5.9", "confined": False, "warnings": []}

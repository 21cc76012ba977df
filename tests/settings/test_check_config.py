"""The command check-config."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pushmirror.cli.check_config import check_config
from pushmirror.errors import StateError
from pushmirror.publisher.journal_hold import Hold
from pushmirror.settings.dropin import compose_dropin
from pushmirror.settings.load import load_any

from .examples import make_surroundings, write_publisher, write_subscriber


def run(path: Path) -> Result:
    """Run the command on `path`."""
    return CliRunner().invoke(check_config, [str(path)])


def test_good_settings_are_summed_up(tmp_path: Path) -> None:
    """Good settings end with 0, the role, the name, the trees, and the drop-in with its place."""
    make_surroundings(tmp_path)
    for path, role in ((write_publisher(tmp_path), "publisher"), (write_subscriber(tmp_path), "subscriber")):
        result = run(path)
        settings = load_any(path)
        dropin = compose_dropin(settings)
        assert (result.exit_code, result.stderr) == (0, "")
        assert f"good settings for the {role} {settings.name}" in result.stdout
        assert f"tree debian: {tmp_path}/debian" in result.stdout
        assert dropin.path in result.stdout
        assert dropin.text in result.stdout


def test_faults_are_told_one_a_line(tmp_path: Path) -> None:
    """Faults end with 2, one line each on standard error, and nothing on standard output."""
    make_surroundings(tmp_path)
    path = write_publisher(tmp_path, ("http://", "ftp://"), ("max_clients: 20", "max_clients: none"))
    result = run(path)
    assert (result.exit_code, result.stdout) == (2, "")
    lines = result.stderr.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        [f"{path}:8", "service"], [f"{path}:13", "trees.debian.max_clients"]
    ]  # fmt: skip


def test_a_missing_file_is_a_fault(tmp_path: Path) -> None:
    """A file that is not there is told in one line, without a traceback."""
    result = run(tmp_path / "none.yaml")
    assert result.exit_code == 2
    assert result.stderr == f"{tmp_path}/none.yaml: cannot be read: No such file or directory\n"


def test_a_state_folder_that_is_open_to_others_is_told_of(tmp_path: Path) -> None:
    """Whoever may open it can lock it, and then nobody announces; closed to others it is no matter."""
    make_surroundings(tmp_path)
    path = write_publisher(tmp_path)
    state_dir = tmp_path / "state"
    state_dir.chmod(0o755)
    assert f"note: {state_dir} is open to everybody (mode 0755)" in run(path).stdout
    with pytest.raises(StateError, match="try again"), locked(state_dir):
        Hold(state_dir, patience_ms=50)
    state_dir.chmod(0o750)
    assert "open to everybody" not in run(path).stdout


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock that anybody may have who can open the folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)

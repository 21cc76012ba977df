"""``pushmirror rotate-key`` as an operator meets it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pushmirror.keys import load_private_key, parse_public_line
from pushmirror.publisher.rotation_files import find_old_files, read_record
from tests.publisher.daemon import Publisher
from tests.settings.examples import write_subscriber
from tests.support.processes import run_pushmirror

pytestmark = pytest.mark.slow


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    """One that does not run."""
    return Publisher(tmp_path)


def test_it_prints_the_new_key_and_what_is_to_be_done(publisher: Publisher) -> None:
    """One line for others on standard output; the daemon need not run. The overlap is that of the settings."""
    with publisher.config.open("a") as config:
        config.write("key_overlap: 3d\n")
    done = run_pushmirror("rotate-key", "--config", publisher.config)
    assert done.returncode == 0, done.stderr
    line = done.stdout.decode().strip()
    key = publisher.folder / "publisher.key"
    assert parse_public_line(line).line == load_private_key(key).public.line != publisher.key.line
    assert parse_public_line(line).comment == "mirror.example.org"
    assert "upstreams.NAME.keys" in done.stderr.decode() and "was not told" in done.stderr.decode()
    (signed,) = read_record(publisher.state_dir)
    assert (signed.rotation.old, signed.rotation.overlap_ms) == (publisher.key.line, 3 * 86_400_000)
    assert len(find_old_files(key)) == 1


def test_the_overlap_can_be_given(publisher: Publisher) -> None:
    """For one rotation."""
    assert run_pushmirror("rotate-key", "--overlap", "0s", "--config", publisher.config).returncode == 0
    assert read_record(publisher.state_dir)[0].rotation.overlap_ms == 0


@pytest.mark.parametrize("overlap", ["soon", "400d", "-1s"])
def test_an_overlap_that_is_none_is_refused(publisher: Publisher, overlap: str) -> None:
    """Before anything is done."""
    done = run_pushmirror("rotate-key", f"--overlap={overlap}", "--config", publisher.config)
    assert (done.returncode, read_record(publisher.state_dir)) == (2, ())
    assert "--overlap" in done.stderr.decode() and "Traceback" not in done.stderr.decode()


def test_only_a_publisher_exchanges_its_key(tmp_path: Path) -> None:
    """A node's is exchanged in authorized_nodes, by hand."""
    done = run_pushmirror("rotate-key", "--config", write_subscriber(tmp_path))
    assert (done.returncode, done.stdout) == (2, b"")
    assert "settings of a subscriber" in done.stderr.decode()


def test_a_key_that_is_missing_is_told(publisher: Publisher) -> None:
    """With what to do, and no traceback."""
    (publisher.folder / "publisher.key").unlink()
    done = run_pushmirror("rotate-key", "--config", publisher.config)
    assert done.returncode == 2
    assert "pushmirror keygen" in done.stderr.decode() and "Traceback" not in done.stderr.decode()

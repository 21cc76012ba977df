"""The commands and the readers of their output together, with the rsync that is installed and a daemon on loopback."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pushmirror.core.arrival import Arrival, judge_arrival, reliable_surplus
from pushmirror.core.command import RunOptions, build_command
from pushmirror.core.exits import Outcome, judge_exit
from pushmirror.core.model import Stage, StageKind
from pushmirror.core.output import Items, Notes, parse_items, parse_notes
from pushmirror.core.paths import TreePath
from pushmirror.core.source import Source, parse_source
from tests.support.rsyncd import RsyncDaemon
from tests.support.trees import ODD_NAMES

pytestmark = pytest.mark.slow


class Pair:
    """A tree behind an rsync daemon, in a folder of its module, and a mirror of it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.upstream, self.mirror = folder / "module" / "sub", folder / "mirror"
        self.source: Source = parse_source(url)
        self.options = RunOptions(
            temp_dir=str(folder / "temporary"),
            metadata_dir=str(folder / "metadata"),
            io_timeout_s=20,
            connect_timeout_s=10,
        )

    def write(self, root: Path, name: bytes, content: bytes = b"x") -> TreePath:
        """Write a file below `root` and return its path."""
        path = os.path.join(os.fsencode(root), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
        return TreePath(name)

    def run(self, kind: StageKind, *paths: TreePath) -> tuple[Outcome, Items, Notes]:
        """Run a stage and return what it came to."""
        command = build_command(Stage(kind, paths), self.source, str(self.mirror), self.options)
        done = subprocess.run(
            ["rsync", *command.arguments],
            input=command.listing,
            capture_output=True,
            timeout=60,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            check=False,
        )
        items, notes = parse_items(done.stdout.splitlines(True)), parse_notes(done.stderr.splitlines(True), self.source)
        return judge_exit(kind, done.returncode, notes).outcome, items, notes


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Two empty trees, the first served by a daemon."""
    for name in ("module/sub", "mirror", "temporary"):
        (tmp_path / name).mkdir(parents=True)
    with RsyncDaemon(tmp_path / "daemon", {"m": tmp_path / "module"}) as daemon:
        yield Pair(tmp_path, daemon.url("m", "sub"))


def test_odd_names_arrive_and_are_recognised(pair: Pair) -> None:
    """Every name that a file can have is listed, brought, and found again in what rsync printed."""
    listed = [pair.write(pair.upstream, b"d/" + name) for name in (*ODD_NAMES, b"Number of files: 9", b"lit\\#012x")]
    outcome, items, notes = pair.run(StageKind.PAYLOAD, *listed)
    assert (outcome, notes) == (Outcome.DONE, Notes())
    assert judge_arrival(listed, items, notes) == Arrival()
    assert items.plain == set(listed)
    assert {*os.listdir(os.fsencode(pair.mirror / "d"))} == {path.removeprefix(b"d/") for path in listed}
    assert (items.brought, items.transferred_bytes) == (len(listed) + 1, len(listed))


def test_what_did_not_arrive(pair: Pair) -> None:
    """A missing path is found out; what rsync never copies and what is unchanged is not taken for missing."""
    same = pair.write(pair.upstream, b"same")
    assert pair.run(StageKind.PAYLOAD, same)[1].brought == 1
    os.symlink("../../..", pair.upstream / "unsafe")
    os.mkfifo(pair.upstream / "fifo")
    listed = [same, *map(TreePath, (b"unsafe", b"fifo", b"missing", b"no/folder\n", b"lit\\#012"))]
    outcome, items, notes = pair.run(StageKind.PAYLOAD, *listed)
    assert outcome is Outcome.DONE
    assert judge_arrival(listed, items, notes).missing == (b"lit\\#012", b"missing", b"no/folder\n")
    assert items.brought == 0


def test_vanished_names(pair: Pair) -> None:
    """The names of vanished files are understood; a daemon makes every file vanish when a sub-path is the source."""
    listed = [pair.write(pair.upstream, name) for name in (b"a", b'q"uote', b"new\nline", b"lit\\#012x", b"\xff")]
    tree_url = pair.source.tree_url.decode()
    arguments = ["rsync", "-lpt", "--from0", "--files-from=-", tree_url, f"{pair.mirror}/"]
    done = subprocess.run(
        arguments,
        input=b"\0".join(listed),
        capture_output=True,
        timeout=60,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
        check=False,
    )
    if done.returncode != 24:
        pytest.skip("this rsync daemon does not report the files of a sub-path as vanished")
    notes = parse_notes(done.stderr.splitlines(True), pair.source)
    assert notes == Notes(vanished=frozenset(listed))


def test_a_directory_in_the_way(pair: Pair) -> None:
    """A directory that stands where a file is to be put is named."""
    pair.write(pair.mirror, b"new\nclash/x")
    outcome, _, notes = pair.run(StageKind.PAYLOAD, pair.write(pair.upstream, b"new\nclash"))
    assert (outcome, notes.clashes) == (Outcome.CLASH, (b"new\nclash",))


def test_surplus_and_deletion(pair: Pair) -> None:
    """The surplus of a tree and of a folder is found, and the delete stage removes exactly what the upstream lacks."""
    kept = pair.write(pair.upstream, b"d/kept")
    for name in (b"d/kept", b"d/old\nfile", b"gone/a", b".~pushmirror~/tmp/x"):
        pair.write(pair.mirror, name)
    _, items, notes = pair.run(StageKind.SURPLUS)
    assert reliable_surplus(items, notes) == (b"d/old\nfile", b"gone", b"gone/a")
    assert items.entries == 2
    _, items, notes = pair.run(StageKind.SURPLUS, TreePath(b"d"))
    assert reliable_surplus(items, notes) == (b"d/old\nfile",)
    outcome, items, _ = pair.run(StageKind.DELETE, kept, TreePath(b"gone"), TreePath(b"d/old\nfile"))
    assert outcome is Outcome.DONE
    assert sorted(items.deleted) == [b"d/old\nfile", b"gone", b"gone/a"]
    assert sorted(os.listdir(pair.mirror)) == [".~pushmirror~", "d"]
    assert os.listdir(pair.mirror / "d") == ["kept"]


def test_unreadable(pair: Pair) -> None:
    """What the upstream's daemon may not read is incomplete, and what lies below it is not surplus."""
    listed = [pair.write(pair.upstream, name) for name in (b"a", b"private", b"secret/x")]
    pair.write(pair.mirror, b"secret/x")
    (pair.upstream / "private").chmod(0)
    if os.access(pair.upstream / "private", os.R_OK):
        pytest.skip("this user may read everything")
    (pair.upstream / "secret").chmod(0)
    outcome, items, notes = pair.run(StageKind.PAYLOAD, *listed)
    assert outcome is Outcome.DONE
    assert judge_arrival(listed, items, notes) == Arrival(incomplete=(TreePath(b"private"), TreePath(b"secret/x")))
    _, items, notes = pair.run(StageKind.SURPLUS)
    assert reliable_surplus(items, notes) == ()
    pair.upstream.chmod(0o100)
    outcome, items, _ = pair.run(StageKind.SURPLUS)
    pair.upstream.chmod(0o755)
    assert outcome is Outcome.RETRY


def test_unknown_module_and_folder(pair: Pair) -> None:
    """A module that does not exist is for the operator; a folder that does not may only not be mounted."""
    root = pair.source.root
    pair.source = Source(root, b"missing")
    assert pair.run(StageKind.WHOLE)[0] is Outcome.RETRY
    pair.source = Source(root.removesuffix("m/") + "nomodule/")
    assert pair.run(StageKind.WHOLE)[0] is Outcome.FAILED


def test_refused_options(tmp_path: Path) -> None:
    """An upstream that refuses an option is for the operator, not for patience."""
    for name in ("module/sub", "mirror", "temporary"):
        (tmp_path / name).mkdir(parents=True)
    module = {"m": tmp_path / "module"}
    with RsyncDaemon(tmp_path / "daemon", module, extra="refuse options = safe-links") as daemon:
        outcome, _, notes = Pair(tmp_path, daemon.url("m", "sub")).run(StageKind.WHOLE)
    assert (outcome, notes.refused, notes.busy) == (Outcome.FAILED, True, False)

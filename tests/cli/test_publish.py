"""``pushmirror publish`` as a command: what it prints, what it refuses, and how fast it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pushmirror.core.messages import parse_update
from pushmirror.core.model import ChangeList, Update
from pushmirror.core.paths import TreePath
from pushmirror.core.wire import parse_object
from pushmirror.publisher.journal import JOURNAL_NAME, Journal
from tests.publisher.daemon import Publisher
from tests.support.processes import PUSHMIRROR, clean_environment

pytestmark = pytest.mark.slow


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path)


def announced(publisher: Publisher) -> list[Update]:
    """Return what is in the journal."""
    if not (publisher.state_dir / JOURNAL_NAME).exists():
        return []
    journal = Journal(publisher.state_dir / JOURNAL_NAME)
    rows = journal.unsent(1000)
    journal.close()
    return [parse_update(parse_object(row.signed, max_bytes=1 << 20)["msg"]) for row in rows]


def changes(
    *changed: bytes,
    deleted: tuple[bytes, ...] = (),
    directories: tuple[bytes, ...] = (),
    bare: tuple[bytes, ...] = (),
) -> ChangeList:
    put, gone, recursive, alone = (
        tuple(map(TreePath, sorted(paths))) for paths in (changed, deleted, directories, bare)
    )
    return ChangeList(put, gone, recursive, bare=alone)


def test_it_prints_the_bare_serial(publisher: Publisher) -> None:
    """Standard output is the serial and nothing else; that the daemon is down is a note on standard error."""
    for serial in (b"1\n", b"2\n"):
        done = publisher.publish("debian", "--path", "pool/a.deb")
        assert (done.returncode, done.stdout) == (0, serial)
        assert b"next start" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "stdin", "expected"),
    [
        (["--path", "pool/a.deb", "--path", "./latest"], b"", changes(b"pool/a.deb", b"latest")),
        (["--path", "pool/", "--delete", "old"], b"", changes(b"pool", deleted=(b"old",), bare=(b"pool",))),
        (["--directory", "pool"], b"", changes(directories=(b"pool",))),
        (["--paths-from", "-"], b".\n./pool\n./pool/a.deb\n", changes(b"pool", b"pool/a.deb")),
        (["--paths-from", "-"], b"new\nline\0-rf\0", changes(b"new\nline", b"-rf")),
        (["--paths-from", "-", "--delete", "old"], b"odd\xff\n", changes(b"odd\xff", deleted=(b"old",))),
        (["--path", "-rf"], b"", changes(b"-rf")),
        (["--path", "--whole-tree", "--force"], b"", changes(b"--whole-tree")),
        (["--path", os.fsdecode(b"odd\xff")], b"", changes(b"odd\xff")),
        (["--path", "größe"], b"", changes("größe".encode())),
    ],
)  # fmt: skip
def test_paths_arrive_as_they_are(
    publisher: Publisher, arguments: list[str], stdin: bytes, expected: ChangeList
) -> None:
    """Names with spaces, newlines, dashes and bytes that are no text are announced as those very bytes."""
    for name in (b"new\nline", b"-rf", b"odd\xff", "größe".encode()):
        Path(os.fsdecode(os.path.join(os.fsencode(publisher.tree), name))).write_bytes(b"")
    done = publisher.publish("debian", *arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr
    (update,) = announced(publisher)
    assert update.changes == expected


def test_a_list_can_be_a_file(publisher: Publisher) -> None:
    """The list of what changed may lie in a file."""
    (publisher.folder / "list").write_bytes(b"latest\n")
    assert publisher.publish("debian", "--paths-from", publisher.folder / "list").returncode == 0
    assert announced(publisher)[0].changes == changes(b"latest")


def test_the_whole_tree_can_be_announced(publisher: Publisher) -> None:
    """An update without a list tells the time of the root and the limit of clients all the same."""
    assert publisher.publish("debian", "--whole-tree").returncode == 0
    (update,) = announced(publisher)
    assert update.whole and update.max_clients == 20
    assert update.root_mtime_ns == publisher.tree.stat().st_mtime_ns


def test_a_list_that_is_too_long_becomes_the_whole_tree(publisher: Publisher) -> None:
    """More paths than a list may hold are announced as the whole tree, and the operator is told."""
    stdin = b"\n".join(b"missing/%07d" % number for number in range(250_001))
    done = publisher.publish("debian", "--force", "--paths-from", "-", stdin=stdin)
    assert (done.returncode, done.stdout) == (0, b"1\n")
    assert b"the whole tree was announced" in done.stderr
    assert announced(publisher)[0].whole


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "give --path"),
        (["--path", "/etc/passwd"], "absolute"),
        (["--path", "../outside"], "'..'"),
        (["--delete", "../outside", "--force"], "'..'"),
        (["--directory", "/", "--force"], "absolute"),
        (["--path", "missing"], "--force"),
        (["--path", "pool/a.deb", "--delete", "pool/a.deb"], "still there"),
        (["--path", "latest/x"], "behind the symlink"),
        (["--whole-tree", "--path", "pool"], "give it alone"),
        (["--paths-from", "nowhere"], "nowhere"),
        (["--paths-from", "-"], "list is empty"),
        (["--paths-from", "-", "--whole-tree"], "give it alone"),
    ],
)
def test_what_cannot_be_announced_is_refused_and_nothing_is(
    publisher: Publisher, arguments: list[str], told: str
) -> None:
    """A mistake ends with exit code 2 and a text that says what to do; the journal stays as it was."""
    done = publisher.publish("debian", *arguments)
    stderr = done.stderr.decode()
    assert (done.returncode, done.stdout) == (2, b"")
    assert told in stderr and "Traceback" not in stderr
    assert announced(publisher) == []


def test_every_problem_is_told_at_once(publisher: Publisher) -> None:
    """The operator corrects the list once."""
    done = publisher.publish("debian", "--path", "missing", "--path", "../x", "--delete", "pool")
    assert len(done.stderr.splitlines()) == 4 and done.returncode == 2


@pytest.mark.parametrize(("tree", "told"), [("debiam", b"did you mean debian"), ("x", b"debian, fedora-updates")])
def test_an_unknown_tree_is_named_with_the_known_ones(publisher: Publisher, tree: str, told: bytes) -> None:
    """A mistyped tree is answered with the nearest one."""
    done = publisher.publish(tree, "--whole-tree")
    assert done.returncode == 2 and told in done.stderr


def test_faulty_settings_are_told_in_full(publisher: Publisher) -> None:
    """Every fault of the settings is a line with file and line number, as check-config tells it."""
    publisher.config.write_text(publisher.config.read_text().replace("environment: prod", "environment: [1]"))
    done = publisher.publish("debian", "--whole-tree")
    assert done.returncode == 2 and f"{publisher.config}:".encode() in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_folder_that_may_not_be_written_is_explained(publisher: Publisher) -> None:
    """Without the state folder nothing can be announced, and the error says where it should be."""
    publisher.state_dir.rmdir()
    done = publisher.publish("debian", "--whole-tree")
    assert (done.returncode, done.stdout) == (1, b"")
    assert str(publisher.state_dir).encode() in done.stderr and b"Traceback" not in done.stderr


def test_it_needs_no_private_key(publisher: Publisher) -> None:
    """Announcing is for whoever may write the journal; the daemon alone signs."""
    (publisher.folder / "publisher.key").unlink()
    assert publisher.publish("debian", "--whole-tree").stdout == b"1\n"


def test_a_reader_that_has_gone_loses_no_serial(publisher: Publisher) -> None:
    """When nobody reads the serial the announcement stands."""
    reading, writing = os.pipe()
    os.close(reading)
    command: list[str | Path] = [*PUSHMIRROR, "publish", "debian", "--whole-tree", "--config", publisher.config]
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, env=clean_environment(), check=False)
    assert b"Traceback" not in done.stderr
    assert [update.serial for update in announced(publisher)] == [1]


def test_the_help_explains_what_a_directory_brings(publisher: Publisher) -> None:
    """The difference between --path and --directory is in the help."""
    text = publisher.publish("--help").stdout.decode()
    assert "itself" in text and "--whole-tree" in text


def test_it_loads_nothing_that_is_slow(publisher: Publisher) -> None:
    """A client command starts without Twisted, fedmsg, pydantic and cryptography."""
    script = """
import sys
from pushmirror.cli.main import run
code = run(sys.argv[1:])
slow = {"twisted", "fedmsg", "pydantic", "treq", "zmq", "cryptography"} & {name.split(".")[0] for name in sys.modules}
sys.exit(f"loaded {slow}" if slow else code)
"""
    arguments = ["publish", "debian", "--whole-tree", "--config", str(publisher.config)]
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, env=clean_environment(), check=False)
    assert (done.returncode, done.stdout) == (0, b"1\n"), done.stderr

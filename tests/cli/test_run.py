"""``pushmirror run`` as a command, with the real rsync: what it announces, passes on, keeps and refuses."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pushmirror.core.messages import parse_update, parse_updating
from pushmirror.core.model import ChangeList, Update, Updating
from pushmirror.core.paths import TreePath
from pushmirror.core.wire import open_envelope, parse_object
from pushmirror.publisher.detect.run_lock import is_running, runs_folder
from pushmirror.publisher.journal import JOURNAL_NAME, Journal
from tests.publisher.daemon import Listener, Publisher
from tests.support.processes import Program, clean_environment, run_pushmirror
from tests.support.rsyncd import RsyncDaemon
from tests.support.trees import ODD_NAMES, write
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

Done = subprocess.CompletedProcess[bytes]
LARGE_BYTES = 3_000_000
SLOW = "--bwlimit=1000"  # about three seconds for the large file
ENDLESS_BYTES = 60_000_000  # a minute: the test ends it


class Place(Publisher):
    """A publisher (not running) whose tree ``debian`` is brought from `upstream`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.upstream = folder / "upstream"
        for name in (b"pool/a.deb", b"pool/b.deb"):
            write(self.upstream, name, b"new")

    def run(self, *command: str | Path, stdin: bytes = b"", at: Path | None = None) -> Done:
        arguments = ["run", "debian", "--config", self.config, "--", *command]
        return run_pushmirror(*arguments, stdin=stdin, working_directory=at)

    def program(self, *command: str | Path) -> Program:
        """Return the command as a process of its own, to be started by a ``with``."""
        return Program(["run", "debian", "--config", self.config, "--", *command], log_path=self.folder / "log")

    def announced(self) -> list[Update]:
        """Return what is in the journal."""
        if not (self.state_dir / JOURNAL_NAME).exists():
            return []
        journal = Journal(self.state_dir / JOURNAL_NAME)
        rows = journal.unsent(1000)
        journal.close()
        return [parse_update(parse_object(row.signed, max_bytes=1 << 20)["msg"]) for row in rows]

    def lists(self) -> list[tuple[tuple[bytes, ...], tuple[bytes, ...]]]:
        """Return what was changed and deleted, for each announcement."""
        return [
            (update.changes.changed, update.changes.deleted)
            for update in self.announced()
            if update.changes is not None
        ]

    def kept(self) -> int:
        """Return how many logs wait for the next run that succeeds."""
        return len(list(runs_folder(self.state_dir, "debian").glob("*.log")))

    @property
    def from_(self) -> str:
        return f"{self.upstream}/"

    @property
    def into(self) -> str:
        return f"{self.tree}/"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@contextlib.contextmanager
def half_way(place: Place, large_bytes: int = LARGE_BYTES) -> Iterator[Program]:
    """A run that has brought `first` and is slowly bringing `large`."""
    write(place.upstream, b"first", b"x")
    write(place.upstream, b"large", os.urandom(large_bytes))
    with place.program("rsync", "-rt", SLOW, place.from_, place.into) as program:
        wait_until(lambda: list(place.tree.glob(".large.*")), what="the large file to be on its way")
        yield program


def test_it_announces_what_changed_and_nothing_else(place: Place) -> None:
    """Put, updated and deleted paths, and directories whose time has changed, are one announcement; the logs go."""
    write(place.tree, b"old/file", b"x")
    write(place.tree, b"pool/b.deb", b"old content")
    done = place.run("rsync", "-a", "--delete", place.from_, place.into)
    assert done.returncode == 0, done.stderr
    assert b"announced serial 1" in done.stderr
    (update,) = place.announced()
    assert update.changes is not None
    assert set(update.changes.changed) - {b"pool"} == {b"pool/a.deb", b"pool/b.deb"}
    assert update.changes.deleted == (b"latest", b"old")
    assert update.root_mtime_ns == place.tree.stat().st_mtime_ns and update.max_clients == 20
    assert update.bytes == 6
    assert place.kept() == 0


def test_nothing_is_announced_when_nothing_changed(place: Place) -> None:
    """The second run of the same finds nothing and says so."""
    for told in (b"announced serial 1", b"nothing has changed"):
        done = place.run("rsync", "-a", place.from_, place.into)
        assert done.returncode == 0 and told in done.stderr
    assert len(place.announced()) == 1 and place.kept() == 0


def test_attributes_alone_are_announced(place: Place) -> None:
    """Permissions that change without content are announced, though the operator asked for no itemising."""
    place.run("rsync", "-a", place.from_, place.into)
    (place.upstream / "pool" / "a.deb").chmod(0o600)
    place.run("rsync", "-aq", place.from_, place.into)
    assert place.lists()[-1] == ((b"pool/a.deb",), ())


def test_the_time_of_the_root_is_announced_by_itself(place: Place) -> None:
    """A run that changed nothing else makes an update without paths."""
    place.run("rsync", "-rt", place.from_, place.into)
    os.utime(place.from_, ns=(10**18, 10**18))
    done = place.run("rsync", "-rt", place.from_, place.into)
    assert b"announced serial 2" in done.stderr
    assert place.lists()[-1] == ((), ())


def test_odd_names_arrive(place: Place) -> None:
    """Names with newlines, arrows and bytes that are no text are announced as those very bytes."""
    for name in ODD_NAMES:
        write(place.upstream, b"odd/" + name, b"x")
    place.run("rsync", "-a", place.from_, place.into)
    (changed, _), *_ = place.lists()
    assert {b"odd/" + name for name in ODD_NAMES} == {path for path in changed if path.startswith(b"odd/")}


def test_the_output_is_rsyncs_own(place: Place) -> None:
    """With -i in the command nothing is added to standard output, and rsync's messages are on standard error."""
    copy = place.folder / "copy"
    shutil.copytree(place.tree, copy, symlinks=True)
    command = ["rsync", "-rtOi", "--delete", place.from_, str(place.upstream / "missing")]
    bare = subprocess.run([*command, f"{copy}/"], capture_output=True, env=clean_environment(), check=False)
    done = place.run(*command, place.into)
    assert (done.returncode, done.stdout) == (bare.returncode, bare.stdout) and bare.returncode == 23
    assert bare.stdout.splitlines() and bare.stderr.splitlines()[0] in done.stderr


def test_standard_input_reaches_rsync(place: Place) -> None:
    """A list of files on standard input is rsync's, and the names are seen from the tree."""
    write(place.upstream, b"sub/one", b"x")
    write(place.upstream, b"sub/two", b"x")
    place.run("rsync", "-t", "--files-from=-", place.from_, place.into, stdin=b"sub/two\n")
    assert place.lists() == [((b"sub", b"sub/two"), ())]


@pytest.mark.parametrize(
    ("source", "destination", "expected"),
    [
        ("pool/", "tree/pool/", {b"pool/b.deb"}),
        ("pool/", "tree/new", {b"new", b"new/a.deb", b"new/b.deb"}),
        ("pool", "tree/new/", {b"new/pool", b"new/pool/a.deb", b"new/pool/b.deb"}),
        ("pool/b.deb", "tree/", {b"b.deb"}),
        ("pool/b.deb", "tree/renamed", {b"renamed"}),
        ("pool/b.deb", "tree/pool", {b"pool/b.deb"}),
        ("./pool/b.deb", "tree/pool/../", {b"b.deb"}),
    ],
)
def test_names_are_seen_from_the_destination(place: Place, source: str, destination: str, expected: set[bytes]) -> None:
    """The destination is the tree or lies in it, relative to where the command was started."""
    write(place.tree, b"pool/a.deb", b"new", mtime_ns=(place.upstream / "pool" / "a.deb").stat().st_mtime_ns)
    done = place.run("rsync", "-rt", f"upstream/{source}", destination, at=place.folder)
    assert done.returncode == 0, done.stderr
    ((changed, deleted),) = place.lists()
    above = {b"pool", b"new"} - expected
    assert (set(changed) - above, deleted) == (expected, ())


def test_the_destination_may_hold_the_tree(place: Place) -> None:
    """Of a transfer into a folder above the tree only what lies in the tree is announced."""
    write(place.upstream, b"tree/inside", b"x")
    write(place.upstream, b"other/outside", b"x")
    place.run("rsync", "-r", place.from_, f"{place.folder}/")
    assert place.lists() == [((b"inside",), ())]


def test_relative_names_lie_in_the_tree(place: Place) -> None:
    """With --relative the names keep the folders that they had at the source."""
    place.run("rsync", "-rR", f"{place.upstream}/./pool/b.deb", place.into)
    assert place.lists() == [((b"pool/b.deb",), ())]


def test_hardlinks_are_paired(place: Place) -> None:
    """A new name of a file that was there already carries that name with it."""
    place.run("rsync", "-aH", place.from_, place.into)
    os.link(place.upstream / "pool" / "a.deb", place.upstream / "by-hash")
    place.run("rsync", "-aH", place.from_, place.into)
    changes = place.announced()[-1].changes
    assert changes == ChangeList((TreePath(b"by-hash"),), linked=((TreePath(b"by-hash"), TreePath(b"pool/a.deb")),))


def test_scratch_folders_in_the_tree_are_not_announced(place: Place) -> None:
    """Temporary files, partial files and backups are rsync's own affair, also when rsync deletes them."""
    for name in (b".tmp/x", b".partial/x", b"pool/.partial/y", b".backup/x"):
        write(place.tree, name, b"x")
    options = ("--temp-dir=.tmp", "--partial-dir=.partial", f"--backup-dir={place.tree}/.backup")
    done = place.run("rsync", "-rb", "--delete", *options, place.from_, place.into)
    (changed, deleted), *_ = place.lists()
    assert done.stdout.count(b"*deleting") >= 2
    assert not any(b".tmp" in path or b".partial" in path or b".backup" in path for path in (*changed, *deleted))
    assert b"latest" in deleted


# --- when it does not go well


def test_what_arrived_is_announced_though_a_file_could_not_be_read(tmp_path: Path) -> None:
    """Exit code 23: the unreadable file is not announced, the others are, and the code is passed on."""
    place = Place(tmp_path)
    write(place.upstream, b"secret", b"x")
    (place.upstream / "secret").chmod(0)
    extra = "uid = nobody\ngid = nogroup" if os.geteuid() == 0 else ""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    with RsyncDaemon(tmp_path / "rsyncd", {"m": place.upstream}, extra=extra) as daemon:
        done = place.run("rsync", "-rt", daemon.url("m"), place.into)
    assert done.returncode == 23, done.stderr
    ((changed, deleted),) = place.lists()
    assert b"pool/b.deb" in changed and b"secret" not in changed and deleted == ()


def test_a_name_that_is_taken_by_a_directory_is_not_announced(place: Place) -> None:
    """Exit code 23 from the receiving side: what could not be put in place did not arrive."""
    write(place.tree, b"pool/b.deb/inside", b"x")
    done = place.run("rsync", "-r", place.from_, place.into)
    assert done.returncode == 23
    assert place.lists() == [((b"pool/a.deb",), ())]


def test_what_arrived_is_announced_though_a_file_vanished(place: Place) -> None:
    """Exit code 24: a file that vanished at the source during the transfer is not announced, the others are."""
    write(place.upstream, b"vanishing", b"x")
    with half_way(place) as program:
        (place.upstream / "vanishing").unlink()
        assert program.wait(deadline_seconds=30) == 24
    ((changed, _),) = place.lists()
    assert b"large" in changed and b"vanishing" not in changed


def test_a_failed_run_announces_nothing_and_the_next_one_makes_up_for_it(place: Place) -> None:
    """What a run has brought before it failed is not itemised again, and is announced all the same."""
    with half_way(place) as program:
        wait_until((place.tree / "first").exists, what="the first file")
        program.send(signal.SIGTERM)
        assert program.wait() == 20
        assert "next run that succeeds" in program.log_text()
    assert place.announced() == [] and place.kept() == 1
    done = place.run("rsync", "-rt", place.from_, place.into)
    assert done.returncode == 0 and b"first" not in done.stdout
    ((changed, _),) = place.lists()
    assert {b"first", b"large"} <= set(changed)
    assert place.kept() == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 20), (signal.SIGTERM, 20), (signal.SIGHUP, 20)])
def test_signals_reach_rsync(place: Place, number: signal.Signals, code: int) -> None:
    """Interrupting the command interrupts rsync, which tidies up; its exit code is the command's."""
    with half_way(place) as program:
        program.send(number)
        assert program.wait() == code
    wait_until(lambda: not is_running(place.state_dir, "debian"), what="the end of rsync's other processes")
    assert list(place.tree.glob(".large.*")) == []


def test_a_killed_run_leaves_the_tree_locked_until_its_rsync_ends(place: Place) -> None:
    """Nobody else starts or announces while the rsync that was left behind writes; what it did is announced later."""
    with half_way(place, ENDLESS_BYTES) as program:
        program.kill_alone()
        assert is_running(place.state_dir, "debian")
        refused = place.run("rsync", "-rt", place.from_, place.into)
        assert refused.returncode == 1 and b"left behind" in refused.stderr
        os.killpg(program.pid, signal.SIGTERM)  # the group of the run, in which its rsync still is
        wait_until(lambda: not is_running(place.state_dir, "debian"), what="the end of rsync")
    done = place.run("rsync", "-rt", place.from_, place.into)
    assert done.returncode == 0
    ((changed, _),) = place.lists()
    assert {b"first", b"large"} <= set(changed)


def test_one_run_at_a_time_and_nothing_else_is_announced_meanwhile(place: Place) -> None:
    """A second run and a publish of the same tree are refused; --force and other trees are not."""
    (place.folder / "other").mkdir()
    with half_way(place, ENDLESS_BYTES) as program:
        second = place.run("rsync", "-rt", place.from_, place.into)
        assert second.returncode == 1 and b"another run" in second.stderr
        refused = place.publish("debian", "--path", "latest")
        assert (refused.returncode, refused.stdout) == (1, b"") and b"pushmirror run" in refused.stderr
        assert place.publish("debian", "--path", "latest", "--force").stdout == b"1\n"
        assert place.publish("fedora-updates", "--whole-tree", "--force").stdout == b"1\n"
        assert program.terminate() == 20
    wait_until(lambda: not is_running(place.state_dir, "debian"), what="the end of rsync's other processes")
    assert place.publish("debian", "--path", "latest").stdout == b"2\n"


def test_what_cannot_be_announced_is_kept(place: Place) -> None:
    """A journal that fails makes the command fail, with rsync's own result told; the next run announces it."""
    (place.state_dir / JOURNAL_NAME).write_text("no journal")
    done = place.run("rsync", "-rt", place.from_, place.into)
    assert done.returncode == 1 and b"rsync ended with 0" in done.stderr and b"Traceback" not in done.stderr
    (place.state_dir / JOURNAL_NAME).unlink()
    place.run("rsync", "-rt", place.from_, place.into)
    assert b"pool/b.deb" in place.lists()[0][0]


def test_a_daemon_tells_subscribers_while_a_run_is_active(place: Place) -> None:
    """They hear at once that the tree is being updated, then the announcement, then that it is over."""

    def hear_updating() -> Updating:
        return parse_updating(open_envelope(listener.hear("tree.updating")[1]).msg)

    with place.daemon() as daemon, Listener(place.endpoint) as listener:
        daemon.wait_for_socket(place.control)
        listener.hear("tree.heartbeat")
        with half_way(place) as program:
            begun = hear_updating()
            assert begun.tree == "debian" and begun.expires_ms > begun.at_ms
            assert program.wait(deadline_seconds=30) == 0
        listener.hear("tree.updated")
        over = hear_updating()
        assert over.expires_ms == over.at_ms > begun.at_ms


@pytest.mark.parametrize(("mode", "file_mode", "folder_mode"), [(0o700, 0o600, 0o700), (0o770, 0o660, 0o770)])
def test_the_state_of_runs_is_for_whoever_may_announce(
    place: Place, mode: int, file_mode: int, folder_mode: int
) -> None:
    """Where the group may write into the state folder, it may run as well; otherwise the owner alone."""
    place.state_dir.chmod(mode)
    place.run("rsync", "-rt", place.from_, place.into)
    folder = runs_folder(place.state_dir, "debian")
    assert (folder.stat().st_mode & 0o777, (folder / "lock").stat().st_mode & 0o777) == (folder_mode, file_mode)


# --- what is refused

REFUSED = [
    (["rsync", "-an", "{from}", "{into}"], "--dry-run"),
    (["rsync", "-a", "--dry-run", "{from}", "{into}"], "--dry-run"),
    (["rsync", "--list-only", "{from}", "{into}"], "--list-only"),
    (["rsync", "--only-write-batch=x", "{from}", "{into}"], "--only-write-batch"),
    (["rsync", "-a", "--log-file=x", "{from}", "{into}"], "--from-rsync"),
    (["rsync", "-a", "--log-file", "x", "{from}", "{into}"], "--from-rsync"),
    (["rsync", "-a", "--log-file-format=%f", "{from}", "{into}"], "--log-file-format"),
    (["rsync", "-a", "--out-format=%n", "{from}", "{into}"], "%i"),
    (["rsync", "-a", "--no-itemize-changes", "{from}", "{into}"], "would not be listed"),
    (["rsync", "-a", "--link-dest=/x", "{from}", "{into}"], "--whole-tree"),
    (["rsync", "-a", "--copy-dest=/x", "{from}", "{into}"], "-ii"),
    (["rsync", "-ab", "{from}", "{into}"], "--backup-dir"),
    (["rsync", "--daemon"], "--daemon"),
    (["rsync", "-a", "{from}"], "no destination"),
    (["rsync", "-a", "-e", "ssh", "{from}"], "no destination"),
    (["rsync", "-a", "{from}", "host:{into}"], "another host"),
    (["rsync", "-a", "{from}", "rsync://host/debian/"], "another host"),
    (["rsync", "-a", "{into}", "{from}"], "nothing to do with the tree"),
    (["cp", "-a", "{from}", "{into}"], "no rsync"),
    (["nice", "rsync", "-a", "{from}", "{into}"], "before pushmirror"),
    (["./no-such-rsync", "-a", "{from}", "{into}"], "cannot be started"),
]


@pytest.mark.parametrize(("command", "told"), REFUSED, ids=[" ".join(command[:3]) for command, _ in REFUSED])
def test_what_cannot_be_run_is_refused_and_nothing_is_done(place: Place, command: list[str], told: str) -> None:
    """A command that would announce nothing, or not exactly, ends with 2 and a text that says what to do instead."""
    given = [part.replace("{from}", place.from_).replace("{into}", place.into) for part in command]
    done = place.run(*given)
    stderr = done.stderr.decode()
    assert (done.returncode, done.stdout) == (2, b""), stderr
    assert told in stderr and "Traceback" not in stderr
    assert not (place.tree / "pool" / "b.deb").exists() and place.announced() == []


ACCEPTED = [
    ["rsync", "-rte", "ssh -n", "{from}", "{into}"],
    ["rsync", "{from}", "{into}", "-rt", "--exclude", "--dry-run"],
    ["rsync", "-rt", "--", "{from}", "{into}"],
    ["rsync", "-rtiv", "--progress", "--stats", "--info=progress2", "{from}", "{into}"],
    ["rsync", "-rt", "--outbuf=L", "--out-format=%o %i %n", "{from}", "{into}"],
]


@pytest.mark.parametrize("command", ACCEPTED, ids=lambda command: " ".join(command[:4]))
def test_what_only_looks_like_it_is_run(place: Place, command: list[str]) -> None:
    """Values of options are no options; options may stand behind the places; output options that list changes stay."""
    given = [part.replace("{from}", place.from_).replace("{into}", place.into) for part in command]
    done = place.run(*given)
    assert done.returncode == 0, done.stderr
    assert b"pool/b.deb" in place.lists()[0][0]


def test_the_command_itself_is_checked(place: Place) -> None:
    """Without a command, with an unknown tree, or with a subscriber's settings there is nothing to run."""
    missing = run_pushmirror("run", "debian", "--config", place.config)
    unknown = run_pushmirror("run", "debiam", "--config", place.config, "--", "rsync", "-a", place.from_, place.into)
    assert (missing.returncode, unknown.returncode) == (2, 2)
    assert b"did you mean debian" in unknown.stderr


# --- recorded logs, by publish


@pytest.mark.parametrize("from_file", [True, False])
def test_a_recorded_log_can_be_published(place: Place, from_file: bool) -> None:
    """What rsync printed is announced from a file or from standard input, and the serial is printed."""
    command = ["rsync", "-rti", "--delete", place.from_, place.into]
    log = subprocess.run(command, capture_output=True, env=clean_environment(), check=True).stdout
    (place.folder / "log").write_bytes(log)
    done = place.publish("debian", "--from-rsync", place.folder / "log" if from_file else "-", stdin=log)
    assert (done.returncode, done.stdout) == (0, b"1\n"), done.stderr
    ((changed, deleted),) = place.lists()
    assert {b"pool/a.deb", b"pool/b.deb"} <= set(changed) and deleted == (b"latest",)


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "told"),
    [
        (["--from-rsync", "nowhere"], b"", 2, "cannot be read"),
        (["--from-rsync", "-"], b"sent 12 bytes\n", 0, "nothing itemised"),
        (["--from-rsync", "-", "--path", "latest"], b"", 2, "alone"),
        (["--from-rsync", "-", "--whole-tree"], b"", 2, "alone"),
        (["--from-rsync", "-"], b">f+++++++++ other/tree\n", 2, "as seen from the root"),
    ],
)
def test_a_log_without_use_is_told(place: Place, arguments: list[str], stdin: bytes, code: int, told: str) -> None:
    """A log that cannot be read, holds nothing, or belongs elsewhere announces nothing and says why."""
    done = place.publish("debian", *arguments, stdin=stdin)
    assert (done.returncode, done.stdout) == (code, b"") and told in done.stderr.decode()
    assert place.announced() == []

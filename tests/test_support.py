"""The tools that tests rely on: a comparison that overlooks nothing, a daemon that ends, waiting that fails."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.compare import differences, rsync_differences
from tests.support.ports import accepts, free_port
from tests.support.processes import Program, run_pushmirror
from tests.support.rsyncd import RsyncDaemon, parse_connection
from tests.support.trees import ODD_NAMES, change_tree, make_tree, set_time, write
from tests.support.waiting import NeverHappened, wait_until

pytestmark = pytest.mark.slow

TIME_NS = 1_700_000_000_123_456_789
MIRROR_OPTIONS = ("-rlptH", "--safe-links", "--chmod=ug-s", "--modify-window=-1")
SLEEPER = (sys.executable, "-c")


def fill(root: Path) -> None:
    """Make a small tree in which every kind of difference can be made."""
    write(root, b"folder/file", b"content", mtime_ns=TIME_NS, mode=0o644)
    write(root, b"folder/one", b"linked", mtime_ns=TIME_NS)
    os.link(root / "folder/one", root / "folder/two")
    write(root, b"odd\n\xff", b"", mtime_ns=TIME_NS)
    write(root, b"surplus/inside", b"x", mtime_ns=TIME_NS)
    (root / "link").symlink_to("folder/file")
    os.utime(root / "link", ns=(TIME_NS, TIME_NS), follow_symlinks=False)
    for name in (b"folder", b"surplus", b"."):
        set_time(root, name, TIME_NS)


def same_times(change: Callable[[Path], None]) -> Callable[[Path], None]:
    """Return `change` followed by setting the times of file and directories back, so that it is the only difference."""

    def changed(root: Path) -> None:
        change(root)
        for name in (b"folder/file", b"folder", b"surplus", b"."):
            if os.path.exists(os.path.join(os.fsencode(root), name)):
                set_time(root, name, TIME_NS)

    return changed


def replace(path: Path, make: Callable[[], object]) -> None:
    path.unlink()
    make()


def unlink_pair(root: Path) -> None:
    (root / "folder/two").unlink()
    write(root, b"folder/two", b"linked", mtime_ns=TIME_NS)


def make_pair(root: Path) -> None:
    (root / "odd\n\udcff").unlink()
    os.link(root / "folder/file", root / "odd\n\udcff")


def repoint(root: Path) -> None:
    replace(root / "link", lambda: (root / "link").symlink_to("folder/one"))
    os.utime(root / "link", ns=(TIME_NS, TIME_NS), follow_symlinks=False)


def become_file(root: Path) -> None:
    replace(root / "link", lambda: (root / "link").write_text(""))


def become_symlink(root: Path) -> None:
    replace(root / "folder/file", lambda: (root / "folder/file").symlink_to("one"))


def remove_folder(root: Path) -> None:
    (root / "surplus/inside").unlink()
    (root / "surplus").rmdir()


# what is done to an exact mirror, and what the walker says about it
KINDS_OF_DIFFERENCE: list[tuple[str, Callable[[Path], object], list[str]]] = [
    ("content", lambda r: (r / "folder/file").write_bytes(b"c0ntent"), ["'folder/file': content differs (7 bytes"]),
    ("length", lambda r: (r / "folder/file").write_bytes(b""), ["'folder/file': content differs (0 bytes"]),
    ("permissions", lambda r: (r / "folder/file").chmod(0o600), ["'folder/file': permissions 0600, not 0644"]),
    ("setuid", lambda r: (r / "folder/file").chmod(0o4644), ["'folder/file': permissions 4644, not 0644"]),
    ("folder permissions", lambda r: (r / "folder").chmod(0o700), ["'folder': permissions 0700, not 0755"]),
    ("root permissions", lambda r: r.chmod(0o700), ["'.': permissions 0700, not 0755"]),
    ("missing file", lambda r: (r / "odd\n\udcff").unlink(), ["missing: 'odd\\n\\xff'"]),
    ("extra file", lambda r: write(r, b"folder/extra", b""), ["extra: 'folder/extra'"]),
    ("leftover", lambda r: (r / ".~pushmirror~").mkdir(), ["extra: '.~pushmirror~'"]),
    ("missing folder", remove_folder, ["missing: 'surplus'", "missing: 'surplus/inside'"]),
    ("file for symlink", become_file, ["'link': is a file, not a symlink"]),
    ("symlink for file", become_symlink, ["'folder/file': is a symlink, not a file"]),
    ("target", repoint, ["'link': points to 'folder/one', not to 'folder/file'"]),
    ("not linked", unlink_pair, ["not linked: 'folder/one' = 'folder/two'"]),
    (
        "linked only here",
        make_pair,
        ["linked only here: 'folder/file' = 'odd\\n\\xff'", "'odd\\n\\xff': content differs"],
    ),
]
CHANGES = [(change, told) for _, change, told in KINDS_OF_DIFFERENCE]
NAMES_OF_CHANGES = [name for name, _, _ in KINDS_OF_DIFFERENCE]
TIMES: list[tuple[str, bytes]] = [
    ("file time", b"folder/file"),
    ("folder time", b"folder"),
    ("root time", b"."),
]


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """An upstream tree and an exact mirror of it."""
    upstream, mirror = tmp_path / "upstream", tmp_path / "mirror"
    fill(upstream)
    fill(mirror)
    return upstream, mirror


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RsyncDaemon]:
    """One rsync daemon for this module; its tests point the module ``data`` at their own upstream."""
    folder = tmp_path_factory.mktemp("daemon")
    with RsyncDaemon(folder, {"data": folder}) as running:
        yield running


def copy(url: str, mirror: Path) -> None:
    """Bring a mirror up to date with rsync, as a subscriber would."""
    mirror.mkdir(exist_ok=True)
    subprocess.run(["rsync", *MIRROR_OPTIONS, url, f"{mirror}/"], check=True, timeout=60)


def test_exact_trees_have_no_differences(pair: tuple[Path, Path]) -> None:
    """Two trees that are alike in everything compare as equal."""
    assert differences(*pair) == []


@pytest.mark.parametrize(("change", "told"), CHANGES, ids=NAMES_OF_CHANGES)
def test_the_walker_finds_the_difference(
    change: Callable[[Path], None], told: list[str], pair: tuple[Path, Path]
) -> None:
    """Each kind of difference is reported by name, and nothing else is reported beside it."""
    same_times(change)(pair[1])
    found = [line for line in differences(*pair) if ": time " not in line]
    assert len(found) == len(told)
    assert all(any(line.startswith(start) for line in found) for start in told), found


@pytest.mark.parametrize("change", [change for change, _ in CHANGES], ids=NAMES_OF_CHANGES)
def test_rsync_finds_the_difference(
    change: Callable[[Path], None], pair: tuple[Path, Path], daemon: RsyncDaemon
) -> None:
    """The comparison by rsync sees each kind of difference too, and none where there is none."""
    daemon.set_module_path("data", pair[0])
    assert rsync_differences(daemon.url("data"), pair[1]) == ""
    same_times(change)(pair[1])
    assert rsync_differences(daemon.url("data"), pair[1]) != ""


@pytest.mark.parametrize("name", [row[1] for row in TIMES], ids=[row[0] for row in TIMES])
def test_one_nanosecond_is_a_difference(name: bytes, pair: tuple[Path, Path], daemon: RsyncDaemon) -> None:
    """Times of files, directories and the root are compared to the nanosecond, by both comparisons."""
    set_time(pair[1], name, TIME_NS + 1)
    daemon.set_module_path("data", pair[0])
    assert [line.split(": ")[0] for line in differences(*pair)] == [f"'{name.decode()}'"]
    assert name.decode() in rsync_differences(daemon.url("data"), pair[1])


def test_the_time_of_a_symlink_is_compared(pair: tuple[Path, Path]) -> None:
    """A symlink's own time counts, not that of what it points to."""
    os.utime(pair[1] / "link", ns=(TIME_NS, TIME_NS + 1), follow_symlinks=False)
    assert differences(*pair) == [f"'link': time {TIME_NS + 1} ns, not {TIME_NS} ns"]


def test_the_root_time_alone_can_be_ignored(pair: tuple[Path, Path]) -> None:
    """`ignore_root_time` hides the root's time, and no other difference of the root or of other times."""
    for name in (b".", b"folder"):
        set_time(pair[1], name, TIME_NS + 1)
    pair[1].chmod(0o700)
    found = differences(*pair, ignore_root_time=True)
    assert [line.split(" ")[:2] for line in found] == [["'.':", "permissions"], ["'folder':", "time"]]


def test_dropped_setuid_bits_are_what_a_mirror_should_have(pair: tuple[Path, Path]) -> None:
    """A mirror without the upstream's setuid and setgid bits is exact; one that took them over is not."""
    (pair[0] / "folder/file").chmod(0o6755)
    (pair[1] / "folder/file").chmod(0o755)
    assert differences(*pair) == []
    (pair[1] / "folder/file").chmod(0o6755)
    assert differences(*pair) == ["'folder/file': permissions 6755, not 0755"]


def test_the_walker_agrees_with_rsync_about_unsafe_symlinks(tmp_path: Path, daemon: RsyncDaemon) -> None:
    """Exactly the symlinks that rsync leaves out under --safe-links are expected to be missing."""
    upstream, mirror = tmp_path / "upstream", tmp_path / "mirror"
    parts = ("..", "name", "..", ".")
    targets = {"/".join(chosen) for count in (1, 2, 3) for chosen in itertools.product(parts, repeat=count)}
    for folder in ("", "one/", "one/two/"):
        (upstream / folder).mkdir(parents=True)
        for number, target in enumerate(sorted(targets | {"/absolute", "../", "../../", "name/../..", "..name"})):
            (upstream / f"{folder}link{number}").symlink_to(target)
    daemon.set_module_path("data", upstream)
    copy(daemon.url("data"), mirror)
    assert differences(upstream, mirror) == []


def test_a_failing_rsync_is_not_taken_for_exactness(tmp_path: Path) -> None:
    """When rsync cannot compare, the comparison fails instead of finding nothing."""
    with pytest.raises(AssertionError, match="rsync ended with"):
        rsync_differences(f"rsync://127.0.0.1:{free_port()}/nothing/", tmp_path)


def test_a_made_tree_arrives_whole(tmp_path: Path, daemon: RsyncDaemon) -> None:
    """The trees that tests are run on can be mirrored exactly, odd names and links included."""
    tree = make_tree(tmp_path / "upstream", files=200)
    daemon.set_module_path("data", tree.root)
    copy(daemon.url("data"), tmp_path / "mirror")
    assert differences(tree.root, tmp_path / "mirror") == []
    assert rsync_differences(daemon.url("data"), tmp_path / "mirror") == ""


def test_trees_are_deterministic_and_as_large_as_asked_for(tmp_path: Path) -> None:
    """The same seed makes the same tree, another one another; the number of files is what was asked for."""
    first, second = make_tree(tmp_path / "a", files=150), make_tree(tmp_path / "b", files=150)
    other = make_tree(tmp_path / "c", files=150, seed=9)
    assert differences(first.root, second.root) == setuid_only(first.root)
    assert differences(first.root, other.root) != setuid_only(first.root)
    found = [Path(folder, name) for folder, _, names in os.walk(first.root) for name in names]
    assert sum(not path.is_symlink() for path in found) == len(set(first.files)) == 150
    assert set(ODD_NAMES) <= set(first.files)


def setuid_only(root: Path) -> list[str]:
    """Return the differences of a tree to itself: what a mirror of it must not have taken over."""
    return differences(root, root)


def test_a_changed_tree_differs_in_what_the_change_tells(tmp_path: Path) -> None:
    """`change_tree` makes the changes that it reports, and no others."""
    before, after = make_tree(tmp_path / "before", files=400), make_tree(tmp_path / "after", files=400)
    change = change_tree(after, changed=20, added=5, deleted=5)
    lines = [line for line in differences(after.root, before.root, ignore_root_time=True) if "permissions" not in line]
    named = {line.split(": ")[0] if line.startswith("'") else line.split(": ")[1] for line in lines}
    directories = {repr(name)[1:] for name in (*after.directories, b"pool/main/new")}
    gone = next(name for name in change.deleted if name in after.directories)
    inside_removed = {repr(name)[1:] for name in before.files if name.startswith(gone + b"/")}
    assert (
        named - directories - inside_removed
        == {repr(name)[1:] for name in (*change.put, *change.deleted)} - directories
    )
    assert len(change.put) == 20 + 5 + 2 + 1
    assert len(change.deleted) == 5 + 1


def test_the_daemon_tells_what_was_asked_for_and_sent(tmp_path: Path) -> None:
    """Each connection is told with its request, the files that were sent, and the bytes."""
    upstream = tmp_path / "upstream"
    fill(upstream)
    with RsyncDaemon(tmp_path / "daemon", {"data": upstream}) as running:
        copy(running.url("data"), tmp_path / "mirror")
        copy(running.url("data", "folder"), tmp_path / "second")
        first, second = running.wait_for_connections(2)
    assert first.request == "data/"
    assert second.request == "data/folder/"
    assert len(second.sent) == 2  # of two names of one inode either may be the one that is sent
    assert "folder/file" in second.sent
    assert second.total_size_bytes == len(b"content" + b"linked" + b"linked")
    assert first.sent_bytes and first.received_bytes


def test_a_connection_that_was_cut_off_has_no_byte_counts() -> None:
    """A log without totals is told as a connection that has not ended."""
    line = "rsync on data/ from UNDETERMINED (127.0.0.1)"
    connection = parse_connection(7, [line, "building file list"])
    assert (connection.request, connection.ended, connection.sent_bytes) == ("data/", False, None)


@pytest.mark.parametrize("use_chroot", [False, True])
def test_a_module_can_be_pointed_elsewhere_while_the_daemon_runs(use_chroot: bool, tmp_path: Path) -> None:
    """After `set_module_path` the next connection sees the other directory, with and without chroot."""
    fill(tmp_path / "upstream")
    (tmp_path / "empty").mkdir()
    with RsyncDaemon(tmp_path / "daemon", {"data": tmp_path / "upstream"}, use_chroot=use_chroot) as running:
        copy(running.url("data"), tmp_path / "mirror")
        assert rsync_differences(running.url("data"), tmp_path / "mirror") == ""
        running.set_module_path("data", tmp_path / "empty")
        assert "*deleting" in rsync_differences(running.url("data"), tmp_path / "mirror")


def test_the_daemon_obeys_limits_and_extra_settings(tmp_path: Path) -> None:
    """`extra` settings hold for all modules."""
    fill(tmp_path / "upstream")
    with (
        RsyncDaemon(tmp_path / "d", {"data": tmp_path / "upstream"}, extra="refuse options = checksum") as running,
        pytest.raises(AssertionError, match="checksum"),
    ):
        rsync_differences(running.url("data"), tmp_path)


def test_the_daemon_ends_and_can_be_started_again_on_its_port(tmp_path: Path) -> None:
    """Nobody listens after `stop`; `start` listens on the same port again."""
    with RsyncDaemon(tmp_path, {"data": tmp_path}) as running:
        port = running.port
        running.stop()
        assert not accepts(port)
        running.start()
        assert running.port == port and accepts(port)
    assert not accepts(port)


def test_a_daemon_that_cannot_start_says_why(tmp_path: Path) -> None:
    """A fixed port that is taken fails the test with the daemon's own words."""
    with (
        RsyncDaemon(tmp_path / "one", {"data": tmp_path}) as running,
        pytest.raises(AssertionError, match="did not start on port"),
    ):
        RsyncDaemon(tmp_path / "two", {"data": tmp_path}, port=running.port).start()


def test_waiting_returns_the_first_true_value() -> None:
    """`wait_until` asks until the answer is true, and returns it."""
    answers = iter([0, None, "", "there"])
    assert wait_until(lambda: next(answers)) == "there"


def test_waiting_fails_with_what_and_the_last_value() -> None:
    """At the deadline the failure says what was waited for and what it was instead."""
    with pytest.raises(NeverHappened, match=r"the moon: not within 0\.05 s; the last value was \[\]"):
        wait_until(lambda: [], deadline_seconds=0.05, what="the moon")


def test_a_program_is_waited_for_and_ended(tmp_path: Path) -> None:
    """A program's lines can be waited for; leaving the block ends it and reaps it."""
    script = "import time; print('ready now'); time.sleep(60)"
    with Program([script], log_path=tmp_path / "log", command=SLEEPER) as program:
        assert program.wait_for_line("ready") == "ready now"
        assert program.running
    assert program.exit_code == -signal.SIGTERM


def test_a_program_that_ignores_the_term_signal_is_killed(tmp_path: Path) -> None:
    """Nothing survives the block, however stubborn."""
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready'); time.sleep(60)"
    with Program([script], log_path=tmp_path / "log", command=SLEEPER) as program:
        program.wait_for_line("ready")
        with pytest.raises(NeverHappened, match="still running"):
            program.terminate(deadline_seconds=0.2)
        program.kill()
    assert program.exit_code == -signal.SIGKILL


def test_waiting_for_a_program_that_has_ended_fails_at_once(tmp_path: Path) -> None:
    """The failure shows the log, and does not wait for the deadline."""
    with (
        pytest.raises(NeverHappened, match=r"ended without writing 'never'(.|\n)*last words"),
        Program(["print('last words')"], log_path=tmp_path / "log", command=SLEEPER) as program,
    ):
        program.wait_for_line("never", deadline_seconds=60)


def test_a_program_makes_its_socket(tmp_path: Path) -> None:
    """`wait_for_socket` returns as soon as the socket is there."""
    path = tmp_path / "s"
    script = f"import socket, time; s = socket.socket(socket.AF_UNIX); s.bind({str(path)!r}); time.sleep(60)"
    with Program([script], log_path=tmp_path / "log", command=SLEEPER) as program:
        program.wait_for_socket(path)
        assert path.is_socket()


def test_the_end_of_the_log_is_shown_when_a_test_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Leaving the block by an exception prints what the program has written."""
    with (
        pytest.raises(ZeroDivisionError),
        Program(["print('the reason')"], log_path=tmp_path / "log", command=SLEEPER) as program,
    ):
        program.wait()
        raise ZeroDivisionError
    assert "the reason" in capsys.readouterr().err


def test_client_commands_can_be_run_to_their_end() -> None:
    """`run_pushmirror` returns exit code and output."""
    done = run_pushmirror("--version")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"pushmirror")

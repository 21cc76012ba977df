"""`pushmirror demo`: what it shows, how it ends, and that it leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pushmirror.cli.demo.processes import Interrupted, Interruptions
from pushmirror.cli.demo.rsyncd import Reading, log_path, read_log
from pushmirror.cli.demo.timeline import find_timeline
from pushmirror.cli.demo.tree import change_tree, make_tree
from pushmirror.core.messages import UPDATED
from pushmirror.core.model import Event
from pushmirror.monitor.follow import Arrival
from pushmirror.monitor.hearing import Heard, Trust
from tests.monitor.examples import AT_MS, NODE, report_msg, topic_of, update_msg
from tests.support.processes import Program, run_pushmirror

needs_rsync = pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
SMALL = ("demo", "--mirrors", "1", "--files", "100")


@pytest.fixture
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for temporary files; afterwards it has to be empty, and no process may speak of it."""
    folder = tmp_path_factory.mktemp("room")  # a short path: sockets are made in it
    yield folder
    assert list(folder.iterdir()) == []
    assert processes_about(folder) == []


def processes_about(folder: Path) -> list[str]:
    """Return the command lines of all processes that name a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes() if entry.name.isdecimal() else b""
        except OSError:
            continue
        if os.fsencode(folder) in command:
            found.append(command.replace(b"\0", b" ").decode())
    return found


@needs_rsync
@pytest.mark.slow
def test_it_shows_the_whole_thing_and_leaves_nothing(room: Path) -> None:
    """It ends with 0, having shown a timeline and empty comparisons, in eighty columns."""
    arguments = ("demo", "--mirrors", "2", "--files", "300")
    done = run_pushmirror(*arguments, environment={"TMPDIR": str(room)}, deadline_seconds=90)
    text = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b""), text
    assert text.count("none: exact") == 2
    assert "Every mirror is exact, and none of them walked the whole tree." in text
    timeline = text.partition("Milliseconds after the commit")[2].partition("6. The proof")[0]
    rows = [line.split() for line in timeline.splitlines() if line.strip().startswith("mirror")][1:]
    assert len(rows) == 2
    for row in rows:
        started, applied, cleaned = (int(number) for number in row[1:4])
        assert 0 <= started <= applied <= cleaned
    assert max(map(len, text.splitlines())) <= 80


@needs_rsync
@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "exit_code", "moment"),
    [
        (signal.SIGINT, 130, "1. A Tier 1"),
        (signal.SIGTERM, 143, "2. 1 Tier 2 mirror"),
        (signal.SIGHUP, 129, "4. One command"),
        (signal.SIGINT, 130, "5. The mirrors follow"),
    ],
)
def test_interrupted_it_clears_everything_away(
    tmp_path: Path, room: Path, number: signal.Signals, exit_code: int, moment: str
) -> None:
    """Ctrl-C, SIGTERM and a closed terminal end it at any moment; nothing stays behind."""
    with Program(SMALL, log_path=tmp_path / "log", environment={"TMPDIR": str(room)}) as program:
        program.wait_for_line(moment, deadline_seconds=60)
        program.send(number)
        assert program.wait(deadline_seconds=40) == exit_code
        assert "Traceback" not in program.log_text()


@needs_rsync
@pytest.mark.slow
def test_kept_it_runs_until_ctrl_c(tmp_path: Path, room: Path) -> None:
    """With --keep the commands that it prints work, and Ctrl-C is the normal end."""
    with Program([*SMALL, "--keep"], log_path=tmp_path / "log", environment={"TMPDIR": str(room)}) as program:
        line = program.wait_for_line(" status --config ", deadline_seconds=60)
        config = line.split("--config ")[1].strip()
        status = run_pushmirror("status", "--config", config)
        assert (status.returncode, status.stderr) == (0, b"")
        assert b"mirror1.example.net" in status.stdout
        program.send(signal.SIGINT)
        assert program.wait(deadline_seconds=40) == 0


SABOTEUR = """#!/bin/sh
for last; do :; done
case "$*" in *--checksum*) echo spoiled > "$last/README.spoiled" ;; esac
exec {rsync} "$@"
"""


@needs_rsync
@pytest.mark.slow
def test_a_mirror_that_differs_ends_it_with_1(tmp_path: Path, room: Path) -> None:
    """When a comparison finds something, that is shown, and the exit code is 1."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "rsync").write_text(SABOTEUR.format(rsync=shutil.which("rsync")))
    (programs / "rsync").chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    done = run_pushmirror(*SMALL, environment={"TMPDIR": str(room), "PATH": path}, deadline_seconds=90)
    text = done.stdout.decode()
    assert done.returncode == 1, done.stderr
    assert "mirror1.example.net: *deleting   README.spoiled" in text
    assert "is exact" not in text


@needs_rsync
@pytest.mark.slow
def test_a_daemon_that_does_not_start_shows_its_log(tmp_path: Path, room: Path) -> None:
    """When a daemon ends by itself, the end of its log is shown, and everything is cleared away."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "rsync").write_text("#!/bin/sh\necho this rsync is broken\nexit 5\n")
    (programs / "rsync").chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    done = run_pushmirror(*SMALL, environment={"TMPDIR": str(room), "PATH": path}, deadline_seconds=90)
    assert done.returncode == 1
    assert b"the rsync daemon ended by itself (exit code 5)" in done.stderr
    assert b"this rsync is broken" in done.stderr
    assert b"Traceback" not in done.stderr


def test_without_rsync_it_says_what_to_install(room: Path, tmp_path: Path) -> None:
    """No rsync on the path: one line that says what to do, and 1."""
    done = run_pushmirror("demo", environment={"TMPDIR": str(room), "PATH": str(tmp_path)})
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"install it" in done.stderr


def test_a_place_with_too_long_a_path_is_told(tmp_path: Path) -> None:
    """Sockets have short paths: a folder for temporary files that is too deep is refused with what to do."""
    deep = tmp_path / ("deep" * 20)
    deep.mkdir()
    done = run_pushmirror("demo", environment={"TMPDIR": str(deep)})
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"TMPDIR=/tmp" in done.stderr
    assert list(deep.iterdir()) == []


@pytest.mark.parametrize("arguments", [("--mirrors", "0"), ("--files", "5"), ("--mirrors", "x")])
def test_bad_counts_are_usage_errors(arguments: tuple[str, ...]) -> None:
    """Counts out of range exit with 2."""
    assert run_pushmirror("demo", *arguments).returncode == 2


def test_the_tree_has_the_files_that_were_asked_for(tmp_path: Path) -> None:
    """The count is exact, hardlinked names included; the change is what it says."""
    (tmp_path / "tree").mkdir()
    content = make_tree(tmp_path / "tree", 250)
    assert sum(path.is_file() and not path.is_symlink() for path in content.root.rglob("*")) == 250
    change = change_tree(content)
    assert all(os.path.lexists(content.root / path) for path in change.puts)
    assert not any(os.path.lexists(content.root / path) for path in change.deletions)
    assert (content.root / "dists/testing").resolve() == content.root / "dists/stable/main"


def test_signals_wait_while_they_are_held() -> None:
    """What must not be interrupted is not; the signal is raised right after it."""
    interruptions = Interruptions()
    done = []
    with interruptions.raised(), pytest.raises(Interrupted, match="SIGTERM"), interruptions.held():
        signal.raise_signal(signal.SIGTERM)
        done.append("all of it")
    assert done == ["all of it"]


LOG = """\
2026/11/22 14:00:00 [11] connect from UNKNOWN (127.0.0.1)
2026/11/22 14:00:00 [11] rsync on m1/ from UNKNOWN (127.0.0.1)
2026/11/22 14:00:00 [11] building file list
2026/11/22 14:00:00 [11] send 1500
2026/11/22 14:00:00 [11] send 500
2026/11/22 14:00:00 [11] sent 2600 bytes  received 90 bytes  total size 4000
2026/11/22 14:00:01 [12] rsync on m1/ from UNKNOWN (127.0.0.1)
"""


def test_the_log_of_the_rsync_daemon_is_read(tmp_path: Path) -> None:
    """Connections, those still open, files and bytes are counted, from a place in the log on."""
    log_path(tmp_path, "m1").write_text(LOG)
    assert read_log(tmp_path, "m1") == Reading(2, 1, 2, 2000, 2600, 4000)
    assert read_log(tmp_path, "m1", len(LOG)) == read_log(tmp_path, "nobody") == Reading(0, 0, 0, 0, 0, 0)


def test_a_timeline_is_found_among_the_messages() -> None:
    """Only what follows the announcement counts, and of each mirror its own reports."""

    def arrival(at_ms: int, kind: str, msg: dict[str, object]) -> Arrival:
        return Arrival(AT_MS + at_ms, Heard(topic_of(kind), kind, {"msg": msg}, Trust.VERIFIED))

    arrivals = [
        arrival(-5, "sync.completed", report_msg(applied=11, cleaned=11)),
        arrival(2, UPDATED, update_msg(12)),
        arrival(9, "sync.started", report_msg(Event.STARTED, applied=11)),
        arrival(40, "sync.completed", report_msg(node="other.example.net")),
        arrival(300, "sync.completed", report_msg()),
    ]
    timeline = find_timeline(arrivals, 12, [NODE, "silent.example.net"])
    assert (timeline.committed_ms, timeline.announced_ms, timeline.complete) == (AT_MS, 2, False)
    mirror, silent = timeline.mirrors
    assert (mirror.started_ms, mirror.applied_ms, mirror.cleaned_ms, mirror.files) == (9, 260, 300, 3)
    assert (silent.started_ms, silent.applied_ms, silent.cleaned_ms) == (None, None, None)

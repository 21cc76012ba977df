"""The lock of a tree, with real processes that inherit it, outlive whoever took it, and are ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pushmirror.subscriber.lock import TreeLock
from tests.support.processes import REPOSITORY, clean_environment
from tests.support.waiting import wait_until

Start = Callable[..., "subprocess.Popen[bytes]"]


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process alone, without waiting for children that share its output."""
    process.kill()
    process.wait()
    for pipe in filter(None, (process.stdin, process.stdout)):
        pipe.close()


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts programs that wait for ever, and ends them."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*command: str, keep: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, pass_fds=keep, stdout=subprocess.PIPE, stdin=subprocess.PIPE)
        started.append(process)
        return process

    yield run
    for process in started:
        end(process)


@pytest.fixture
def lock(tmp_path: Path) -> TreeLock:
    return TreeLock(tmp_path / "tree.lock")


def test_a_lock_is_held_once_and_free_when_it_is_closed(lock: TreeLock, tmp_path: Path) -> None:
    """Also for another object of the same file; a failed try leaves no descriptor behind."""
    before = len(os.listdir("/proc/self/fd"))
    held = lock.take()
    assert held is not None
    assert lock.take() is None
    assert TreeLock(tmp_path / "tree.lock").take() is None
    other = TreeLock(tmp_path / "other.lock").take()
    assert other is not None
    os.close(other)
    assert [lock.take() for _ in range(30)] == [None] * 30
    os.close(held)
    again = lock.take()
    assert again is not None
    os.close(again)
    assert len(os.listdir("/proc/self/fd")) < before + 15


def test_the_descriptor_is_inherited_by_children(lock: TreeLock) -> None:
    """Without that a lock ends with its daemon."""
    held = lock.take()
    assert held is not None and os.get_inheritable(held)
    os.close(held)


def test_a_lock_is_held_until_the_last_process_that_inherited_it_has_ended(lock: TreeLock, start: Start) -> None:
    """The taker closes it, a child lives on, and a child of that one outlives its parent."""
    held = lock.take()
    assert held is not None
    child = start("sh", "-c", "sleep 60 & echo $!; read line", keep=(held,))
    os.close(held)
    assert child.stdout is not None
    grandchild = int(child.stdout.readline())
    assert lock.take() is None
    child.kill()
    child.wait()
    assert lock.take() is None, "the grandchild still holds it"
    os.kill(grandchild, signal.SIGKILL)
    held = wait_until(lock.take, what="the lock is free")
    os.close(held)


def test_a_lock_outlives_a_killed_daemon_through_its_child(tmp_path: Path, start: Start) -> None:
    """As after kill -9: the taker itself is gone."""
    program = (
        "import subprocess, sys; from pathlib import Path; from pushmirror.subscriber.lock import TreeLock\n"
        "held = TreeLock(Path(sys.argv[1])).take()\n"
        "child = subprocess.Popen(['sleep', '60'], close_fds=False)\n"
        "print(child.pid, flush=True); sys.stdin.read()"
    )
    path = tmp_path / "tree.lock"
    daemon = subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        env=clean_environment(),
    )
    assert daemon.stdout is not None
    child = int(daemon.stdout.readline())
    end(daemon)
    lock = TreeLock(path)
    assert lock.take() is None
    assert lock.signal_holders(signal.SIGTERM) == 1
    held = wait_until(lock.take, what="the lock is free")
    os.close(held)
    with pytest.raises(ProcessLookupError):
        wait_until(lambda: os.kill(child, 0))


def test_exactly_those_that_hold_the_lock_are_signalled(lock: TreeLock, tmp_path: Path, start: Start) -> None:
    """Not whoever holds another tree's lock, nor somebody without any, nor this process itself."""
    other = TreeLock(tmp_path / "other.lock")
    held, others = lock.take(), other.take()
    assert held is not None and others is not None
    holders = [start("sleep", "60", keep=(held,)) for _ in range(3)]
    bystanders = [start("sleep", "60", keep=(others,)), start("sleep", "60")]
    assert lock.signal_holders(signal.SIGTERM) == 3
    assert [process.wait(10) for process in holders] == [-signal.SIGTERM] * 3
    assert [process.poll() for process in bystanders] == [None, None]
    assert lock.signal_holders(signal.SIGTERM) == 0, "this process holds it and is not signalled"
    os.close(held)
    os.close(others)


def test_a_lock_whose_file_was_replaced_is_another_lock(lock: TreeLock, tmp_path: Path, start: Start) -> None:
    """Only the file that is there now counts: nobody is ended for one that was removed."""
    held = lock.take()
    assert held is not None
    holder = start("sleep", "60", keep=(held,))
    os.close(held)
    (tmp_path / "tree.lock").unlink()
    again = lock.take()
    assert again is not None
    assert lock.signal_holders(signal.SIGTERM) == 0
    assert holder.poll() is None
    os.close(again)

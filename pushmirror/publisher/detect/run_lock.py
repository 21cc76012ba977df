"""Says that ``pushmirror run`` writes a tree: a lock that its rsync inherits, and which lasts as long as that lives."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from pushmirror.errors import StateError

RUNS_NAME = "runs"
"""The folder in the publisher's ``state_dir`` that has one of its own for each tree."""

LOCK_NAME = "lock"

_PATIENCE_SECONDS = 1.0
"""Whoever asks whether a tree is being written holds the lock for an instant."""
_RETRY_SECONDS = 0.02


def runs_folder(state_dir: Path, tree: str) -> Path:
    """Return where the lock and the logs of a tree's runs are."""
    return state_dir / RUNS_NAME / tree


def is_running(state_dir: Path, tree: str) -> bool:
    """Tell whether a run, or an rsync that one has left behind, writes the tree now. Raises StateError."""
    path = runs_folder(state_dir, tree) / LOCK_NAME
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StateError(f"{path}: whether a run is active cannot be told ({error.strerror}); {_OWNER}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def refuse_during_run(state_dir: Path, tree: str) -> None:
    """Raise StateError while a run writes the tree: nothing is announced from the middle of one."""
    if is_running(state_dir, tree):
        raise StateError(f"{tree}: a `pushmirror run` is writing this tree, and announces it at its end; wait for that")


@contextlib.contextmanager
def held_for_run(state_dir: Path, tree: str) -> Iterator[int]:
    """Hold the lock of the tree inside the block; the descriptor is inherited by what is started there.

    Raises StateError when it is held already, or cannot be made.
    """
    folder = runs_folder(state_dir, tree)
    try:
        _make_folder(folder, state_dir)
        descriptor = _open_lock(folder / LOCK_NAME, state_dir)
    except OSError as error:
        raise StateError(f"{folder}: the run cannot be noted down ({error.strerror}); {_OWNER}") from error
    try:
        if not _take(descriptor):
            raise StateError(
                f"{tree}: another run of this tree is at work, or an rsync that an interrupted one has left behind; "
                "wait for its end, or end that rsync"
            )
        os.set_inheritable(descriptor, True)
        yield descriptor
    finally:
        # Never unlocked by hand: that would unlock it for an rsync that still lives, too.
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_RETRY_SECONDS)


# Nothing is made or given away by way of a link: whoever may write into the state folder could lead root anywhere.


def _make_folder(folder: Path, state_dir: Path) -> None:
    for path in (folder.parent, folder):
        made = not os.path.lexists(path)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with _closed_afterwards(descriptor):
            if made:
                _give(descriptor, state_dir, 0o770)


def _open_lock(path: Path, state_dir: Path) -> int:
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with _closed_afterwards(descriptor):
            _give(descriptor, state_dir, 0o660)
    return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)


@contextlib.contextmanager
def _closed_afterwards(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)


def _give(descriptor: int, state_dir: Path, group_mode: int) -> None:
    """Give what was made to whoever may announce: the owner of the state folder, and its group where that may write."""
    owner = os.stat(state_dir)
    with contextlib.suppress(PermissionError):
        os.fchown(descriptor, owner.st_uid if os.geteuid() == 0 else -1, owner.st_gid)
    if owner.st_mode & 0o020:
        os.fchmod(descriptor, group_mode)


_OWNER = "run this as the user that the daemon runs as, and see that this user may write into the state folder"

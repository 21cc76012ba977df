"""Watches the directories of a tree by inotify, and says which of them changed. What changed in them a scan finds out.

That division makes every weakness of inotify harmless: events that are merged, that come late or under an old name only
have a directory read that need not be, and lost ones are told of.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from typing import Any

from inotify_simple import INotify, flags  # type: ignore[import-untyped]  # it carries no types

from pushmirror.errors import StateError

PAUSE_SECONDS = 0.1
"""Between two reads events gather in the kernel, which merges equal ones: a file that is written wakes nobody up a
thousand times a second. The queue holds 16,384."""

LIMIT_PATH = "/proc/sys/fs/inotify/max_user_watches"

_CHANGES = (
    flags.CREATE | flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO | flags.MODIFY | flags.CLOSE_WRITE | flags.ATTRIB
)
_MASK = _CHANGES | flags.ONLYDIR | flags.DONT_FOLLOW | flags.EXCL_UNLINK
_LOST = flags.Q_OVERFLOW | flags.UNMOUNT
_TOO_MANY_DIRECTORIES = errno.ENOSPC
_MAX_DEPTH = 20


class TreeWatch:
    """The watches on the directories of the tree at `root`, read in `reactor`.

    `changed` is called with the path of a directory in which something changed, `lost` when events were lost and
    anything may have changed. `add` may be called from any thread, the rest is for the reactor's. Raises StateError
    when the kernel gives no queue.
    """

    def __init__(
        self, reactor: Any, root: bytes, *, changed: Callable[[bytes], None], lost: Callable[[], None]
    ) -> None:
        self._reactor = reactor
        self._root = root
        self._changed = changed
        self._lost = lost
        self._paths: dict[int, bytes] = {}
        self._resuming: Any = None
        self.problem: str | None = None
        """Why some directories are not watched, and what to do."""
        try:
            self._queue: Any = INotify(nonblocking=True)
        except OSError as error:
            raise StateError(
                f"the kernel gives no inotify queue ({error.strerror}); raise fs.inotify.max_user_instances"
            ) from error
        reactor.addReader(self)

    @property
    def watched(self) -> int:
        """How many directories are watched."""
        return len(self._paths)

    def add(self, path: bytes) -> None:
        """Watch the directory at `path`, from now on under this name. A directory that is gone is passed over."""
        try:
            watch = self._queue.add_watch(os.path.join(self._root, path), _MASK)
        except OSError as error:
            if error.errno == _TOO_MANY_DIRECTORIES:
                self.problem = advise_limit(len(self._paths), _read_limit())
            return
        self._paths[watch] = path

    def forget_problem(self) -> None:
        """Try again, with the next scan that adds the directories, whether all of them can be watched."""
        self.problem = None

    def close(self) -> None:
        """Give the queue back. Closing twice is no error."""
        self._reactor.removeReader(self)
        if self._resuming is not None and self._resuming.active():
            self._resuming.cancel()
        self._queue.close()

    def fileno(self) -> int:
        """The queue's descriptor, for the reactor; -1 when it is closed."""
        return -1 if self._queue.closed else int(self._queue.fileno())

    def logPrefix(self) -> str:
        """How the reactor names this reader."""
        return "inotify"

    def connectionLost(self, reason: object) -> None:
        """The reactor gives up reading: from here on only scans tell of changes."""
        self._lost()

    def doRead(self) -> None:
        """Read what happened, then leave the queue alone for a moment."""
        self._reactor.removeReader(self)
        self._resuming = self._reactor.callLater(PAUSE_SECONDS, self._resume)
        for event in self._queue.read(timeout=0):
            self._take(event)

    def _resume(self) -> None:
        self._reactor.addReader(self)

    def _take(self, event: Any) -> None:
        if event.mask & _LOST:
            self._lost()
        elif event.mask & flags.IGNORED:
            self._paths.pop(event.wd, None)  # the kernel has ended it, and gives its number to no other one
        elif event.wd in self._paths:
            path = self._paths[event.wd]
            self._changed(path)
            if event.mask & flags.ISDIR and event.mask & flags.CREATE:
                self._follow(os.path.join(path, os.fsencode(event.name)), _MAX_DEPTH)

    def _follow(self, path: bytes, depth: int) -> None:
        """Watch a directory that was just made, and those that were made in it in the meantime.

        A scan does that too, but comes only when the tree is quiet, and it is not quiet while this one is filled.
        """
        self.add(path)
        with contextlib.suppress(OSError), os.scandir(os.path.join(self._root, path)) as listing:
            names = [entry.name for entry in listing if entry.is_dir(follow_symlinks=False)]
            for name in names if depth else ():
                self._follow(os.path.join(path, name), depth - 1)


def advise_limit(watched: int, limit: int | None) -> str:
    """Return what to do when the kernel's limit of watches is reached with `watched` directories of a tree."""
    wanted = 2 * max(watched, limit or 0, 65_536)
    return (
        f"the kernel lets this user watch {'too few' if limit is None else limit} directories, {watched} of this tree "
        f"are watched: put `fs.inotify.max_user_watches = {wanted}` into /etc/sysctl.d/pushmirror.conf and run "
        "`sysctl --system`; until then the tree is scanned at intervals as well"
    )


def _read_limit() -> int | None:
    try:
        with open(LIMIT_PATH, encoding="ascii") as stream:
            return int(stream.read())
    except (OSError, ValueError):
        return None

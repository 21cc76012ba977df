"""Directories of a tree as descriptors, opened part by part without following a link.

What is done from such a descriptor is done in that directory, whatever stands at its path by then.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Any

from pushmirror.core.paths import TreePath

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_OPEN = 64
_NO_NAMES = (b"", b".", b"..")
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Directories:
    """The directories below `root`, which may be a link itself only if it is `linked`; those opened last are kept."""

    def __init__(self, root: bytes, *, linked: bool = False) -> None:
        self._root = os.open(root, _OPEN_DIRECTORY & ~os.O_NOFOLLOW if linked else _OPEN_DIRECTORY)
        self._open: dict[bytes, int] = {}

    def __enter__(self) -> Directories:
        return self

    def __exit__(self, *_: Any) -> None:
        for descriptor in (*self._open.values(), self._root):
            os.close(descriptor)

    def open(self, path: bytes) -> int:
        """Return a descriptor of the directory `path`, which belongs to this object.

        Raises OSError, also for a path that climbs or is absolute: no trusted one does or is.
        """
        if not path:
            return self._root
        if path not in self._open:
            above, name = os.path.split(path)
            if name in _NO_NAMES or above.endswith(b"/"):
                raise OSError(errno.EINVAL, "no path in a tree", path)
            parent = self.open(above)
            found = os.open(name, _OPEN_DIRECTORY, dir_fd=parent)
            self._make_room()
            self._open[path] = found
        return self._open[path]

    def look(self, path: bytes) -> os.stat_result | None:
        """Return what stands at `path`, None where nothing does, or a link or a file stands above. Raises OSError."""
        try:
            return os.stat(os.path.basename(path), dir_fd=self.open(os.path.dirname(path)), follow_symlinks=False)
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise

    def make(self, path: TreePath) -> None:
        """Make the directory `path` where there is none, in the place of whatever else stands there.

        Its parent is a directory. Raises OSError.
        """
        parent, name = self.open(os.path.dirname(path)), os.path.basename(path)
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                return
            os.unlink(name, dir_fd=parent)
        os.mkdir(name, 0o755, dir_fd=parent)

    def _make_room(self) -> None:
        while len(self._open) >= _MAX_OPEN:
            oldest = next(iter(self._open))
            os.close(self._open.pop(oldest))

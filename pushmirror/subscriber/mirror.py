"""The mirror's own copy of a tree on the disk: looking at it without following links, and our staging folder in it.

Deleting is not done here: the delete stage of a job does it (see ``docs/design.md``, "One way to delete").
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from pushmirror.core.paths import STAGING_NAME, TreePath, add_ancestors, ancestors, topmost
from pushmirror.core.space import Room
from pushmirror.subscriber.directories import Directories

_DOUBTFUL_NS = 999_999_999
_TRASH = TreePath(b"trash")


class Mirror:
    """The tree in the absolute folder `path`; `staging` is our own folder on the same file system."""

    def __init__(self, path: Path, staging: Path | None = None) -> None:
        self.path = path
        self.root = os.fsencode(path)
        self._staging = os.fsencode(staging) if staging else os.path.join(self.root, STAGING_NAME)

    @property
    def temp_dir(self) -> str:
        """Where rsync writes files before it renames them into place."""
        return os.fsdecode(os.path.join(self._staging, b"tmp"))

    @property
    def metadata_root(self) -> bytes:
        """Where metadata lies until it is put in place."""
        return os.path.join(self._staging, b"metadata")

    def look_aside(self, path: TreePath) -> tuple[int, int] | None:
        """Return size and modification time (ns) of a file that lies aside, or None when there is none."""
        try:
            found = os.lstat(os.path.join(self.metadata_root, path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None

    # --- the staging folder; it is there during a job only, so that nobody who reads the mirror meets it

    def make_staging(self) -> None:
        """Make the staging folder anew and empty. Raises OSError."""
        self.clear_staging()
        os.makedirs(os.path.dirname(self._staging), exist_ok=True)
        os.mkdir(self._staging)
        with Directories(self._staging) as directories:
            for name in (b"tmp", b"metadata"):
                directories.make(TreePath(name))

    def clear_staging(self) -> None:
        """Remove the staging folder with what is in it, links unfollowed. Raises OSError."""
        mode = _mode(self._staging)
        if mode is not None and not stat.S_ISDIR(mode):
            os.unlink(self._staging)
        elif mode is not None:
            shutil.rmtree(self._staging)

    def keeps_nanoseconds(self) -> bool:
        """Tell whether the file system keeps times to the nanosecond; needs the staging folder. Raises OSError."""
        probe = os.path.join(self._staging, b"probe")
        with open(probe, "wb"):
            os.utime(probe, ns=(0, 123_456_789))
        return os.stat(probe).st_mtime_ns == 123_456_789

    def move_aside(self, path: TreePath) -> None:
        """Move what stands at `path` into the staging folder, where the end of the job removes it. Raises OSError."""
        with Directories(self.root, linked=True) as here, Directories(self._staging) as there:
            there.make(_TRASH)
            trash = there.open(_TRASH)
            parent, name = here.open(os.path.dirname(path)), os.path.basename(path)
            os.rename(name, b"%d" % len(os.listdir(trash)), src_dir_fd=parent, dst_dir_fd=trash)

    # --- the disk

    def device(self) -> int:
        """Return which file system the tree is on. Raises OSError."""
        return os.stat(self.root).st_dev

    def room(self) -> Room:
        """Return how much room that has, for a user like this one. Raises OSError."""
        found = os.statvfs(self.root)
        return Room(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)

    # --- the root

    def root_mtime_ns(self) -> int:
        """Return the modification time of the tree's root. Raises OSError."""
        return os.stat(self.root).st_mtime_ns

    def set_root_mtime(self, mtime_ns: int) -> None:
        """Set the modification time of the tree's root, which no list run of rsync touches. Raises OSError."""
        os.utime(self.root, ns=(os.stat(self.root).st_atime_ns, mtime_ns))

    def is_empty(self) -> bool:
        """Tell whether the root has no entry but our own. Raises OSError."""
        with os.scandir(self.root) as entries:
            return all(entry.name == STAGING_NAME for entry in entries)

    # --- looking, without ever following a link

    def present(self, paths: Iterable[TreePath]) -> tuple[TreePath, ...]:
        """Return those of `paths` at which something stands; below a link there is nothing."""
        look = _Look(self.root)
        return tuple(path for path in paths if look.mode(path) is not None)

    def absent(self, paths: Iterable[TreePath]) -> frozenset[TreePath]:
        """Return those of `paths` at which nothing stands."""
        look = _Look(self.root)
        return frozenset(path for path in paths if look.mode(path) is None)

    def concerned(self, paths: Iterable[TreePath]) -> tuple[TreePath, ...]:
        """Return those of `paths` whose deletion changes anything here: where something stands, or else a directory
        right above, which has another time since they are gone."""
        look = _Look(self.root)

        def is_concerned(path: TreePath) -> bool:
            above = next(ancestors(path), None)
            return look.mode(path) is not None or (above is not None and stat.S_ISDIR(look.mode(above) or 0))

        return tuple(path for path in paths if is_concerned(path))

    def is_directory(self, path: TreePath) -> bool:
        """Tell whether a directory, and not a link to one, stands at `path`."""
        mode = _Look(self.root).mode(path)
        return mode is not None and stat.S_ISDIR(mode)

    def is_link(self, path: TreePath) -> bool:
        """Tell whether a symbolic link stands at `path`."""
        mode = _Look(self.root).mode(path)
        return mode is not None and stat.S_ISLNK(mode)

    def count_entries(self, paths: Iterable[TreePath]) -> int:
        """Return how many entries stand at `paths` and below them, each counted once."""
        present = self.present(topmost(paths))
        return sum(_count(os.path.join(self.root, path)) for path in present)

    def count_all(self) -> int:
        """Return how many entries the tree has, without our own folder and its root."""
        count = 0
        for folder, directories, files in os.walk(self.root):
            if folder == self.root and STAGING_NAME in directories:
                directories.remove(STAGING_NAME)
            count += len(directories) + len(files)
        return count

    def top_names(self, without: Iterable[TreePath], limit: int) -> tuple[TreePath, ...]:
        """Return what stands right in the root, except for our own folder and some paths; the first `limit` of it."""
        left_out = {STAGING_NAME, *without}
        return tuple(TreePath(name) for name in sorted(os.listdir(self.root)) if name not in left_out)[:limit]

    def around(self, directory: TreePath, kept: frozenset[TreePath]) -> list[TreePath]:
        """Return what is in a directory, apart from what is `kept` there and what leads to it. Raises OSError."""
        if not self.is_directory(directory):
            return []
        above: set[TreePath] = set()
        add_ancestors(above, kept)
        found, folders = [], [directory]
        for folder in folders:
            for name in sorted(os.listdir(os.path.join(self.root, folder))):
                path = TreePath(folder + b"/" + name)
                if path in above and self.is_directory(path):
                    folders.append(path)
                elif path not in kept:
                    found.append(path)
        return found

    def count_bytes(self, paths: Iterable[TreePath]) -> int:
        """Return the size of the files that stand at `paths`."""
        found = 0
        for path in paths:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                status = os.lstat(os.path.join(self.root, path))
                found += status.st_size if stat.S_ISREG(status.st_mode) else 0
        return found

    # --- files with several names, in the tree or `aside` in the staging folder

    def inodes(self, paths: Iterable[TreePath], *, aside: bool = False) -> dict[TreePath, int]:
        """Return the inodes of those of `paths` that are files with several names."""
        found = {}
        for path in paths:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                status = os.lstat(os.path.join(self.metadata_root if aside else self.root, path))
                if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
                    found[path] = status.st_ino
        return found

    def doubt(self, paths: Iterable[TreePath], *, aside: bool = False) -> None:
        """Give files a time that no upstream has, so that the next run brings their content anew. Raises OSError."""
        with Directories(self.metadata_root if aside else self.root, linked=not aside) as directories:
            for path in paths:
                found = directories.look(path)
                if found is not None and stat.S_ISREG(found.st_mode):
                    parent, name = directories.open(os.path.dirname(path)), os.path.basename(path)
                    os.utime(name, ns=(_DOUBTFUL_NS, _DOUBTFUL_NS), dir_fd=parent, follow_symlinks=False)


class _Look:
    """Answers what stands at a path; remembers which directories above are real ones."""

    def __init__(self, root: bytes) -> None:
        self._prefix = os.path.join(root, b"")
        self._real: dict[bytes, bool] = {}

    def mode(self, path: TreePath) -> int | None:
        end = path.rfind(b"/")
        if end > 0 and not self._is_real(path[:end]):
            return None
        mode = _mode(self._prefix + path)
        if mode is not None and stat.S_ISDIR(mode):
            self._real[path] = True
        return mode

    def _is_real(self, directory: bytes) -> bool:
        """Tell whether a directory stands there, and in a real one itself."""
        if directory not in self._real:
            is_real = True
            for each in (*reversed(tuple(ancestors(directory))), directory):
                if each not in self._real:
                    mode = _mode(self._prefix + each) if is_real else None
                    self._real[each] = mode is not None and stat.S_ISDIR(mode)
                is_real = self._real[each]
        return self._real[directory]


def _mode(path: bytes) -> int | None:
    try:
        return os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def _count(path: bytes) -> int:
    mode = _mode(path)
    if mode is None:
        return 0
    if not stat.S_ISDIR(mode):
        return 1
    return 1 + sum(len(directories) + len(files) for _, directories, files in os.walk(path))

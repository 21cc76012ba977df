"""A mirror's real folder as a tree of the model, and the effects of an rsync on it."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path

from pushmirror.core.paths import STAGING_NAME, TreePath
from tests.core.tree_model import Entry, Tree

_MODES = (0o755, 0o750, 0o711, 0o700)
KINDS_OF_DIRECTORIES = len(_MODES)
"""So many attributes can a directory have: its value is one of 0, 1, ..."""


class InTheWay(Exception):
    """A directory with content stands where a file or a link is to be put."""


class Disk:
    """The folder `path`; our staging folder in it is no part of the tree."""

    def __init__(self, path: Path) -> None:
        self.root = os.fsencode(path)

    def read(self) -> Tree:
        """Return what stands in the folder."""
        tree: Tree = {}
        self._read_below(b"", tree)
        return tree

    def _read_below(self, folder: bytes, tree: Tree) -> None:
        with os.scandir(os.path.join(self.root, folder)) as entries:
            for entry in entries:
                path = TreePath(os.path.join(folder, entry.name))
                if path == STAGING_NAME:
                    continue
                tree[path] = self._look(entry)
                if tree[path].is_directory:
                    self._read_below(path, tree)

    @staticmethod
    def _look(entry: os.DirEntry[bytes]) -> Entry:
        if entry.is_symlink():
            return Entry("link", int(os.readlink(entry.path)))
        if entry.is_dir():
            return Entry("directory", _MODES.index(stat.S_IMODE(entry.stat().st_mode)))
        return Entry("file", int(Path(os.fsdecode(entry.path)).read_bytes()))

    def look(self, path: TreePath) -> Entry | None:
        """Return what stands at `path`; None for nothing."""
        with os.scandir(os.path.dirname(self._at(path))) as entries:
            found = [entry for entry in entries if entry.name == os.path.basename(path)]
        return self._look(found[0]) if found else None

    def write(self, path: TreePath, entry: Entry) -> None:
        """Put `entry` at `path`, whose parent is a directory. Raises InTheWay."""
        place = self._at(path)
        is_directory = os.path.isdir(place) and not os.path.islink(place)
        if entry.is_directory:
            if not is_directory:
                self._make_way(place)
                os.mkdir(place)
            os.chmod(place, _MODES[entry.value])
            return
        if is_directory and os.listdir(place):
            raise InTheWay(path)
        self._make_way(place)
        if entry.kind == "link":
            os.symlink(str(entry.value), place)
        else:
            Path(os.fsdecode(place)).write_bytes(b"%d" % entry.value)

    @staticmethod
    def _make_way(place: bytes) -> None:
        with contextlib.suppress(FileNotFoundError):
            if os.path.isdir(place) and not os.path.islink(place):
                os.rmdir(place)
            else:
                os.unlink(place)

    def remove(self, path: TreePath) -> None:
        """Remove what stands at `path`, with what is below it."""
        place = self._at(path)
        if os.path.isdir(place) and not os.path.islink(place):
            shutil.rmtree(place)
        else:
            os.unlink(place)

    def _at(self, path: TreePath) -> bytes:
        return os.path.join(self.root, path)

"""Random edits of a tree, and what two looks at it say about the difference: the answer that a scan has to give."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from pushmirror.core.paths import TreePath, ancestors, topmost
from tests.publisher.detect.scanned import ScannedTree

Snapshot = dict[TreePath, tuple[object, ...]]

NAMES = ("a", "a0", "a!", "ab", "new\nline", "-rf", "größe")
KEPT = "always here"
"""Is never touched: an empty tree is refused."""


def look(root: Path) -> Snapshot:
    """Return all that is in a tree: kind, inode, permissions, size, time and target; of a directory only what shows."""
    found: Snapshot = {}
    for folder, directories, files in os.walk(os.fsencode(root)):
        for name in (*directories, *files):
            full = os.path.join(folder, name)
            status = os.lstat(full)
            path = TreePath(os.path.relpath(full, os.fsencode(root)))
            shown: tuple[object, ...] = (status.st_mode, status.st_mtime_ns)
            if not stat.S_ISDIR(status.st_mode):
                target = os.readlink(full) if stat.S_ISLNK(status.st_mode) else b""
                shown += (status.st_ino, status.st_size, target)
            found[path] = shown
    return found


def is_directory(seen: tuple[object, ...] | None) -> bool:
    """Tell whether something seen is a directory."""
    return seen is not None and len(seen) == 2


def difference(before: Snapshot, after: Snapshot) -> tuple[set[TreePath], set[TreePath]]:
    """Return what a mirror of `before` must be told to become `after`: paths put, and the topmost deleted.

    A directory that was there is put for its attributes only when nothing in it is put or deleted.
    """
    put = {path for path, seen in after.items() if before.get(path) != seen}
    stayed = {path for path in put if is_directory(after[path]) and is_directory(before.get(path))}
    deleted = {path for path in before if path not in after}
    covered = {path for path in after if not is_directory(after[path])}
    deleted = {path for path in topmost(deleted) if not any(above in covered for above in ancestors(path))}
    put -= stayed
    explained = {above for path in put | deleted for above in ancestors(path)}
    return put | (stayed - explained), deleted


class Editor:
    """Edits a tree at random; what cannot be done in its present shape is passed over."""

    def __init__(self, tree: ScannedTree, seed: int, *, in_place: bool) -> None:
        self._root = tree.root
        self._chance = random.Random(seed)
        self._edits: list[Callable[[Path], object]] = [
            self._write,
            self._write,
            self._write,
            self._symlink,
            self._link,
            self._remove,
            self._move,
            self._swap,
            self._make_directory,
            self._set_directory,
        ]
        if in_place:
            self._edits += [self._append, self._set_mode, self._set_time]

    def edit(self, count: int) -> None:
        """Do so many edits."""
        for _ in range(count):
            with contextlib.suppress(OSError, shutil.Error, IndexError):
                self._chance.choice(self._edits)(self._somewhere())

    def _somewhere(self) -> Path:
        depth = self._chance.randint(1, 3)
        return self._root.joinpath(*(self._chance.choice(NAMES) for _ in range(depth)))

    def _something(self) -> Path:
        return self._chance.choice(
            [path for path in self._root.rglob("*") if not path.is_symlink() and path.name != KEPT]
        )

    def _write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(".beside")
        beside.write_bytes(self._chance.randbytes(self._chance.randint(0, 50)))
        try:
            beside.rename(path)
        finally:
            beside.unlink(missing_ok=True)

    def _symlink(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(self._chance.choice(NAMES))

    def _link(self, path: Path) -> None:
        os.link(self._something(), path)

    def _remove(self, path: Path) -> None:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def _move(self, path: Path) -> None:
        self._something().rename(path)

    def _swap(self, path: Path) -> None:
        other, aside = self._something(), self._root / "aside"
        if path in other.parents or other in path.parents or other == path or not os.path.lexists(path):
            return
        other.rename(aside)
        path.rename(other)
        aside.rename(path)

    def _make_directory(self, path: Path) -> None:
        path.mkdir(parents=True)

    def _set_directory(self, path: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            path.chmod(self._chance.choice((0o755, 0o700, 0o750)))
            os.utime(path, ns=(10**18, self._chance.randint(10**17, 10**18)))

    def _append(self, path: Path) -> None:
        with self._something().open("ab") as file:
            file.write(b"more")

    def _set_mode(self, path: Path) -> None:
        something = self._something()
        something.chmod(
            self._chance.choice((0o755, 0o711)) if something.is_dir() else self._chance.choice((0o644, 0o600))
        )

    def _set_time(self, path: Path) -> None:
        os.utime(self._something(), ns=(10**18, self._chance.randint(10**17, 10**18)))

"""Random edits of a tree, as archives and operators make them: a given source of chance always makes the same ones."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pushmirror.core.profiles import PROFILES
from tests.support.compare import items, leads_out, shown
from tests.support.trees import ODD_NAMES, START_NS, write

SECOND_NS = 10**9
SENTINEL = b"keep"
"""A file at the root that no edit touches: an empty tree is taken for an unmounted disk."""
MOST_NAMES = 140
LARGE_BYTES = 300_000

_FILE_MODES = (0o644, 0o644, 0o644, 0o600, 0o755, 0o444, 0o4755)
_FOLDER_MODES = (0o755, 0o755, 0o700, 0o2775, 0o1777)
_PLAIN_FOLDERS = (b"", b"a", b"a/b", b"a/b/c", b"d", b"d/a", b"e")
_NAMES = (b"a", b"b", b"c", b"d", b"f1", b"f2", b"f3", b"f4", b"f5")
"""Some are those of folders, so that one thing takes the place of another."""

_METADATA: dict[str, tuple[bytes, ...]] = {
    "plain": (),
    "rpm": (
        *(b"repodata/" + name for name in (b"repomd.xml", b"repomd.xml.asc", b"1-primary.xml", b"2-primary.xml")),
        *(b"a/repodata/" + name for name in (b"repomd.xml", b"1-other.xml", b"2-other.xml", b"odd name \xff.xml")),
        *(b"state", b".treeinfo", b"a/b/repodata/new/deep.xml"),
    ),
    "deb": (
        *(
            b"dists/stable/" + name
            for name in (b"InRelease", b"Release", b"Release.gpg", b"main/binary-amd64/Packages")
        ),
        *(b"dists/stable/main/by-hash/SHA256/" + name for name in (b"0a", b"0b", b"0c", b"two words\n")),
        *(b"dists/testing/InRelease", b"dists/testing/a/b", b"dists/a", b"dists/b", b"project/trace/t1", b"a/Release"),
    ),
}


@dataclass(frozen=True)
class Shape:
    """What random names look like in a tree of this profile."""

    profile: str

    def path(self, chance: random.Random) -> bytes:
        """Return the path of a file or symlink, metadata or payload."""
        metadata = _METADATA[self.profile]
        if metadata and chance.random() < 0.45:
            return chance.choice(metadata)
        name = chance.choice(ODD_NAMES) if chance.random() < 0.3 else chance.choice(_NAMES)
        return os.path.join(self.folder(chance), name)

    def folder(self, chance: random.Random) -> bytes:
        """Return the path of a folder, empty for the root."""
        if chance.random() < 0.15:
            return os.path.join(chance.choice(_PLAIN_FOLDERS), chance.choice(ODD_NAMES))
        return chance.choice((*_PLAIN_FOLDERS, *(os.path.dirname(path) for path in _METADATA[self.profile])))

    def is_metadata(self, path: bytes) -> bool:
        """Tell whether a mirror brings `path` with the metadata."""
        return PROFILES[self.profile].is_metadata(path)


class Editor:
    """Edits the tree at `root`; `told` is what was done, in the order in which it was done.

    `turned` are the folders that were replaced by a file or link, for the editor of the next edits to know them.
    """

    def __init__(self, root: Path, shape: Shape, chance: random.Random, *, turned: list[bytes] | None = None) -> None:
        self._root = root
        self._top = os.fsencode(root)
        self._shape = shape
        self._chance = chance
        self._turned = [] if turned is None else turned
        self.told: list[str] = []
        if not (root / os.fsdecode(SENTINEL)).exists():
            write(root, SENTINEL, b"never touched", mtime_ns=START_NS)

    def edit(self, count: int, *, in_place: bool) -> None:
        """Make `count` random edits, with `in_place` also such as move no directory's ctime.

        What no mirror could show exactly is undone at the end: see `_tidy`.
        """
        for _ in range(count):
            edit = self._choose(in_place)
            edit()
        self._tidy()

    def _choose(self, in_place: bool) -> Callable[[], None]:
        if len(self._names()) > MOST_NAMES:
            return self._chance.choice((self.remove, self.remove_folder, self.remove_folder))
        choices = [
            *((self.create, 12), (self.modify, 8), (self.modify_within_its_second, 3), (self.remove, 6)),
            *((self.remove_folder, 1), (self.make_folder, 2), (self.link_out_of_tree, 1), (self.point, 4)),
            *((self.link_two_names, 3), (self.link_settled, 3), (self.rename, 3), (self.rename_folder, 2)),
            *((self.swap_folders, 1), (self.make_folder_of, 2), (self.make_file_of_folder, 2), (self.come_and_go, 2)),
            *((self.refill_folder, 1), (self.unlink_one_name, 2), (self.turn_back, 3)),
        ]
        if in_place:
            choices += [(self.change_mode, 4), (self.change_time, 4), (self.append, 4), (self.change_time_of_link, 1)]
        edits, weights = zip(*choices, strict=True)
        chosen: Callable[[], None] = self._chance.choices(edits, weights)[0]
        return chosen

    # --- files

    def create(self) -> None:
        """A new file, also in the place of what is there, and in the place of files in which its folders belong."""
        self._write(self._shape.path(self._chance))

    def modify(self) -> None:
        """New content for a file, by a rename."""
        if path := self._any_file():
            self._write(path)

    def modify_within_its_second(self) -> None:
        """Content of the same size, of the same second, in a file of its own: only nanoseconds tell."""
        if path := self._any_file():
            status = os.lstat(self._full(path))
            nanosecond = (status.st_mtime_ns + self._chance.randint(1, SECOND_NS - 1)) % SECOND_NS
            mtime_ns = status.st_mtime_ns // SECOND_NS * SECOND_NS + nanosecond
            content = self._chance.randbytes(status.st_size)
            write(self._root, path, content, mtime_ns=mtime_ns, mode=status.st_mode & 0o7777)
            self._tell("modify within its second", path)

    def remove(self) -> None:
        """A file or symlink goes."""
        if path := self._any(lambda kind: kind != "directory"):
            os.unlink(self._full(path))
            self._tell("remove", path)

    def rename(self) -> None:
        """A file or symlink gets another name, which may be taken."""
        if path := self._any(lambda kind: kind != "directory"):
            self._move(path, self._shape.path(self._chance))

    def come_and_go(self) -> None:
        """A file that is there for a moment: nothing remains of it but the time of its folder."""
        path = os.path.join(self._any_folder(), b"come-and-go")
        write(self._root, path, b"")
        os.unlink(self._full(path))
        self._tell("come and go", path)

    # --- folders

    def make_folder(self) -> None:
        """A new folder, which may remain empty."""
        path = self._shape.folder(self._chance)
        if path and not os.path.isdir(self._full(path)):
            self._make_way(path)
            os.mkdir(self._full(path), 0o755)
            self._tell("make folder", path)

    def remove_folder(self) -> None:
        """A folder goes with all that is in it."""
        if path := self._any(lambda kind: kind == "directory"):
            shutil.rmtree(self._full(path))
            self._tell("remove folder", path)

    def refill_folder(self) -> None:
        """A folder goes, and comes back with other content."""
        if path := self._any(lambda kind: kind == "directory"):
            shutil.rmtree(self._full(path))
            self._tell("remove folder to refill", path)
            self._write(os.path.join(path, self._chance.choice(_NAMES)))

    def rename_folder(self) -> None:
        """A folder gets another name, with all that is in it, old times and inodes included."""
        path = self._any(lambda kind: kind == "directory")
        target = self._shape.folder(self._chance)
        if path and target:
            self._move(path, target)

    def swap_folders(self) -> None:
        """Two folders exchange their names, as a staged release and the old one do."""
        one, two = self._any(lambda kind: kind == "directory"), self._any(lambda kind: kind == "directory")
        if one and two and not _is_within(one, two) and not _is_within(two, one):
            beside = self._full(b".swapped")
            os.rename(self._full(one), beside)
            os.rename(self._full(two), self._full(one))
            os.rename(beside, self._full(two))
            self._tell("swap folders", one, two)

    def make_folder_of(self) -> None:
        """A folder with something in it takes the place of a file or symlink."""
        if path := self._any(lambda kind: kind != "directory"):
            self._write(os.path.join(path, self._chance.choice(_NAMES)))

    def make_file_of_folder(self) -> None:
        """A file or symlink takes the place of a folder with all that is in it."""
        if path := self._any(lambda kind: kind == "directory"):
            if self._chance.random() < 0.5:
                self._write(path)
            else:
                self._point(path)
            self._turned.append(path)

    def turn_back(self) -> None:
        """What was a folder before it was a file or link is one again, with other content."""
        paths = [path for path in self._turned if os.path.lexists(self._full(path))]
        if paths:
            self._write(os.path.join(self._chance.choice(paths), self._chance.choice(_NAMES)))

    # --- links

    def point(self) -> None:
        """A symlink, new, changed, or in the place of what is there; it stays in the tree, and may dangle."""
        self._point(self._any(lambda kind: kind == "symlink") or self._shape.path(self._chance))

    def link_out_of_tree(self) -> None:
        """A symlink that leads out of the tree, which mirrors leave out, under a name that nothing else ever has."""
        path = os.path.join(self._any_folder(), b"leads-out-%d" % self._chance.randrange(5))
        if not os.path.lexists(self._full(path)):
            os.symlink(b"/nowhere", self._full(path))
            self._tell("link out of the tree", path)

    def link_two_names(self) -> None:
        """A new file under two names."""
        one, two = self._shape.path(self._chance), self._shape.path(self._chance)
        if not _is_within(one, two) and not _is_within(two, one):
            self._write(one)
            self._link(one, two)

    def link_settled(self) -> None:
        """A file that is there gets a second name, or a third."""
        path, other = self._any_file(), self._shape.path(self._chance)
        if path and not _is_within(path, other) and not _is_within(other, path):
            self._link(path, other)

    def unlink_one_name(self) -> None:
        """One of several names of a file goes."""
        if path := self._any_file(linked=True):
            os.unlink(self._full(path))
            self._tell("remove one name", path)

    # --- in place

    def change_mode(self) -> None:
        """The permissions of something change."""
        path = self._any(lambda kind: kind != "symlink")
        if path:
            mode = self._chance.choice(_FOLDER_MODES if os.path.isdir(self._full(path)) else _FILE_MODES)
            os.chmod(self._full(path), mode)
            self._tell(f"mode {mode:o}", path)

    def change_time(self) -> None:
        """The time of a file or folder changes."""
        if path := self._any(lambda kind: kind != "symlink"):
            time_ns = self._time_ns()
            os.utime(self._full(path), ns=(time_ns, time_ns))
            self._tell(f"time {time_ns}", path)

    def change_time_of_link(self) -> None:
        """The time of a symlink changes."""
        if path := self._any(lambda kind: kind == "symlink"):
            time_ns = self._time_ns()
            os.utime(self._full(path), ns=(time_ns, time_ns), follow_symlinks=False)
            self._tell(f"time {time_ns}", path)

    def append(self) -> None:
        """A file grows without being replaced, and so do its other names."""
        if path := self._any_file():
            with open(self._full(path), "ab") as file:
                file.write(self._chance.randbytes(self._chance.randint(1, 500)))
            self._tell("append", path)

    # --- how

    def _write(self, path: bytes) -> None:
        self._make_way(path)
        most_bytes = LARGE_BYTES if self._chance.random() < 0.05 else 1500
        content = self._chance.randbytes(self._chance.randint(0, most_bytes))
        mtime_ns = None if self._chance.random() < 0.6 else self._time_ns()
        write(self._root, path, content, mtime_ns=mtime_ns, mode=self._chance.choice(_FILE_MODES))
        self._tell(f"write {len(content)} bytes", path)

    def _point(self, path: bytes) -> None:
        depth = path.count(b"/")
        climbs = self._chance.randint(0, depth)
        target = b"../" * climbs + self._chance.choice((b"a", b"b/c", b"f1", b"keep", b"nowhere", *ODD_NAMES[:8]))
        self._make_way(path)
        os.symlink(target, self._full(path))
        self._tell(f"point to {target!r}", path)

    def _link(self, path: bytes, other: bytes) -> None:
        if path == other or self._shape.is_metadata(path) != self._shape.is_metadata(other):
            return
        self._make_way(other)
        if os.path.lexists(self._full(path)):  # making way may have removed it
            os.link(self._full(path), self._full(other), follow_symlinks=False)
            self._tell("link", path, other)

    def _move(self, path: bytes, target: bytes) -> None:
        if target == path or _is_within(target, path) or _is_within(path, target):
            return
        self._make_way(target)
        if os.path.lexists(self._full(path)):
            os.rename(self._full(path), self._full(target))
            self._tell("rename", path, target)

    def _make_way(self, path: bytes) -> None:
        """Remove what is at `path` and what stands where its folders belong; make those."""
        parts = path.split(b"/")
        for end in range(1, len(parts)):
            folder = self._full(b"/".join(parts[:end]))
            if os.path.lexists(folder) and (os.path.islink(folder) or not os.path.isdir(folder)):
                os.unlink(folder)
            if not os.path.isdir(folder):
                os.mkdir(folder, 0o755)
        full = self._full(path)
        if os.path.isdir(full) and not os.path.islink(full):
            shutil.rmtree(full)
        elif os.path.lexists(full):
            os.unlink(full)

    def _tidy(self) -> None:
        """Undo what cannot be mirrored exactly, by rsync's own limits.

        A symlink that leads out since it was moved is left out by rsync, and what a mirror had under its name remains;
        a name that is no link any more, of the same size and time as before, is taken for unchanged; metadata and
        payload travel apart, so that a file cannot be both.
        """
        groups: dict[tuple[int, int], list[bytes]] = {}
        for name, item in list(items(self._root)):
            if item.kind == "symlink" and leads_out(name, item.target) and item.target != b"/nowhere":
                os.unlink(item.path)
                self._tell("remove what leads out now", name)
            elif item.kind == "file":
                groups.setdefault(item.inode, []).append(name)
        for names in groups.values():
            if len({self._shape.is_metadata(name) for name in names}) > 1:
                for name in names:
                    self._write(name)

    def _time_ns(self) -> int:
        """Return a time as archives have them: mostly with nanoseconds, sometimes without, rarely at an end."""
        kind = self._chance.random()
        if kind < 0.05:
            return self._chance.choice((1, SECOND_NS, (2**31 + 5) * SECOND_NS + 7))
        return START_NS + self._chance.randrange(10**6) * (SECOND_NS if kind < 0.3 else SECOND_NS + 1)

    # --- choosing

    def _names(self) -> list[tuple[bytes, str]]:
        found = [(name, item.kind) for name, item in items(self._root) if name not in (b".", SENTINEL)]
        return sorted(found)

    def _any(self, wanted: Callable[[str], bool]) -> bytes | None:
        names = [name for name, kind in self._names() if wanted(kind) and b"leads-out" not in name]
        return self._chance.choice(names) if names else None

    def _any_file(self, *, linked: bool = False) -> bytes | None:
        names = [name for name, kind in self._names() if kind == "file"]
        chosen = [name for name in names if os.lstat(self._full(name)).st_nlink > 1] if linked else names
        return self._chance.choice(chosen) if chosen else None

    def _any_folder(self) -> bytes:
        """Return a folder that is there, empty for the root."""
        return self._chance.choice([b"", *(name for name, kind in self._names() if kind == "directory")])

    def _full(self, path: bytes) -> bytes:
        return os.path.join(self._top, path)

    def _tell(self, what: str, *paths: bytes) -> None:
        self.told.append(f"{what}: {' and '.join(map(shown, paths))}")


def _is_within(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder + b"/")

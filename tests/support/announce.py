"""What an operator announces: the difference of two looks at a tree, told in any way that the commands offer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pushmirror.core.paths import ancestors, topmost
from tests.support.compare import ROOT, Item, items

Look = Mapping[bytes, Item]


def look(root: Path) -> dict[bytes, Item]:
    """Return everything in a tree as it is now, its root included."""
    return dict(items(root))


@dataclass(frozen=True)
class Difference:
    """What changed between two looks, as ``publish`` takes it: paths put, paths deleted, folders to be compared."""

    puts: tuple[bytes, ...] = ()
    deletions: tuple[bytes, ...] = ()
    directories: tuple[bytes, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.puts or self.deletions or self.directories)

    def arguments(self) -> list[str]:
        """Return the options that say all but the puts, which go to ``--paths-from -``."""
        found = ["--paths-from=-"] if self.puts else []
        found += [f"--delete={os.fsdecode(path)}" for path in self.deletions]
        return found + [f"--directory={os.fsdecode(path)}" for path in self.directories]

    def listing(self) -> bytes:
        """Return the puts as ``--paths-from`` takes them."""
        return b"".join(path + b"\0" for path in self.puts)


def difference(before: Look, after: Look, *, all_folders: bool = False, all_deletions: bool = False) -> Difference:
    """Return what changed in the least words that are true.

    A folder whose time and permissions may have changed through what is announced in it is left out, unless
    `all_folders`; of what was deleted only the topmost is named, unless `all_deletions`. Every name of a file is put
    when one of them is, because mirrors link what one announcement names.
    """
    changed = {name for name, item in after.items() if _is_other(before.get(name), item)} - {ROOT}
    gone = {name for name in before.keys() - after.keys() if _folders_are_real(name, after)}
    explained = {above for name in changed | gone for above in list(ancestors(name))[:1]}
    puts = {name for name in changed if all_folders or _tells_by_itself(before.get(name), after[name], name, explained)}
    deletions = gone if all_deletions else set(topmost(gone))
    return Difference(tuple(sorted(_with_all_names(puts, after))), tuple(sorted(deletions)))


def gather(found: Difference, folders: Iterable[bytes], after: Look) -> Difference:
    """Return `found` with all that changed in one of `folders` told by the name of the folder.

    Folders that are not there, and such as hold some but not all names of a changed file, are passed over: a mirror
    links what one run brings, and those are two.
    """
    for folder in folders:
        inside = {path for path in (*found.puts, *found.deletions) if path == folder or path.startswith(folder + b"/")}
        item = after.get(folder)
        if inside and item is not None and item.kind == "directory" and _holds_all_names(folder, after):
            found = Difference(
                tuple(path for path in found.puts if path not in inside),
                tuple(path for path in found.deletions if path not in inside),
                topmost((*found.directories, folder)),
            )
    return found


def _is_other(before: Item | None, after: Item) -> bool:
    """Tell whether a name has to be brought anew. The inode counts, because links are made and broken by it."""
    if before is None or before.kind != after.kind:
        return True
    if after.kind == "directory":
        return (before.permissions, before.mtime_ns) != (after.permissions, after.mtime_ns)
    return before != after


def _tells_by_itself(before: Item | None, after: Item, name: bytes, explained: set[bytes]) -> bool:
    return after.kind != "directory" or before is None or before.kind != after.kind or name not in explained


def _folders_are_real(name: bytes, after: Look) -> bool:
    """Tell whether nothing but folders is above `name`: the file or link that is there now tells that it is gone."""
    found = [after[above] for above in ancestors(name) if above in after]
    return all(item.kind == "directory" for item in found)


def _with_all_names(puts: set[bytes], after: Look) -> set[bytes]:
    inodes = {after[name].inode for name in puts if after[name].kind == "file"}
    return puts | {name for name, item in after.items() if item.kind == "file" and item.inode in inodes}


def _holds_all_names(folder: bytes, after: Look) -> bool:
    files = [(name, item.inode) for name, item in after.items() if item.kind == "file"]
    inside = {inode for name, inode in files if name.startswith(folder + b"/")}
    return not any(inode in inside for name, inode in files if not name.startswith(folder + b"/"))

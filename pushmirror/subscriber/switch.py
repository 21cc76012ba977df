"""Puts staged metadata in place by renames on one file system, in an order that is given, without following a link.

Each step is done from descriptors of real directories, so that a link in the mirror can lead nothing out of it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from pushmirror.core.paths import TreePath, ancestors
from pushmirror.subscriber.directories import Directories


@dataclass(frozen=True)
class Staged:
    """What lies in a staging folder: everything that is no directory, and the directories with their own attributes."""

    files: tuple[TreePath, ...]
    directories: dict[TreePath, os.stat_result]


def look_staged(stage: bytes) -> Staged:
    """Return what lies in the folder `stage`. Raises OSError."""
    files: list[TreePath] = []
    directories: dict[TreePath, os.stat_result] = {}
    for folder, names, others in os.walk(stage):
        below = os.path.relpath(folder, stage)
        prefix = b"" if below == b"." else below + b"/"
        links = [name for name in names if os.path.islink(os.path.join(folder, name))]
        for name in set(names).difference(links):
            directories[TreePath(prefix + name)] = os.lstat(os.path.join(folder, name))
        files.extend(TreePath(prefix + name) for name in (*others, *links))
    return Staged(tuple(sorted(files)), directories)


def put_in_place(root: bytes, stage: bytes, ordered: Iterable[TreePath], staged: Staged) -> None:
    """Rename the `ordered` staged files into `root`, then give each staged directory's attributes to its twin there.

    Staged are the directories above everything that was fetched: also where a name was only taken away, or what is new
    in them is not mirrored, they have another time. Directories that are missing are made first; a file or link that
    stands where a directory belongs is removed. No directory may stand where a file belongs: whoever calls this has
    moved those aside. Raises OSError.
    """
    with Directories(root, linked=True) as here, Directories(stage) as there:
        for path in ordered:
            for above in reversed(tuple(ancestors(path))):
                here.make(above)
            parent, name = os.path.split(path)
            _rename(there.open(parent), here.open(parent), name)
        for directory in sorted(staged.directories):
            here.make(directory)
        for directory in sorted(staged.directories, key=lambda path: (-path.count(b"/"), path)):
            twin = staged.directories[directory]
            descriptor = here.open(directory)
            os.fchmod(descriptor, stat.S_IMODE(twin.st_mode))
            os.utime(descriptor, ns=(twin.st_atime_ns, twin.st_mtime_ns))


def _rename(source: int, target: int, name: bytes) -> None:
    try:
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
    except PermissionError:
        # A directory without the right to write, as archives have them; its own mode is restored at the end.
        for descriptor in (source, target):
            os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) | stat.S_IRWXU)
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)

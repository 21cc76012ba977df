"""Takes symbolic links out of a tree that lead out of it, before anything can be read or written through them."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable

from pushmirror.core.links import leads_out
from pushmirror.core.paths import TreePath, add_ancestors
from pushmirror.subscriber.directories import Directories


def remove_links_out(root: bytes, paths: Iterable[TreePath]) -> list[TreePath]:
    """Remove those of `paths` in the folder `root` that are links which lead out of it, and return them.

    Links are not followed in finding them. Raises OSError.
    """
    removed: list[TreePath] = []
    with Directories(root, linked=True) as directories:
        for path in sorted(paths):
            found = directories.look(path)
            if found is None or not stat.S_ISLNK(found.st_mode):
                continue
            parent, name = directories.open(os.path.dirname(path)), os.path.basename(path)
            with contextlib.suppress(FileNotFoundError):
                if leads_out(path, os.readlink(name, dir_fd=parent)):
                    os.unlink(name, dir_fd=parent)
                    removed.append(path)
    return removed


def clear_links_above(root: bytes, paths: Iterable[TreePath]) -> list[TreePath]:
    """Remove the links in the folder `root` that lead out of it and stand at `paths` or above, and return them.

    Whatever looks for `paths` from then on looks in this tree. Raises OSError.
    """
    wanted = set(paths)
    add_ancestors(above := set[TreePath](), wanted)
    return remove_links_out(root, wanted | above)

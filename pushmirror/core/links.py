"""Where a symbolic link of a tree leads: the question of ``--safe-links``, asked once more by ourselves.

rsync asks it of each name in its list, and then makes hardlinks of symbolic links (``-H``) also under the names for
which the answer was no: a link that is harmless three folders down leads out of the tree from its root.
"""

from __future__ import annotations

from pushmirror.core.paths import TreePath


def leads_out(path: TreePath, target: bytes) -> bool:
    """Tell whether a link at `path` that points to `target` may lead out of its tree.

    It may if the target is absolute or empty, climbs above the root, or climbs at all after it has gone down: what it
    goes down into may be a link itself, so that nobody knows where it climbs from.
    """
    if not target or target.startswith(b"/"):
        return True
    parts = [part for part in target.split(b"/") if part not in (b"", b".")]
    climbs = next((number for number, part in enumerate(parts) if part != b".."), len(parts))
    return climbs > path.count(b"/") or b".." in parts[climbs:]

"""Where an operator's rsync writes: in the tree, in a folder of it, or in one that holds the tree."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pushmirror.core.itemise import Placement
from pushmirror.core.paths import TreePath, ancestors
from pushmirror.errors import UsageError
from pushmirror.publisher.detect.run_arguments import RsyncCall


@dataclass(frozen=True)
class RunContext:
    """What is needed to read the log of a run. All paths are absolute, but a partial folder may be a name."""

    destination: str
    scratch_folders: tuple[str, ...]
    partial_folder: str | None


def make_context(call: RsyncCall, working_directory: str) -> RunContext:
    """Return what the log of `call` will mean, when it is started in `working_directory`."""
    destination = os.path.join(working_directory, call.destination)
    folders = tuple(os.path.join(destination, folder) for folder in call.scratch_folders)
    return RunContext(destination, folders, call.partial_folder)


def place_destination(root: Path, destination: str) -> Placement | None:
    """Return where the names of a log lie in the tree at `root`; None when the destination is somewhere else."""
    top, place = os.path.realpath(os.fsencode(root)), os.path.realpath(os.fsencode(destination))
    if place == top:
        return Placement()
    if place.startswith(_inside(top)):
        return Placement(below=place[len(_inside(top)) :], single=not os.path.isdir(place))
    if top.startswith(_inside(place)):
        return Placement(above=top[len(_inside(place)) :])
    return None


def check_destination(root: Path, tree: str, context: RunContext) -> None:
    """Raise UsageError when a run would write nowhere in the tree."""
    if place_destination(root, context.destination) is None:
        raise UsageError(
            f"{context.destination}: the command writes there, which has nothing to do with the tree {tree} in {root}; "
            "name the tree that it brings, or a destination in it"
        )


def _inside(folder: bytes) -> bytes:
    return folder.rstrip(b"/") + b"/"


def scratch_of(root: Path, context: RunContext) -> Callable[[TreePath], bool]:
    """Return what tells whether a path belongs to rsync itself: in one of the folders for its own purposes."""
    top = _inside(os.path.realpath(os.fsencode(root)))
    partial = context.partial_folder or ""
    absolute = [*context.scratch_folders, *([partial] if os.path.isabs(partial) else [])]
    folders = {os.path.realpath(os.fsencode(folder)) for folder in absolute}
    below = {TreePath(folder[len(top) :]) for folder in folders if folder.startswith(top)}
    everywhere = b"" if os.path.isabs(partial) else os.fsencode(partial).strip(b"/")

    def is_scratch(path: TreePath) -> bool:
        if everywhere and b"/%b/" % everywhere in b"/%b/" % path:
            return True
        return path in below or any(above in below for above in ancestors(path))

    return is_scratch

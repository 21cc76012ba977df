"""What of a list really arrived: a path that was listed and is not here must never count as applied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pushmirror.core.output import Items, Notes
from pushmirror.core.paths import TreePath, lies_below, trust
from pushmirror.errors import UntrustedPath


@dataclass(frozen=True)
class Arrival:
    """`missing`: not at the upstream any more, or not yet; `incomplete`: the upstream does not let us read them."""

    missing: tuple[TreePath, ...] = ()
    incomplete: tuple[TreePath, ...] = ()


def judge_arrival(
    listed: Iterable[TreePath], items: Items, notes: Notes, announced: frozenset[TreePath] = frozenset()
) -> Arrival:
    """Return which of the `listed` puts did not arrive.

    rsync itemises everything that it finds (``-ii``), so that what it did not mention is missing; a line is no proof
    for a file that vanished or could not be opened afterwards. A path below something that turned out to be no
    directory has been superseded: its own update is older than the one that put the file or link above it. That one may
    be brought by another stage, so that it counts when it is among all the puts that are `announced`.
    """
    unreadable = set(notes.unreadable)
    incomplete, missing = set(unreadable), set(notes.vanished)
    superseded = {path for path in notes.superseded if lies_below(path, announced)}
    for path in listed:
        if path in items.present and not unreadable:  # as nearly all of them
            continue
        if path in unreadable or lies_below(path, unreadable):
            incomplete.add(path)
        elif path not in items.present and path not in superseded and not lies_below(path, items.plain):
            missing.add(path)
    return Arrival(tuple(sorted(missing - incomplete)), tuple(sorted(incomplete)))


def find_turned(listed: Iterable[TreePath], plain: frozenset[TreePath], items: Items) -> tuple[TreePath, ...]:
    """Return which of the `listed` puts are directories at the upstream by now, though announced as `plain`.

    A list says nothing of what is below such a path, here or there.
    """
    return tuple(sorted(plain.intersection(listed, items.present) - items.plain))


def find_twins(items: Items, inodes: Mapping[TreePath, int]) -> tuple[TreePath, ...]:
    """Return the names that a run brought as one file with others, its content included.

    `inodes` are those of what came, as far as it has several names. rsync lists a file under all of them and sends it
    later by one: when that was replaced in between, the others got the content of another file.
    """
    sent = {inodes[path] for path in items.transferred if path in inodes}
    return tuple(sorted(path for path in items.relinked | items.transferred if inodes.get(path) in sent))


def find_moved(listed: Iterable[TreePath], items: Items) -> tuple[TreePath, ...]:
    """Return which of the `listed` paths a second run found other than the first, or not at all."""
    return tuple(path for path in listed if path in items.changed or path not in items.present)


def still_incomplete(
    before: Iterable[TreePath], listed: Iterable[TreePath], now: Iterable[TreePath]
) -> tuple[TreePath, ...]:
    """Return what is incomplete after a list job: what was `before` and was not listed again, and what is `now`."""
    return tuple(sorted(set(before).difference(listed).union(now)))


def reliable_surplus(items: Items, notes: Notes) -> tuple[TreePath, ...]:
    """Return what a dry run found here and not at the upstream, less what it could not know.

    Below a directory that the upstream does not let us read everything looks like surplus.
    """
    unreadable = set(notes.unreadable)
    found = [path for path in items.deleted if path not in unreadable and not lies_below(path, unreadable)]
    return tuple(sorted(path for path in found if _is_trusted(path)))


def _is_trusted(path: bytes) -> bool:
    try:
        trust(path)
    except UntrustedPath:
        return False
    return True

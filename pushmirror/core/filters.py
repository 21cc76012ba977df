"""Filters of a tree: what a mirror leaves out, decided as rsync decides it from ``--include`` and ``--exclude``.

Lists are filtered here before a job exists, and exact runs pass rsync no filters: a listed path that hits one ends the
run with code 4 and nothing is transferred. Recursive runs and full syncs pass the same rules as arguments.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pushmirror.core.changes import find_bare, told_directories
from pushmirror.core.model import ChangeList
from pushmirror.core.paths import TreePath, ancestors, lies_below
from pushmirror.core.patterns import Pattern, matches_any


@dataclass(frozen=True)
class Rules:
    """`include` comes before `exclude`, and the first pattern that matches decides; what none matches is mirrored.

    That holds for each directory on the way down: a hidden directory hides everything below it, whatever matches there.
    """

    include: tuple[Pattern, ...] = ()
    exclude: tuple[Pattern, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything can be hidden."""
        return bool(self.exclude)

    @property
    def digest(self) -> str:
        """A name for these rules, the same for the same patterns in the same order: when it changes, what a mirror
        has was made by other rules. The empty text for rules that hide nothing."""
        return hashlib.sha256("\n".join(rsync_arguments(self)).encode()).hexdigest() if self else ""

    @property
    def tells_kinds(self) -> bool:
        """Whether a path can be left out as a directory and mirrored as something else, or the other way round."""
        return any(pattern.tells_kinds for pattern in (*self.include, *self.exclude))

    def excludes(self, path: bytes, *, is_directory: bool) -> bool:
        """Tell whether `path` is left out because of its own name, wherever it lies."""
        return matches_any(self.exclude, path, is_directory=is_directory) and not matches_any(
            self.include, path, is_directory=is_directory
        )

    def hides(self, path: bytes, is_directory: bool) -> bool:
        """Tell whether `path` is left out, because of its own name or of a directory above it."""
        return _Walk(self).hides(path, is_directory)


@dataclass
class _Walk:
    """Rules, and what was found out already about directories: those of a list are few beside its paths."""

    rules: Rules
    tells_kinds: bool = field(init=False)
    directories: dict[bytes, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tells_kinds = self.rules.tells_kinds

    def hides(self, path: bytes, is_directory: bool) -> bool:
        return self._lies_hidden(path) or self.rules.excludes(path, is_directory=is_directory)

    def verdict(self, path: bytes) -> bool | None:
        """Return whether `path` is left out; None when that depends on whether it is a directory."""
        if self._lies_hidden(path):
            return True
        as_file = self.rules.excludes(path, is_directory=False)
        if not self.tells_kinds:
            return as_file
        return as_file if as_file == self.rules.excludes(path, is_directory=True) else None

    def _lies_hidden(self, path: bytes) -> bool:
        unknown = []
        hidden = False
        for above in ancestors(path):
            if above in self.directories:
                hidden = self.directories[above]
                break
            unknown.append(above)
        for directory in reversed(unknown):
            hidden = hidden or self.rules.excludes(directory, is_directory=True)
            self.directories[directory] = hidden
        return hidden


def filter_changes(changes: ChangeList, rules: Rules, is_directory: Callable[[TreePath], bool]) -> ChangeList:
    """Return what is left of `changes`: an empty list when all of it is hidden.

    ``debug/`` hides a directory and nothing else of that name. Of puts the list tells what they are; about deletions
    `is_directory` is asked, which the mirror's own disk answers, without following links.

    A put whose settled name is hidden is no longer linked to it. Directories to be synced recursively stay with what is
    hidden in them: their runs are given `rsync_arguments`. A directory that is deleted goes with what is hidden in it.
    """
    if not rules:
        return changes
    walk = _Walk(rules)
    told = told_directories(changes)

    def keeps(path: TreePath) -> bool:
        verdict = walk.verdict(path)
        return not (rules.excludes(path, is_directory=is_directory(path)) if verdict is None else verdict)

    changed = tuple(path for path in changes.changed if not walk.hides(path, path in told))
    directories = tuple(path for path in changes.directories if not walk.hides(path, True))
    put, covered = set(changed), set(directories)
    return ChangeList(
        changed=changed,
        deleted=tuple(filter(keeps, changes.deleted)),
        directories=directories,
        linked=tuple(
            (path, sibling)
            for path, sibling in changes.linked
            if (path in put or (lies_below(path, covered) and not walk.hides(path, False)))
            and not walk.hides(sibling, False)
        ),
        bare=find_bare(put & told, (*changed, *directories)),
        stamps=tuple(stamp for stamp in changes.stamps if stamp.path in put),
    )


def rsync_arguments(rules: Rules) -> tuple[str, ...]:
    """Return `rules` as arguments of a recursive rsync run; they follow the run's own excludes, which must come first.

    A pattern cannot become another kind of rule: `parse_pattern` takes none that begins like one. An anchored pattern
    begins at the root of the transfer, which is the tree's root both when the tree's URL is the source and when
    ``--files-from`` lists ``sub/./folder`` from the module's root: there only what follows the ``/./`` counts.
    """
    return (*include_arguments(rules.include), *exclude_arguments(rules.exclude))


def directory_arguments(rules: Rules) -> tuple[str, ...]:
    """Return arguments by which `rules` decide about every directory and about nothing else."""
    return (
        *(f"--include={_for_directories(pattern)}" for pattern in rules.include),
        *(f"--exclude={_for_directories(pattern)}" for pattern in rules.exclude),
        "--include=*/",
    )


def include_arguments(patterns: Iterable[Pattern]) -> tuple[str, ...]:
    """Return `patterns` as includes for rsync."""
    return tuple(f"--include={pattern.text}" for pattern in patterns)


def exclude_arguments(patterns: Iterable[Pattern]) -> tuple[str, ...]:
    """Return `patterns` as excludes for rsync."""
    return tuple(f"--exclude={pattern.text}" for pattern in patterns)


def _for_directories(pattern: Pattern) -> str:
    return pattern.text if pattern.directories_only else f"{pattern.text}/"

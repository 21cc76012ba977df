"""What rsync printed, read: itemised changes and statistics from its output, causes from its messages.

The forms are those of rsync 3.1 to 3.5 under ``LC_ALL=C`` and ``--out-format='%i %n'`` (rsync(1), "--itemize-changes").
Names are bytes; rsync writes an unprintable byte as ``\\#ooo``.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from pushmirror.core.model import Stamp
from pushmirror.core.paths import TreePath, trust
from pushmirror.core.source import Source
from pushmirror.errors import UntrustedPath

ITEM = re.compile(rb"([<>ch.][fdLDS][^ ]{9}|[<>ch.][fdLDS] {9}) (.+)", re.DOTALL)
DELETION = re.compile(rb"\*deleting   (.+)", re.DOTALL)
_LISTED = re.compile(
    rb"-[-a-zA-Z]{9}[.+@]? +([0-9]{1,18}) (?!0000)([0-9]{4})/(0[1-9]|1[0-2])/([0-9]{2}) "
    rb"([0-9]{2}):([0-9]{2}):([0-9]{2}) (.+)",
    re.DOTALL,
)
"""A plain file as ``--list-only`` prints it, in universal time.

What is printed may come from the other side, here as below: whole lines of its own, which look like any of rsync's,
with numbers of any length, months that there are not, and names that lead out of the tree.
"""
_NANOSECONDS = 10**9
_ESCAPE = re.compile(rb"\\#([0-3][0-7]{2})")
_STATISTIC = re.compile(rb"(Number of files|Total transferred file size|Total bytes received): ([0-9]{1,18})(?![0-9])")
_IGNORED = re.compile(rb'(?:ignoring unsafe symlink "(.+)" -> ".*"|skipping non-regular file "(.+)")', re.DOTALL)

_VANISHED = re.compile(rb'(?:file|directory) has vanished: "(.*)" \(in [^"]*\)')
_UNREADABLE = re.compile(
    rb"rsync: (?:\[sender\] )?(?:send_files failed to open |link_stat |opendir |readlink_stat\(|readlink )"
    rb'"(.*)" \(in [^"]*\)\)?(?: failed)?: Permission denied \(13\)'
)
_SUPERSEDED = re.compile(
    rb'rsync: (?:\[sender\] )?link_stat "(.*)" \(in [^"]*\) failed: '
    rb"(?:Not a directory \(20\)|Too many levels of symbolic links \(40\))"
)
_CLASH = re.compile(rb"could not make way for new [a-z ]+: (.*)")
_BUSY = re.compile(rb"@ERROR: max connections \([0-9]+\) reached")
_REFUSED = re.compile(rb"@ERROR: |The server is configured to refuse ")
_NO_SPACE = re.compile(rb"No space left on device \(28\)|Disk quota exceeded \(122\)")
_HARMLESS = re.compile(
    rb"cannot delete non-empty directory: |WARNING: parent dir is absent in the file list: |rsync error: "
    rb"|rsync warning: |IO error encountered -- skipping file deletion|\s*$"
    # What follows when nothing of a list could be sent; a connection that is really lost has an exit code of its own.
    rb"|rsync: \[Receiver\] read error: Connection reset by peer \(104\)"
)
_MAX_ERRORS = 20
_DIRECTORY = 0x64
_LINK = 0x4C
_RETIMED = re.compile(rb"\.d\.\.[tT]\.+")


@dataclass(frozen=True)
class Items:
    """What one run listed, put or deleted, and its statistics (None where rsync did not come to print them)."""

    present: frozenset[TreePath] = frozenset()
    """Everything that rsync itemised, changed or not, and the unsafe links and special files that it ignored."""
    plain: frozenset[TreePath] = frozenset()
    """Those of `present` that are not directories."""
    changed: frozenset[TreePath] = frozenset()
    """Those of `present` that differ here in anything."""
    linked: frozenset[TreePath] = frozenset()
    """Those of `present` that are, or become, another name of something."""
    relinked: frozenset[TreePath] = frozenset()
    """Those of `linked` that are in `changed`. A file that has to be linked and needs nothing else is not."""
    transferred: frozenset[TreePath] = frozenset()
    """Those of `changed` whose content was transferred."""
    retimed: frozenset[TreePath] = frozenset()
    """Directories of `changed` that differ in nothing but their time."""
    new_directories: frozenset[TreePath] = frozenset()
    links: frozenset[TreePath] = frozenset()
    """Symbolic links that were made, linked or ignored: rsync may have made one that it says it has ignored."""
    created: int = 0
    brought: int = 0
    """Files, links and new directories that were written; attribute-only changes are not counted."""
    deleted: tuple[TreePath, ...] = ()
    entries: int | None = None
    """Entries of the upstream's file list, its root not counted."""
    transferred_bytes: int = 0
    received_bytes: int = 0
    listed: tuple[Stamp, ...] = ()
    """Files that were only listed (``--list-only``), with their times in whole seconds."""


@dataclass(frozen=True)
class Notes:
    """What rsync complained about. Paths are relative to the tree."""

    vanished: frozenset[TreePath] = frozenset()
    unreadable: frozenset[TreePath] = frozenset()
    superseded: frozenset[TreePath] = frozenset()
    """Listed paths below what is no directory any more at the upstream. rsync takes only "no such file" for missing."""
    clashes: tuple[TreePath, ...] = ()
    """Directories of the mirror that stand where the upstream has something else."""
    errors: tuple[str, ...] = ()
    """Every other message that tells of something that went wrong, as printable text."""
    busy: bool = False
    refused: bool = False
    no_space: bool = False


@dataclass
class _Counted:
    present: set[TreePath] = field(default_factory=set)
    plain: set[TreePath] = field(default_factory=set)
    changed: set[TreePath] = field(default_factory=set)
    linked: set[TreePath] = field(default_factory=set)
    relinked: set[TreePath] = field(default_factory=set)
    transferred: set[TreePath] = field(default_factory=set)
    retimed: set[TreePath] = field(default_factory=set)
    new_directories: set[TreePath] = field(default_factory=set)
    links: set[TreePath] = field(default_factory=set)
    deleted: list[TreePath] = field(default_factory=list)
    created: int = 0
    brought: int = 0
    listed: list[Stamp] = field(default_factory=list)
    statistics: dict[bytes, int] = field(default_factory=dict)

    def take(self, line: bytes) -> None:
        if match := ITEM.fullmatch(line):
            self._take_item(match[1], unescape(match[2]))
        elif match := DELETION.fullmatch(line):
            self.deleted.extend(_trusted(unescape(match[1]).rstrip(b"/")))
        elif match := _STATISTIC.match(line):
            self.statistics[match[1]] = int(match[2])
        elif match := _IGNORED.fullmatch(line):
            found = _trusted(unescape(match[1] or match[2]))
            self.present.update(found)
            self.plain.update(found)
            if match[1]:
                self.links.update(found)
        elif match := _LISTED.fullmatch(line):
            at_s = calendar.timegm(tuple(map(int, match.groups()[1:7])))
            found = _trusted(unescape(match[8]))
            self.listed.extend(Stamp(path, int(match[1]), at_s * _NANOSECONDS) for path in found)

    def _take_item(self, code: bytes, name: bytes) -> None:
        for path in _trusted(name.removesuffix(b"/")):
            self._take_path(code, path)

    def _take_path(self, code: bytes, path: TreePath) -> None:
        self.present.add(path)
        if code[1] != _DIRECTORY:
            self.plain.add(path)
        if code.startswith(b"cd"):
            self.new_directories.add(path)
        if code[2:3] == b"+":
            self.created += 1
        if code.startswith(b"h"):
            self.linked.add(path)
        if code[1] == _LINK and not code.startswith(b"."):
            self.links.add(path)
        if code[2:] != b" " * 9:
            self.changed.add(path)
            if code.startswith(b"h"):
                self.relinked.add(path)
            elif code.startswith((b">", b"<")):
                self.transferred.add(path)
            if _RETIMED.fullmatch(code):
                self.retimed.add(path)
            self.brought += code[:1] != b"."


def unescape(name: bytes) -> bytes:
    """Return the name that rsync printed as `name`."""
    if b"\\#" not in name:
        return name
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), name)


def _trusted(name: bytes) -> tuple[TreePath, ...]:
    """Return the path that a printed name stands for; none for the root of the tree, and for one that is no path in it.

    The other side can have rsync print any name, and what is done about a name is done by ourselves.
    """
    try:
        return (trust(name),)
    except UntrustedPath:
        return ()


def parse_items(lines: Iterable[bytes]) -> Items:
    """Return what the lines of rsync's standard output tell."""
    counted = _Counted()
    for line in lines:
        counted.take(line.rstrip(b"\n"))
    files = counted.statistics.get(b"Number of files")
    return Items(
        present=frozenset(counted.present),
        plain=frozenset(counted.plain),
        changed=frozenset(counted.changed),
        linked=frozenset(counted.linked),
        relinked=frozenset(counted.relinked),
        transferred=frozenset(counted.transferred),
        retimed=frozenset(counted.retimed),
        new_directories=frozenset(counted.new_directories),
        links=frozenset(counted.links),
        created=counted.created,
        brought=counted.brought,
        deleted=tuple(counted.deleted),
        entries=None if files is None else max(0, files - 1),
        transferred_bytes=counted.statistics.get(b"Total transferred file size", 0),
        received_bytes=counted.statistics.get(b"Total bytes received", 0),
        listed=tuple(counted.listed),
    )


def has_clash(messages: bytes) -> bool:
    """Tell whether a part of rsync's standard error complains about a directory that stands in the way."""
    return _CLASH.search(messages) is not None


def parse_notes(lines: Iterable[bytes], source: Source) -> Notes:
    """Return what the lines of rsync's standard error tell; names in them are relative to the module of `source`."""
    vanished: set[TreePath] = set()
    unreadable: set[TreePath] = set()
    superseded: set[TreePath] = set()
    clashes: list[TreePath] = []
    errors: list[str] = []
    told: set[re.Pattern[bytes]] = set()
    for raw in lines:
        line = raw.rstrip(b"\n")
        # The root of a tree is no path in it: without it nothing was seen, so that what is said of it is an error. What
        # is said of a path outside is one as well.
        if (match := _VANISHED.match(line)) and (path := _tree_path(match[1], source)):
            vanished.add(path)
        elif (match := _UNREADABLE.match(line)) and (path := _tree_path(match[1], source)):
            unreadable.add(path)
        elif (match := _SUPERSEDED.match(line)) and (path := _tree_path(match[1], source)):
            superseded.add(path)
        elif (match := _CLASH.match(line)) and (found := _trusted(unescape(match[1]))):
            clashes.extend(found)
        elif not _HARMLESS.match(line):
            told.update(pattern for pattern in (_BUSY, _REFUSED) if pattern.search(line))
            if _NO_SPACE.search(line) and b"[sender]" not in line:  # it is our disk that counts
                told.add(_NO_SPACE)
            if len(errors) < _MAX_ERRORS:
                errors.append(printable(line))
    return Notes(
        vanished=frozenset(vanished),
        unreadable=frozenset(unreadable),
        superseded=frozenset(superseded),
        clashes=tuple(clashes),
        errors=tuple(errors),
        busy=_BUSY in told,
        refused=_REFUSED in told,
        no_space=_NO_SPACE in told,
    )


def _tree_path(name: bytes, source: Source) -> TreePath:
    """Return the path that `name` stands for; empty for the root of the tree and of the module, and for what is no path
    in it."""
    found = _trusted(source.strip(unescape(name).lstrip(b"/")).rstrip(b"/"))
    return found[0] if found else TreePath(b"")


def printable(line: bytes, limit: int = 300) -> str:
    """Return a line of a stranger's output as text for a log: no control characters, at most `limit` of them."""
    text = line[:limit].decode("utf-8", "backslashreplace")[:limit]
    return "".join(character if character.isprintable() else "?" for character in text)

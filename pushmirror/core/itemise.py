"""Reads rsync's itemised changes out of a log that somebody else has made: what was put, and what was deleted.

Understood are the lines of ``-i`` (the format ``%i %n%L``), alone or behind date and process id as in a file of
``--log-file``, and those of LOG_FORMAT, which have only one reading. Everything else in a log is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pushmirror.core.output import DELETION, ITEM, unescape
from pushmirror.core.paths import TreePath, trust
from pushmirror.errors import UntrustedPath

LOG_FORMAT = "%i %n//%L"
"""For ``--log-file-format``: no name has two slashes in a row, so that it is plain where one ends."""

_END_OF_NAME = b"//"
_SYMLINK = b" -> "
_HARDLINK = b" => "
_LOG_PREFIX = re.compile(rb"[0-9]{4}/[0-9]{2}/[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2} \[[0-9]+\] ")
_UNCHANGED = re.compile(rb"\.. {9}|h. {9}(?! .* => )", re.DOTALL)
"""Doubled ``-i`` lists these too. A name that is linked already looks as one does that ``--link-dest`` made."""


@dataclass(frozen=True)
class Reading:
    """One way to divide what stands behind the code of a line: a name, and what ``%L`` tells of a link.

    `name` is as rsync sees it from its destination, without a trailing slash; ``.`` is the destination itself.
    """

    name: bytes
    target: bytes | None = None
    """Where a symlink points to."""
    other: bytes | None = None
    """Another name of the same inode, which was there before this one."""


@dataclass(frozen=True)
class Itemised:
    """One line. It has several readings where a name may hold an arrow; only the disk can tell which one is right."""

    deleted: bool
    readings: tuple[Reading, ...]
    directory: bool = False
    """What was put is a directory."""
    linked: bool = False
    """What was put is another name of something that was there."""


@dataclass(frozen=True)
class Placement:
    """Where the names in a log lie in the tree: `below` a folder of it (empty: its root), or, when the destination was
    `above` the tree, behind these names. `single`: the destination was a file and is the one path that changed."""

    below: bytes = b""
    above: bytes = b""
    single: bool = False

    def place(self, name: bytes) -> bytes | None:
        """Return the path in the tree that `name` stands for, empty for the root; None outside the tree."""
        if self.single:
            return self.below
        relative = name.strip(b"/")
        relative = b"" if relative == b"." else relative
        if not self.above:
            return b"/".join(filter(None, (self.below, relative)))
        if relative == self.above:
            return b""
        return relative[len(self.above) + 1 :] if relative.startswith(self.above + b"/") else None


def read_log(lines: Iterable[bytes], *, separated: bool = False) -> Iterator[Itemised]:
    """Yield what the lines of a log tell, in their order. `separated`: the log was made with LOG_FORMAT."""
    for line in lines:
        # Unprintable characters in names are escaped: a carriage return belongs to a terminal or a progress line.
        text = line.rstrip(b"\r\n").rpartition(b"\r")[2]
        item = _read_line(_LOG_PREFIX.sub(b"", text, count=1), separated)
        if item is not None:
            yield item


def _read_line(line: bytes, separated: bool) -> Itemised | None:
    if match := DELETION.fullmatch(line):
        name = match[1].partition(_END_OF_NAME)[0] if separated else match[1]
        return Itemised(True, (_reading(name),))
    match = ITEM.fullmatch(line)
    if match is None or _UNCHANGED.match(line):
        return None
    readings = _separate(match[2]) if separated else _divide(match[1], match[2])
    return Itemised(False, readings, directory=match[1][1:2] == b"d", linked=match[1][:1] == b"h")


def _separate(text: bytes) -> tuple[Reading, ...]:
    end = text.find(_END_OF_NAME, 1)  # an absolute name (--relative) begins with a slash
    if end < 0:
        return ()
    name, link = text[:end], text[end + len(_END_OF_NAME) :]
    for arrow in (_SYMLINK, _HARDLINK):
        if link.startswith(arrow):
            return (_reading(name, arrow, link[len(arrow) :]),)
    return (_reading(name),)


def _divide(code: bytes, text: bytes) -> tuple[Reading, ...]:
    """Return every reading, the shortest name first; the whole of it is one as well, in a log without ``%L``."""
    arrows = ([_HARDLINK] if code.startswith(b"h") else []) + ([_SYMLINK] if code[1:2] == b"L" else [])
    cuts = sorted((match.start(), arrow) for arrow in arrows for match in re.finditer(re.escape(arrow), text))
    divided = [_reading(text[:start], arrow, text[start + len(arrow) :]) for start, arrow in cuts if start]
    return (*divided, _reading(text))


def _reading(name: bytes, arrow: bytes | None = None, link: bytes = b"") -> Reading:
    shown = unescape(name)
    name = shown.rstrip(b"/") or shown
    if arrow is None:
        return Reading(name)
    return Reading(name, target=unescape(link)) if arrow == _SYMLINK else Reading(name, other=unescape(link))


def trust_placed(raw: bytes | None) -> TreePath | None:
    """Return a placed name as a path of the tree; None for the root, what lies outside, and reserved folders."""
    if not raw:
        return None
    try:
        return trust(raw)
    except UntrustedPath:
        return None

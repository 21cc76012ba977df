"""The only door through which an untrusted path becomes a trusted one.

A path in a tree is bytes, as the file system has it: relative to the tree's root, ``/``-separated, without a trailing
slash. On the wire it is text where it is UTF-8 and base64 where it is not (see `pushmirror.core.wire`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NewType

from pushmirror.errors import UntrustedPath

TreePath = NewType("TreePath", bytes)

STAGING_NAME = b".~pushmirror~"
"""Our own folder at the root of a tree, unless the settings move it elsewhere."""

RESERVED_PARTS = frozenset({b".~tmp~", STAGING_NAME})
"""``.~tmp~`` is where rsync keeps what ``--delay-updates`` holds back (rsync(1))."""

MAX_PART_BYTES = 255
"""NAME_MAX of every file system that mirrors use."""

MAX_PATH_BYTES = 3072
"""Linux takes 4,096 bytes with the NUL (PATH_MAX); the rest is for the path of the tree itself and of its staging."""

_HARMLESS = re.compile(rb"(?!\.)[^/\0]{1,%d}(?:/(?!\.)[^/\0]{1,%d})*" % (MAX_PART_BYTES, MAX_PART_BYTES))
"""What nearly every path looks like, told at a glance: no part begins with a dot, as the names do that are refused."""


def trust(raw: bytes) -> TreePath:
    """Return `raw` as a path that cannot leave its tree. Raises UntrustedPath, which says why, for anything else."""
    reason = None if len(raw) <= MAX_PATH_BYTES and _HARMLESS.fullmatch(raw) else _fault(raw)
    if reason:
        raise UntrustedPath(f"path {shorten(raw)!r} {reason}")
    return TreePath(raw)


def _fault(raw: bytes) -> str | None:
    if not raw:
        return "is empty"
    if len(raw) > MAX_PATH_BYTES:
        return f"is longer than {MAX_PATH_BYTES} bytes"
    if b"\0" in raw:
        return "holds a NUL byte"
    if raw.startswith(b"/"):
        return "is absolute"
    for part in raw.split(b"/"):
        if part in (b"", b".", b".."):
            return f"has the part {part.decode()!r}"
        if len(part) > MAX_PART_BYTES:
            return f"has a part longer than {MAX_PART_BYTES} bytes"
        if part in RESERVED_PARTS:
            return f"names the reserved folder {part.decode()!r}"
    return None


def parse_text(text: str) -> TreePath:
    """Return the path that `text` stands for on the wire. Raises UntrustedPath.

    A path that begins with a dash is written with ``./`` before it, so that no program which handles a message, in
    whatever language, can take a path for an option. The bare form is refused.
    """
    if text.startswith("-"):
        raise UntrustedPath(f"path {text[:80]!r} begins with a dash")
    if text.startswith("./-"):
        text = text[2:]
    try:
        return trust(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise UntrustedPath(f"path {text[:80]!r} is not valid Unicode") from error


def format_text(path: TreePath) -> str | None:
    """Return the text of `path` for the wire, or None when it is not UTF-8 and has to travel as bytes."""
    try:
        text = path.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return f"./{text}" if text.startswith("-") else text


def shorten(raw: bytes, limit: int = 120) -> str:
    """Return `raw` as printable text for a log or an error, cut at `limit` characters."""
    decoded = raw[: 4 * limit].decode("utf-8", "backslashreplace")
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in decoded)
    return text if len(text) <= limit else f"{text[:limit]}…"


def ancestors(path: bytes) -> Iterator[TreePath]:
    """Yield the directories above `path` inside its tree, the nearest first; the root is not among them."""
    end = path.rfind(b"/")
    while end > 0:
        yield TreePath(path[:end])
        end = path.rfind(b"/", 0, end)


def add_ancestors(found: set[TreePath], paths: Iterable[bytes]) -> None:
    """Add the directories above `paths` to `found`, in which nothing is but what was added like this.

    So most paths cost one look: what is above a directory that was found has been found with it.
    """
    for path in paths:
        end = path.rfind(b"/")
        while end > 0 and (above := TreePath(path[:end])) not in found:
            found.add(above)
            end = path.rfind(b"/", 0, end)


def lies_below(path: bytes, directories: frozenset[TreePath] | set[TreePath]) -> bool:
    """Tell whether `path` is strictly below one of `directories`."""
    return bool(directories) and any(above in directories for above in ancestors(path))


def topmost(paths: Iterable[TreePath]) -> tuple[TreePath, ...]:
    """Return `paths` sorted, without duplicates and without those that lie below another one of them."""
    kept = set(paths)
    return tuple(sorted(path for path in kept if not lies_below(path, kept)))

"""Patterns of paths, as in rsync's filters (rsync(1), "PATTERN MATCHING RULES"): read, and matched with a path.

Whatever is taken means here exactly what it means to rsync; the rest is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count

MAX_PATTERN_BYTES = 1024

_WILDCARD = re.compile(rb"[*?\[]")
_TOKEN = re.compile(
    rb"""(?P<any_depth>\*\*+) | (?P<any_length>\*) | (?P<any_byte>\?) | \\(?P<escaped>[^/])
        | \[(?P<negated>[!^]|(?![!^]))(?P<members>(?:\\.|[^\\])(?:\\.|[^\]\\])*)\]
        | (?P<literal>[^\[\\])""",
    re.VERBOSE | re.DOTALL,
)
_MEMBER = re.compile(rb"\\?(.)", re.DOTALL)
_RULE_PREFIX = re.compile(r"[-+.:!HSPR] |!\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

# Between two "**" stand pieces with a "*" between each two; a piece is a regular expression of a fixed length.
_Sections = list[list[bytes]]


@dataclass(frozen=True)
class Pattern:
    """A pattern as its operator wrote it, and in its parts. It becomes a regular expression when it is first needed:
    most commands load many patterns and match none."""

    text: str
    directories_only: bool = field(compare=False, repr=False)
    """It ends in a slash."""
    _reaches_inside: bool = field(compare=False, repr=False)
    """It ends in ``***``: after a slash, a directory and all that is in it."""
    _literal: bytes = field(compare=False, repr=False)
    """What stands in every path that matches; most paths can be told apart by that alone."""
    _sections: _Sections = field(compare=False, repr=False)

    @property
    def tells_kinds(self) -> bool:
        """Whether a path can match as a directory and not as something else."""
        return self.directories_only or self._reaches_inside

    @cached_property
    def _expression(self) -> re.Pattern[bytes]:
        return _compile(self._sections)

    def matches(self, path: bytes, *, is_directory: bool) -> bool:
        """Tell whether `path`, relative to the tree's root, matches; what it lies in is not looked at."""
        if self.directories_only and not is_directory:
            return False
        name = b"/%b/" % path if is_directory and self._reaches_inside else b"/" + path
        return self._literal in name and self._expression.match(name) is not None


def parse_pattern(text: str) -> Pattern:
    """Return the pattern that `text` stands for. Raises ValueError, which says what to write instead.

    With a leading slash it is anchored at the tree's root; otherwise it may begin at any part of a path, and without a
    slash inside it is about the last part. ``*``, ``?`` and ``[...]`` match no slash, ``**`` does. A question mark and
    a class stand for one byte, not for one letter beyond ASCII.
    """
    fault = _find_fault(text)
    if fault:
        raise ValueError(f"{_quote(text)} {fault}")
    body = text.encode().removesuffix(b"/")
    try:
        # Without a wildcard in a pattern a backslash is nothing special in it (rsync(1)).
        has_wildcard = _WILDCARD.search(body)
        sections = _read(body) if has_wildcard else [[re.escape(body)]]
    except ValueError as error:
        raise ValueError(f"{_quote(text)} {error}") from error
    if not body.startswith((b"/", b"**")):
        sections = [[b""], [b"/" + sections[0][0], *sections[0][1:]], *sections[1:]]
        body = b"/" + body
    literal = _longest_literal(body) if has_wildcard else body
    return Pattern(text, text.endswith("/"), body.endswith(b"***"), literal, sections)


def matches_any(patterns: Iterable[Pattern], path: bytes, *, is_directory: bool = False) -> bool:
    """Tell whether `path` matches one of `patterns`."""
    for pattern in patterns:  # noqa: SIM110 - a generator would take longer than most patterns do
        if pattern.matches(path, is_directory=is_directory):
            return True
    return False


def _quote(text: str) -> str:
    shown = repr(text)
    return shown if len(shown) <= 80 else f"{shown[:76]}...{shown[-1]}"


def _find_fault(text: str) -> str | None:
    if not text:
        return "is empty: write a pattern, or remove it"
    if _CONTROL.search(text):
        return "holds a control character: write ? in its place"
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        return "is not valid Unicode: write ? for each byte that has no character"
    if len(text.encode()) > MAX_PATTERN_BYTES:
        return f"is longer than {MAX_PATTERN_BYTES} bytes"
    if _RULE_PREFIX.match(text):
        first = r"[\!]" if text[0] == "!" else f"[{text[0]}]"
        return f"begins like a filter rule: write a pattern alone, or {first} for its first character"
    parts = text.removeprefix("/").removesuffix("/").split("/")
    if "" in parts:
        return "has nothing before, after or between its slashes: write names there"
    if "." in parts or ".." in parts:
        return "has a part that is . or .., which no path has: write it from the tree's root, as in /folder/name"
    return None


def _read(body: bytes) -> _Sections:
    """Return the sections of a pattern with wildcards. Raises ValueError, without the text itself."""
    sections: _Sections = [[b""]]
    position = 0
    while position < len(body):
        match = _TOKEN.match(body, position)
        if match is None:
            raise ValueError(_describe_rest(body[position:]))
        position = match.end()
        if match["any_depth"]:
            sections.append([b""])
        elif match["any_length"]:
            sections[-1].append(b"")
        else:
            sections[-1][-1] += _one_byte(match)
    return sections


def _longest_literal(body: bytes) -> bytes:
    runs = [b""]
    for match in _TOKEN.finditer(body):
        byte = match["escaped"] or match["literal"]
        if byte:
            runs[-1] += byte
        else:
            runs.append(b"")
    return max(runs, key=len)


def _describe_rest(rest: bytes) -> str:
    if rest.startswith(b"["):
        return r"has a [ without its ]: write \[ for the bracket itself"
    return r"has a backslash with nothing to escape: write \\ for the backslash itself"


def _one_byte(match: re.Match[bytes]) -> bytes:
    if match["any_byte"]:
        return b"[^/]"
    if match["members"]:
        members = b"".join(b"\\x%02x" % member for member in sorted(_read_class(match["members"])))
        return b"[^/%b]" % members if match["negated"] else b"(?!/)[%b]" % members
    return re.escape(match["escaped"] or match["literal"])


def _read_class(text: bytes) -> set[int]:
    """Return the bytes that stand in a class. Raises ValueError, as `_read` does."""
    if b"/" in text or not text.isascii():
        raise ValueError("has a slash or a letter beyond ASCII in brackets, where neither can match: write it outside")
    if b"[:" in text:
        raise ValueError("has a named class, which is not taken: write the range, such as [a-z]")
    found: set[int] = set()
    items = list(_MEMBER.finditer(text))
    start = None
    remaining = iter(items)
    for item in remaining:
        byte = item[1][0]
        if item[0] == b"-" and start is not None and item is not items[-1]:
            end = next(remaining)[1][0]
            if end < start:
                raise ValueError(f"has the range {chr(start)}-{chr(end)}, which runs backwards: turn it round")
            found.update(range(start, end + 1))
            start = None
        else:
            found.add(byte)
            start = byte
    return found


def _compile(sections: _Sections) -> re.Pattern[bytes]:
    """Return the expression for a path with a slash before it.

    A hostile name must not make it try all the ways in which several wildcards can share that name. The first place
    where a piece fits is as good as any later one, since a wildcard follows that takes the rest: so what was found is
    never given back, but for the last piece, which has to end where the name ends.
    """
    numbers = count(1)
    found = b""
    for index, pieces in enumerate(sections):
        lead = b".*?" if index else b""
        if index < len(sections) - 1:
            inner = b"".join(_once(b"[^/]*?" + piece, numbers) for piece in pieces[1:])
            found += _once(lead + pieces[0] + inner, numbers)
        else:
            inner = b"".join(_once(b"[^/]*?" + piece, numbers) for piece in pieces[1:-1])
            found += lead + pieces[0] + inner + (b"[^/]*" + pieces[-1] if len(pieces) > 1 else b"")
    return re.compile(found + rb"\Z", re.DOTALL)


def _once(expression: bytes, numbers: Iterator[int]) -> bytes:
    """Return an expression that takes the first match and keeps to it; ``(?>...)`` says so from Python 3.11 on."""
    name = b"g%d" % next(numbers)
    return b"(?=(?P<%b>%b))(?P=%b)" % (name, expression, name)

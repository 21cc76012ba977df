"""The door for paths: what passes is inside its tree, and comes back as it was; what does not is told in words."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from fuzz.meaning import judge_path
from pushmirror.core.paths import (
    MAX_PART_BYTES,
    MAX_PATH_BYTES,
    RESERVED_PARTS,
    format_text,
    parse_text,
    shorten,
    trust,
)
from pushmirror.core.source import parse_source
from pushmirror.errors import UntrustedPath


def check(data: bytes) -> None:
    """Take `data` for a path, for the text of one, and for the source of a tree."""
    assert shorten(data).isprintable()
    try:
        path = trust(data)
    except UntrustedPath as error:
        assert str(error).isprintable(), str(error)
        assert not _is_harmless(data), "a path was refused that could not leave its tree"
    else:
        judge_path(path)
        text = format_text(path)
        assert text is None or (parse_text(text) == path and not text.startswith("-"))
    _check_text(data.decode("utf-8", "surrogateescape"))
    _check_source(data.decode("utf-8", "replace"))


def _is_harmless(data: bytes) -> bool:
    parts = data.split(b"/")
    inside = posixpath.normpath(posixpath.join(b"/tree", data)) == b"/tree/" + data and data != b""
    short = len(data) <= MAX_PATH_BYTES and max(map(len, parts)) <= MAX_PART_BYTES
    return inside and short and b"\0" not in data and RESERVED_PARTS.isdisjoint(parts)


def _check_text(text: str) -> None:
    try:
        path = parse_text(text)
    except UntrustedPath as error:
        assert str(error).isprintable(), str(error)
        return
    judge_path(path)
    assert format_text(path) == text, "one path has two texts"


def _check_source(url: str) -> None:
    try:
        source = parse_source(url)
    except ValueError as error:
        assert str(error).isprintable(), str(error)
        return
    assert source.root.startswith("rsync://") and source.root.endswith("/")
    if source.below:
        judge_path(source.below)


def seeds() -> Iterable[bytes]:
    """Yield paths that pass and paths that must not, and sources."""
    yield from (
        b"", b"/", b"/etc/passwd", b".", b"..", b"../a", b"a/..", b"a/./b", b"a//b", b"a/", b"a\0b", b".~tmp~",
        b"a/.~pushmirror~/b", b"x" * 256, b"a/" * 1600, b"-rf", b"./-rf", b"./--rsh=sh", b"caf\xe9", "größe".encode(),
        b"a\nb", b"pool/main/a/a_1.0_all.deb", b"*?[]{}", b"./.", b"\xed\xa0\x80", "\u202e".encode(),
        b"rsync://mirror.example.org/module/", b"rsync://user@[::1]:873/module/a/b/", b"rsync://h:99999/m/",
        b"rsync://h/m/../x/", b"rsync://h/-m/",
    )  # fmt: skip

"""Paths in settings files: absolute and plain, and trees that do not lie inside each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath

from pushmirror.settings.names import shorten

# sockaddr_un has room for 108 bytes, one of which ends the text.
MAX_SOCKET_PATH_BYTES = 107
MAX_PATH_BYTES = 4095
# What Linux takes (4,095 bytes), less the longest path that a message may name, and our own folders in between.
MAX_TREE_PATH_BYTES = 960


def check_absolute(text: str) -> Path:
    """Return `text` as a path. Raises ValueError if it is relative, winds through ``..`` or cannot be a path."""
    if not text.startswith("/"):
        raise ValueError(f"{shorten(text)} is a relative path: write the whole path, from / on")
    if not text.isprintable():
        raise ValueError(f"{shorten(text)} holds a control character: choose another path")
    if len(text.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES:
        raise ValueError(f"{shorten(text)} is longer than {MAX_PATH_BYTES} bytes: choose a shorter path")
    if ".." in text.split("/"):
        raise ValueError(f"{shorten(text)} leads through '..': write the path without it")
    return Path("/", text.lstrip("/"))


def check_tree_path(text: str) -> Path:
    """Return `text` as the path of a tree: as `check_absolute`, and not the root of the machine."""
    path = check_absolute(text)
    if path == Path("/"):
        raise ValueError("'/' is the whole machine: name the folder that holds the tree")
    if len(str(path).encode("utf-8", "surrogatepass")) > MAX_TREE_PATH_BYTES:
        raise ValueError(
            f"{shorten(text)} is longer than {MAX_TREE_PATH_BYTES} bytes, so that not all paths of a tree would find "
            "room behind it: choose a shorter path"
        )
    return path


def check_socket_path(text: str) -> Path:
    """Return `text` as the path of a UNIX socket: as `check_absolute`, and short enough for one."""
    path = check_absolute(text)
    if len(str(path).encode()) > MAX_SOCKET_PATH_BYTES:
        raise ValueError(f"{shorten(text)} is too long: a socket's path has at most {MAX_SOCKET_PATH_BYTES} bytes")
    return path


def find_overlaps(paths: Mapping[str, PurePath]) -> Iterator[tuple[str, str]]:
    """Yield pairs of names: the first's path is the second's, or lies inside it."""
    first_named: dict[PurePath, str] = {}
    for name, path in paths.items():
        first_named.setdefault(path, name)
    for name, path in paths.items():
        for place in (path, *path.parents):
            owner = first_named.get(place)
            if owner is not None and owner != name:
                yield name, owner
                break


def find_enclosing(path: PurePath, trees: Mapping[str, PurePath]) -> str | None:
    """Return the name of a tree in which `path` lies (or which it is), None if there is none."""
    return next((name for name, tree in trees.items() if path.is_relative_to(tree)), None)


def check_marker(text: str) -> str:
    """Return `text` as the path of a file: absolute, or relative to its tree without a way out of it.

    Raises ValueError for anything else.
    """
    if text.startswith("/"):
        return str(check_absolute(text))
    parts = text.split("/")
    if not text.isprintable() or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{shorten(text)} is no path of a file: write it as seen from the root of the tree")
    return text

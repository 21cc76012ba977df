"""Checks of one setting against another that need no disk.

They read the plain data and not the model, so that they find their faults also in a file that has others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from pushmirror.core.paths import STAGING_NAME
from pushmirror.settings.access_checks import check_access
from pushmirror.settings.common import PLAIN_PROFILE
from pushmirror.settings.document import Document, KeyPath, format_key
from pushmirror.settings.https_checks import check_https, https_files
from pushmirror.settings.paths import check_absolute, find_enclosing, find_overlaps
from pushmirror.settings.relay_checks import check_relays
from pushmirror.settings.source_checks import check_sources, source_keys

Problem = tuple[KeyPath, str]

PUBLISHER_FILES: tuple[KeyPath, ...] = (
    *(("state_dir",), ("key",), ("authorized_nodes",), ("control",)),
    *https_files(),
    ("bus", "curve"),
)
SUBSCRIBER_FILES: tuple[KeyPath, ...] = (
    *(("state_dir",), ("key",), ("control",), ("curve",)),
    *(("relay", "authorized_nodes"), ("relay", "curve")),
    *https_files(("relay",)),
)


def cross_check_publisher(document: Document) -> list[Problem]:
    """Return what does not go together in a publisher's file."""
    return [
        *_check_overlaps(document),
        *_check_own_files(document, PUBLISHER_FILES),
        *check_https(document),
        *check_access(document, (), ("bus", "curve")),
    ]


def cross_check_subscriber(document: Document) -> list[Problem]:
    """Return what does not go together in a subscriber's file."""
    return [
        *_check_overlaps(document),
        *_check_own_files(document, (*SUBSCRIBER_FILES, *password_keys(document))),
        *_check_upstreams(document),
        *check_sources(document),
        *check_relays(document),
        *check_access(document, ("relay",), ("relay", "curve")),
        *_check_staging(document),
        *_check_filters(document),
        *_check_profiles(document),
    ]


def password_keys(document: Document) -> tuple[KeyPath, ...]:
    """Return where a subscriber's file may name a file with a password: at each tree, and at each of its sources."""
    trees: list[KeyPath] = [("trees", name) for name in document.names("trees")]
    sources = [key for name in document.names("trees") for key in source_keys(document, name)]
    return tuple((*key, "password_file") for key in (*trees, *sources))


def path_at(document: Document, key: KeyPath) -> Path | None:
    """Return the path that stands at `key`, None if there is none or it is none."""
    value = document.value(key)
    try:
        return check_absolute(value) if isinstance(value, str) else None
    except ValueError:
        return None


def tree_paths(document: Document) -> dict[str, Path]:
    """Return the folder of each tree that has a usable one; the root of the machine is none."""
    paths = {name: path_at(document, ("trees", name, "path")) for name in document.names("trees")}
    return {name: path for name, path in paths.items() if path not in (None, Path("/"))}


def describe_overlaps(document: Document, place_of: Callable[[Path], Path]) -> Iterator[Problem]:
    """Yield a problem for each tree that lies in another one, at the places that `place_of` gives."""
    paths = {name: place_of(path) for name, path in tree_paths(document).items()}
    for name, other in find_overlaps(paths):
        where = "is the folder of" if paths[name] == paths[other] else "lies inside"
        line = document.line_of(("trees", other, "path"))
        yield (
            ("trees", name, "path"),
            f"{where} the tree {other} (line {line}): trees must not overlap, give each a folder of its own",
        )


def _check_overlaps(document: Document) -> Iterator[Problem]:
    return describe_overlaps(document, lambda path: path)


def _check_own_files(document: Document, keys: tuple[KeyPath, ...]) -> Iterator[Problem]:
    trees = tree_paths(document)
    for key in keys:
        path = path_at(document, key)
        tree = find_enclosing(path, trees) if path is not None else None
        if tree is not None:
            yield key, f"lies inside the tree {tree}, where it would be mirrored or deleted: move it elsewhere"


def _check_upstreams(document: Document) -> Iterator[Problem]:
    upstreams = document.names("upstreams")
    for name in document.names("trees"):
        upstream = document.value(("trees", name, "upstream"))
        if isinstance(upstream, str) and upstream not in upstreams:
            there_are = ", ".join(upstreams) if upstreams else "none"
            yield ("trees", name, "upstream"), f"there is no upstream of this name: upstreams has {there_are}"


def _check_staging(document: Document) -> Iterator[Problem]:
    trees = tree_paths(document)
    used: dict[Path, KeyPath] = {}
    for name in document.names("trees"):
        key: KeyPath = ("trees", name, "staging_dir")
        staging = path_at(document, key)
        if staging is None or (name in trees and staging == trees[name] / STAGING_NAME.decode()):
            continue
        holder = find_enclosing(staging, trees)
        if holder is not None:
            yield key, f"lies inside the tree {holder}: put it beside the trees, on the same file system"
        held = next((tree for tree, path in trees.items() if path != staging and path.is_relative_to(staging)), None)
        if held is not None:
            yield key, f"holds the tree {held}: put it beside the trees, on the same file system"
        if staging in used:
            yield key, f"is used by {format_key(used[staging])} too: each tree needs a staging folder of its own"
        used.setdefault(staging, key)


def _check_filters(document: Document) -> Iterator[Problem]:
    for name in document.names("trees"):
        tree: KeyPath = ("trees", name)
        if document.value((*tree, "include")) and not document.value((*tree, "exclude")):
            yield (
                (*tree, "include"),
                "does nothing by itself: it only spares what exclude would hide; to mirror nothing else, "
                "add exclude: ['*'], and include every folder on the way",
            )


def _check_profiles(document: Document) -> Iterator[Problem]:
    for name in document.names("trees"):
        profile = document.value(("trees", name, "profile"))
        if profile is None or profile == PLAIN_PROFILE:
            continue
        for key in ("metadata", "last"):
            if document.value(("trees", name, key)):
                yield ("trees", name, key), f"is for a format of your own: remove it, or `profile: {profile}`"

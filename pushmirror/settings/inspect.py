"""What a settings file names, held against the disk: every folder and file that a daemon will need.

The plain data is read and not the model, so that a file with other faults is told of these too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from pushmirror.errors import Fault
from pushmirror.settings.access_checks import look_at_curve
from pushmirror.settings.cross import Problem, describe_overlaps, password_keys, path_at, tree_paths
from pushmirror.settings.disk import (
    look_at_folder,
    look_at_nodes,
    look_at_private_key,
    look_at_secret,
    look_at_staging,
    look_at_state,
)
from pushmirror.settings.document import Document, KeyPath
from pushmirror.settings.https_checks import https_files, look_at_authorities, look_at_https
from pushmirror.settings.mounts import find_place, read_mounts

_STATE_ADVICE = "create it for the daemon's user (as a systemd service it is made by StateDirectory=)"
_TREE_ADVICE = "create it or mount it, for the daemon's user"


def inspect_publisher(document: Document) -> tuple[Fault, ...]:
    """Return what is wrong on the disk for a publisher with these settings."""
    return _to_faults(document, _inspect_publisher(document))


def inspect_subscriber(document: Document) -> tuple[Fault, ...]:
    """Return what is wrong on the disk for a subscriber with these settings."""
    return _to_faults(document, _inspect_subscriber(document))


def _inspect_publisher(document: Document) -> Iterator[tuple[KeyPath, str | None]]:
    yield from _inspect_daemon(document)
    nodes = path_at(document, ("authorized_nodes",))
    if nodes is not None:
        for problem in look_at_nodes(nodes):
            yield ("authorized_nodes",), problem
    yield from _inspect_curve(document, ("bus", "curve"))
    yield from _inspect_https(document)
    yield from _inspect_trees(document, writable=False)


def _inspect_subscriber(document: Document) -> Iterator[tuple[KeyPath, str | None]]:
    yield from _inspect_daemon(document)
    yield from _inspect_trees(document, writable=True)
    for name in document.names("upstreams"):
        authorities = path_at(document, ("upstreams", name, "service_ca"))
        if authorities is not None:
            yield from look_at_authorities(("upstreams", name, "service_ca"), authorities)
    yield from _inspect_curve(document, ("curve",))
    yield from _inspect_curve(document, ("relay", "curve"))
    nodes = path_at(document, ("relay", "authorized_nodes"))
    if nodes is not None:
        for problem in look_at_nodes(nodes):
            yield ("relay", "authorized_nodes"), problem
    yield from _inspect_https(document, ("relay",))
    trees = tree_paths(document)
    for key in password_keys(document):
        password_file = path_at(document, key)
        if password_file is not None:
            yield key, look_at_secret(password_file)
    for name in document.names("trees"):
        staging = path_at(document, ("trees", name, "staging_dir"))
        if staging is not None and name in trees:
            yield ("trees", name, "staging_dir"), look_at_staging(staging, trees[name])


def _inspect_daemon(document: Document) -> Iterator[tuple[KeyPath, str | None]]:
    state_dir, key = path_at(document, ("state_dir",)), path_at(document, ("key",))
    if state_dir is not None:
        yield ("state_dir",), look_at_state(state_dir, advice=_STATE_ADVICE)
    if key is not None:
        yield ("key",), look_at_private_key(key)


def _inspect_curve(document: Document, key: KeyPath) -> Iterator[tuple[KeyPath, str | None]]:
    path = path_at(document, key)
    if path is not None:
        yield key, look_at_curve(path)


def _inspect_https(document: Document, group: KeyPath = ()) -> Iterator[Problem]:
    certificate, key = (path_at(document, place) for place in https_files(group))
    yield from look_at_https(certificate, key, group)


def _inspect_trees(document: Document, *, writable: bool) -> Iterator[tuple[KeyPath, str | None]]:
    for name, path in tree_paths(document).items():
        yield ("trees", name, "path"), look_at_folder(path, writable=writable, advice=_TREE_ADVICE)
    yield from _find_hidden_overlaps(document)


def _find_hidden_overlaps(document: Document) -> Iterator[Problem]:
    """Yield overlaps that only symbolic links or mounts make; the others are seen without the disk."""
    told = {key for key, _ in describe_overlaps(document, lambda path: path)}
    mounts = read_mounts()
    hidden: dict[str, Callable[[Path], Path]] = {
        "a symbolic link": lambda path: Path(os.path.realpath(path)),
        "a mount": lambda path: find_place(path, mounts),
    }
    for what, place_of in hidden.items():
        found = [(key, message) for key, message in describe_overlaps(document, place_of) if key not in told]
        told.update(key for key, _ in found)
        for key, message in found:
            yield key, f"{message} ({what} leads there)"


def _to_faults(document: Document, problems: Iterator[tuple[KeyPath, str | None]]) -> tuple[Fault, ...]:
    return tuple(document.fault(key, message) for key, message in problems if message is not None)

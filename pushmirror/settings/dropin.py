"""The text of the systemd drop-in that lets a hardened daemon reach its trees."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from os.path import commonpath
from pathlib import Path

from pushmirror.settings.publisher import PublisherSettings
from pushmirror.settings.roles import PUBLISHER, SUBSCRIBER
from pushmirror.settings.subscriber import SubscriberSettings

# ProtectHome= hides the first, PrivateTmp= the others; only a bind mount brings something below them back.
_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
_HIDDEN = (*_HOMES, Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - compared with, never written to
# The units make these writable themselves.
_STATE = {role: Path("/var/lib/pushmirror", role) for role in (PUBLISHER, SUBSCRIBER)}
_RUNTIME = Path("/run/pushmirror")


@dataclass(frozen=True)
class DropIn:
    """A file for systemd: where it goes, and what it says."""

    path: str
    text: str


def compose_dropin(settings: PublisherSettings | SubscriberSettings) -> DropIn:
    """Return the drop-in for a daemon with these settings, installed from the unit files of this project."""
    if isinstance(settings, PublisherSettings):
        own = _own_folders(PUBLISHER, settings)
        return _compose(PUBLISHER, settings.tree_paths, "ReadOnlyPaths", "BindReadOnlyPaths", own)
    trees = [folder for tree in settings.trees.values() for folder in _writable_folders(tree.path, tree.staging_dir)]
    return _compose(SUBSCRIBER, trees, "ReadWritePaths", "BindPaths", _own_folders(SUBSCRIBER, settings))


def _compose(role: str, trees: Iterable[Path], plain: str, bound: str, own: list[Path]) -> DropIn:
    lines = [f"# Lets the {role} reach its trees; printed by: pushmirror check-config", "[Service]"]
    wanted = [(folder, plain, bound) for folder in _topmost(trees)]
    wanted += [(folder, "ReadWritePaths", "BindPaths") for folder in own]
    for folder, reached, mounted in wanted:
        hidden = _is_inside(folder, _HIDDEN)
        lines.append(f"{mounted if hidden else reached}={_quote(folder, bind=hidden)}")
    if any(_is_inside(folder, _HOMES) for folder, _, _ in wanted):
        # With "yes", as in the unit, the homes take no mounts.
        lines.insert(2, "ProtectHome=tmpfs")
    return DropIn(f"/etc/systemd/system/pushmirror-{role}.service.d/trees.conf", "\n".join(lines) + "\n")


def _writable_folders(tree: Path, staging: Path | None) -> list[Path]:
    """Return the one folder through which a tree and its staging folder are both reached: each such path becomes a
    mount of its own, and between two mounts no file can be renamed, not even on one file system."""
    if staging is None:
        return [tree]
    shared = Path(commonpath((tree, staging)))
    # To open the whole machine would be worse than a daemon that says why it cannot rename.
    return [tree, staging] if shared == Path("/") else [shared]


def _own_folders(role: str, settings: PublisherSettings | SubscriberSettings) -> list[Path]:
    folders = [] if settings.state_dir.is_relative_to(_STATE[role]) else [settings.state_dir]
    if not settings.control.is_relative_to(_RUNTIME):
        folders.append(settings.control.parent)
    return _topmost(folders)


def _topmost(folders: Iterable[Path]) -> list[Path]:
    """Return `folders` in order, without doubles and without those inside another one."""
    every = list(dict.fromkeys(folders))
    return [folder for folder in every if not any(parent in every for parent in folder.parents)]


def _is_inside(folder: Path, places: tuple[Path, ...]) -> bool:
    return any(folder.is_relative_to(place) for place in places)


def _quote(folder: Path, *, bind: bool) -> str:
    # The dash: a folder that is missing is for the daemon to tell of, in plain words.
    text = f"-{folder}".replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    if bind:
        text = text.replace(":", "\\:")
    return f'"{text}"' if set(text) & set(" \t\\\"':;#") else text

"""``pushmirror publish``: checks what changed in a tree, commits it to the journal, and wakes the daemon.

Works while the daemon is down, which then sends it at its next start. Imports little, so that it starts at once.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from pushmirror.control.client import wake
from pushmirror.core.itemise import read_log
from pushmirror.errors import UsageError
from pushmirror.publisher.announcement import Announcement
from pushmirror.publisher.detect.from_rsync import Detection, LogPart, detect
from pushmirror.publisher.detect.run_lock import refuse_during_run
from pushmirror.publisher.identity import Identity
from pushmirror.publisher.inspection import Inspection, Wanted, inspect, inspect_root, split_list
from pushmirror.publisher.journal import JOURNAL_NAME, Journal
from pushmirror.publisher.journal_rows import Announced
from pushmirror.publisher.stamps import with_stamps
from pushmirror.settings.glance import Glance, glance
from pushmirror.settings.roles import PUBLISHER

Paths = Sequence[str]


@click.command("publish")
@click.argument("tree")
@click.option(
    "--path", "puts", multiple=True, metavar="P", help="New or changed: a file, a symlink, or a directory itself."
)
@click.option("--delete", "deletions", multiple=True, metavar="P", help="Gone, with everything below it.")
@click.option("--directory", "directories", multiple=True, metavar="D", help="To be compared with everything below it.")
@click.option("--paths-from", metavar="FILE|-", help="A list of paths as for --path, one a line or NUL-separated.")
@click.option(
    "--from-rsync", metavar="FILE|-", help="What `rsync -i` printed, or its log file, as it brought the tree."
)
@click.option("--scan", is_flag=True, help="Find out what changed since the last scan, by the times of directories.")
@click.option("--thorough", is_flag=True, help="With --scan: look at every entry, for edits in place and attributes.")
@click.option("--whole-tree", is_flag=True, help="Anything may have changed: every mirror compares the whole tree.")
@click.option("--force", is_flag=True, help="Announce puts that are not there and deletions of what still is.")
@click.option(
    "--config", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The publisher's settings."
)
def publish(
    tree: str,
    puts: Paths,
    deletions: Paths,
    directories: Paths,
    paths_from: str | None,
    from_rsync: str | None,
    scan: bool,
    thorough: bool,
    whole_tree: bool,
    force: bool,
    config: Path,
) -> None:
    """Announce what changed in TREE and print the serial.

    Paths are relative to the root of the tree. A directory that is given with --path brings itself alone, its time and
    permissions; what changed below it is listed too, or given with --directory. Nothing is announced if anything is
    wrong with any of the paths.
    """
    settings = glance(config)
    root = find_tree(settings, tree, config)
    given = bool(puts or deletions or directories or paths_from is not None)
    scan |= thorough
    if given + scan + whole_tree + (from_rsync is not None) != 1:
        raise UsageError(_what_to_give(given or whole_tree or scan))
    if scan:
        from pushmirror.cli.publish_scan import announce_scan  # what it needs is not loaded for the other ways

        announce_scan(settings, tree, thorough=thorough, force=force)
        return
    if not force:
        refuse_during_run(settings.state_dir, tree)
    if whole_tree:
        announcement = _announce_whole(settings, tree, inspect_root(root, force=force))
    elif from_rsync is not None:
        detection = _detect(root, from_rsync, force=force)
        announcement = announce_list(settings, tree, detection)
        if not detection:
            note(f"{from_rsync}: nothing itemised is in it (rsync -i itemises changes), so nothing was announced")
            return
    else:
        wanted = Wanted(_as_bytes(puts), _read_list(paths_from), _as_bytes(deletions), _as_bytes(directories))
        announcement = announce_list(settings, tree, inspect(root, wanted, force=force))
    announced = commit(settings, announcement)
    if announced.whole and not whole_tree:
        note("this is more than a list may hold: the whole tree was announced")
    click.echo(announced.serial)
    wake_daemon(settings)


def wake_daemon(settings: Glance) -> None:
    """Have the daemon send what was committed; without it that happens later, and the operator is told so."""
    if not wake(settings.control):
        note("the daemon was not woken: it sends this within seconds if it runs, otherwise at its next start")


def find_tree(settings: Glance, tree: str, config: Path) -> Path:
    """Return the folder of a tree. Raises UsageError when the settings have no such tree, or are not a publisher's."""
    if settings.role != PUBLISHER:
        raise UsageError(f"{config}: these are the settings of a {settings.role}; announcing needs the publisher's")
    if tree not in settings.trees:
        near = difflib.get_close_matches(tree, settings.trees, n=1)
        advice = f"did you mean {near[0]}?" if near else f"the trees are: {', '.join(settings.trees)}"
        raise UsageError(f"{config}: there is no tree {tree!r}; {advice}")
    return settings.trees[tree].path


def _what_to_give(given: bool) -> str:
    if given:
        return "--whole-tree, --scan or --from-rsync says by itself what changed: give it alone, or paths without it"
    return "nothing to announce: give --path, --delete, --directory, --paths-from, --from-rsync, --scan or --whole-tree"


def _as_bytes(paths: Paths) -> tuple[bytes, ...]:
    return tuple(os.fsencode(path) for path in paths)


def _read_list(paths_from: str | None) -> tuple[bytes, ...]:
    if paths_from is None:
        return ()
    if paths_from == "-":
        return split_list(sys.stdin.buffer.read())
    try:
        return split_list(Path(paths_from).read_bytes())
    except OSError as error:
        raise UsageError(f"{paths_from}: the list cannot be read ({error.strerror})") from error


def _detect(root: Path, log: str, *, force: bool) -> Detection:
    if log == "-":
        return detect(root, [LogPart(read_log(sys.stdin.buffer))], force=force)
    try:
        with Path(log).open("rb") as lines:
            return detect(root, [LogPart(read_log(lines))], force=force)
    except OSError as error:
        raise UsageError(f"{log}: the log cannot be read ({error.strerror})") from error


def announce_list(settings: Glance, tree: str, found: Inspection | Detection) -> Announcement:
    """Return the announcement of what was found, and tell the operator the notes about it."""
    for text in found.notes:
        note(text)
    known = settings.trees[tree]
    return Announcement(
        identity=identify(settings),
        tree=tree,
        changes=with_stamps(found.changes, known.path, known.profile),
        bytes=found.bytes,
        root_mtime_ns=found.root_mtime_ns,
        max_clients=known.max_clients,
    )


def _announce_whole(settings: Glance, tree: str, root_mtime_ns: int | None) -> Announcement:
    return Announcement(
        identity=identify(settings),
        tree=tree,
        changes=None,
        root_mtime_ns=root_mtime_ns,
        max_clients=settings.trees[tree].max_clients,
    )


def identify(settings: Glance) -> Identity:
    """Return in whose name a publisher with these settings announces."""
    return Identity(settings.name, settings.topic_prefix or "", settings.environment or "")


def commit(settings: Glance, announcement: Announcement) -> Announced:
    """Write the announcement to the journal, durably. Raises StateError when that is not possible."""
    journal = Journal(settings.state_dir / JOURNAL_NAME)
    try:
        return journal.announce(announcement)
    finally:
        journal.close()


def note(text: str) -> None:
    """Tell the operator something that is no error, on standard error."""
    click.echo(f"pushmirror: note: {text}", err=True)

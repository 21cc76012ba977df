"""``pushmirror publish --scan``: finds out by itself what changed in a tree."""

from __future__ import annotations

import click

from pushmirror.cli.publish import identify, note, wake_daemon
from pushmirror.core.scanning import Scope
from pushmirror.publisher.detect.announcing import Place, scan_and_announce
from pushmirror.publisher.detect.excludes import make_excludes
from pushmirror.settings.glance import Glance


def announce_scan(settings: Glance, tree: str, *, thorough: bool, force: bool) -> None:
    """Scan a tree, announce what changed, and print the serial; nothing on standard output when nothing changed."""
    result = scan_and_announce(_place(settings, tree), Scope(known=True, thorough=thorough), force=force)
    for problem in result.problems:
        note(problem)
    if result.announced is None:
        note("nothing has changed since the last scan, so nothing was announced")
        return
    if result.first:
        note("this was the first scan, and what changed before it nobody knows: the whole tree was announced")
    elif result.announced.whole:
        note("this is more than a list may hold: the whole tree was announced")
    click.echo(result.announced.serial)
    wake_daemon(settings)


def _place(settings: Glance, tree: str) -> Place:
    known = settings.trees[tree]
    return Place(
        tree=tree,
        root=known.path,
        excludes=make_excludes(known.exclude, rsyncd_conf=settings.rsyncd_conf, root=known.path, url=known.url),
        state_dir=settings.state_dir,
        identity=identify(settings),
        profile=known.profile,
        max_clients=known.max_clients,
    )

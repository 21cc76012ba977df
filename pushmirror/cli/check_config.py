"""``pushmirror check-config``: every fault of a settings file, or what it says and how systemd lets the daemon in."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pushmirror.errors import SettingsError

if TYPE_CHECKING:
    from pushmirror.settings.publisher import PublisherSettings
    from pushmirror.settings.subscriber import SubscriberSettings


@click.command("check-config")
@click.argument("file", type=click.Path(path_type=Path))
def check_config(file: Path) -> None:
    """Check the settings in FILE and all that they name, and print the systemd drop-in for the trees."""
    from pushmirror.settings.dropin import compose_dropin
    from pushmirror.settings.load import load_and_inspect_any

    try:
        settings = load_and_inspect_any(file)
    except SettingsError as error:
        click.echo(str(error), err=True)
        raise click.exceptions.Exit(error.exit_code) from error
    dropin = compose_dropin(settings)
    click.echo(_summarise(file, settings))
    for note in (*_look_at_state(settings.state_dir), *_compare_with_rsyncd(settings), *_look_at_rsync(settings)):
        click.echo(f"  note: {note}")
    click.echo(f"\nWith the systemd unit, put this into {dropin.path}:\n")
    click.echo(dropin.text, nl=False)
    if os.geteuid() == 0 and not settings.allow_root:
        click.echo(
            "\nThis was checked as root, who may read and write everything. To check as the daemon's user:\n"
            f"  sudo -u pushmirror pushmirror check-config {file}"
        )


def _look_at_state(state_dir: Path) -> tuple[str, ...]:
    """Return what is to be changed about who may read the state folder."""
    mode = stat.S_IMODE(state_dir.stat().st_mode)
    if not mode & 0o007:
        return ()
    locks = "everybody can keep it locked, so that nothing is announced and no daemon starts"
    return (f"{state_dir} is open to everybody (mode {mode:04o}), and {locks}: chmod o-rwx {state_dir}",)


def _look_at_rsync(settings: PublisherSettings | SubscriberSettings) -> tuple[str, ...]:
    """Return what is known to be bad about the rsync that a subscriber runs."""
    from pushmirror.settings.subscriber import SubscriberSettings
    from pushmirror.subscriber.installed_rsync import ask_rsync

    if not isinstance(settings, SubscriberSettings):
        return ()
    return ask_rsync(settings.rsync, os.environ, confine=settings.confine_rsync).warnings


def _compare_with_rsyncd(settings: PublisherSettings | SubscriberSettings) -> list[str]:
    """Return what a publisher's rsync daemon hides of its trees; without `rsyncd_conf` the usual file is looked at."""
    from pushmirror.publisher.detect.rsyncd_conf import DEFAULT_PATH, compare_with_rsyncd
    from pushmirror.settings.publisher import PublisherSettings

    if not isinstance(settings, PublisherSettings):
        return []
    conf = settings.rsyncd_conf or DEFAULT_PATH
    if settings.rsyncd_conf is None and not os.access(conf, os.R_OK):
        return []
    notes = [
        f"tree {name}: {note}"
        for name, tree in settings.trees.items()
        for note in compare_with_rsyncd(conf, tree.path, tree.url).notes
    ]
    if notes and settings.rsyncd_conf is None:
        notes.append(f"with `rsyncd_conf: {conf}` in the settings no scan announces what it hides")
    return notes


def _summarise(file: Path, settings: PublisherSettings | SubscriberSettings) -> str:
    from pushmirror.settings.publisher import PublisherSettings

    role = "publisher" if isinstance(settings, PublisherSettings) else "subscriber"
    lines = [f"{file}: good settings for the {role} {settings.name}"]
    if isinstance(settings, PublisherSettings):
        lines += [f"  tree {name}: {tree.path}" for name, tree in settings.trees.items()]
    else:
        lines += [
            f"  tree {name}: {tree.path}, from {', '.join(source.url for source in tree.all_sources)}, "
            f"announced by {tree.upstream}"
            for name, tree in settings.trees.items()
        ]
    return "\n".join(lines)

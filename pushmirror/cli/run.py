"""``pushmirror run``: runs the operator's own rsync, and announces what it changed in the tree.

Imports little, so that it starts at once.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from pushmirror.cli.publish import announce_list, commit, find_tree, note, wake_daemon
from pushmirror.control.client import wake
from pushmirror.errors import PushmirrorError
from pushmirror.publisher.detect.from_rsync import detect
from pushmirror.publisher.detect.run_arguments import parse_call
from pushmirror.publisher.detect.run_destination import check_destination, make_context
from pushmirror.publisher.detect.run_lock import held_for_run, runs_folder
from pushmirror.publisher.detect.run_logs import RunLogs
from pushmirror.publisher.detect.run_process import run_program
from pushmirror.settings.glance import Glance, glance

BROUGHT_SOMETHING = frozenset({0, 23, 24})
"""Exit codes of rsync after which the tree is in order: done, some files could not be read, some had vanished."""

_LATER = "what it has changed is announced by the next run that succeeds"


@click.command("run", context_settings={"allow_interspersed_args": True})
@click.argument("tree")
@click.argument("command", nargs=-1, required=True, metavar="-- rsync ...")
@click.option(
    "--config", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The publisher's settings."
)
def run(tree: str, command: tuple[str, ...], config: Path) -> int:
    """Run the rsync that brings TREE, and announce what it changed.

    Everything after -- is run as it is, with -i added (unless it is there) and a log file of our own. Its output is
    shown, signals reach it, and its exit code is that of this command. When it succeeded, or some files could not be
    had (23, 24), what arrived is announced; nothing when nothing changed. What a run has changed that failed is
    announced by the next one that succeeds.
    """
    settings = glance(config)
    root = find_tree(settings, tree, config)
    call = parse_call(command, os.environ)
    context = make_context(call, os.getcwd())
    check_destination(root, tree, context)
    with held_for_run(settings.state_dir, tree):
        logs = RunLogs(runs_folder(settings.state_dir, tree))
        log = logs.begin(context)
        wake(settings.control)
        code = run_program(call.command(log))
        announced = False
        if code in BROUGHT_SOMETHING:
            try:
                announced = _announce(settings, tree, root, logs)
            except PushmirrorError:
                note(f"rsync ended with {code}, and {_LATER}")
                raise
        elif log.exists():
            note(f"rsync ended with {code}: {_LATER}")
    if announced:
        wake_daemon(settings)
    else:
        wake(settings.control)  # for subscribers to hear that the run has ended; nobody minds a daemon that is down
    return code


def _announce(settings: Glance, tree: str, root: Path, logs: RunLogs) -> bool:
    """Announce what this run and failed ones before it have changed, and tell whether there was anything.

    Their logs go only when that is committed.
    """
    with logs.opened(root) as parts:
        found = detect(root, parts, force=False)
    announcement = announce_list(settings, tree, found)
    if found:
        announced = commit(settings, announcement)
        extent = ", the whole tree: this is more than a list may hold" if announced.whole else ""
        note(f"{tree}: announced serial {announced.serial}{extent}")
    else:
        note(f"{tree}: nothing has changed, nothing was announced")
    logs.discard()
    return bool(found)

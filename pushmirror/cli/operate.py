"""The commands by which an operator steers a running subscriber: sync, approve, refuse, pause, resume, history."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from pushmirror.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])
Answer = dict[str, Any]

_SHOWN_PATHS = 40
_POLL_S = 0.2

_config = click.option(
    "--config", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The subscriber's settings."
)


def _ask(config: Path, command: str, tree: str, **request: object) -> Answer:
    from pushmirror.control.client import ask
    from pushmirror.settings.glance import glance
    from pushmirror.settings.roles import SUBSCRIBER

    settings = glance(config)
    if settings.role != SUBSCRIBER:
        raise UsageError(f"{config}: these are the settings of a {settings.role}; `{command}` steers a subscriber")
    return dict(ask(settings.control, {"command": command, "tree": tree, **request}))


@click.command("sync")
@click.argument("tree")
@click.option("--full", is_flag=True, help="Compare the whole tree, not only what is pending.")
@click.option("--path", "paths", multiple=True, metavar="P", help="Compare this path, with everything below it.")
@click.option("--wait", is_flag=True, help="Return when it is done; 1 when it failed.")
@click.option("--timeout", default="1h", show_default=True, metavar="T", help="With --wait: give up after this.")
@_config
def sync(tree: str, full: bool, paths: tuple[str, ...], wait: bool, timeout: str, config: Path) -> None:
    """Ask the running subscriber to sync TREE now: what is pending, some paths, or all of it."""
    from pushmirror.settings.units import parse_duration_ms

    try:
        timeout_ms = parse_duration_ms(timeout)
    except ValueError as error:
        raise UsageError(f"--timeout: {error}") from error
    answer = _ask(config, "sync", tree, full=full, paths=[_as_path(path) for path in paths])
    if not wait:
        click.echo(f"{tree}: asked for; follow it with: pushmirror status --config {config}", err=True)
        return
    click.echo(_wait(config, tree, int(answer["last_job"]), timeout_ms))


def _as_path(path: str) -> str:
    """Return the path as it travels in JSON; a name that is not UTF-8 keeps its bytes as lone surrogates."""
    return os.fsencode(path).decode("utf-8", "surrogateescape").removeprefix("./").rstrip("/")


def _wait(config: Path, tree: str, last_job: int, timeout_ms: int) -> str:
    from pushmirror.monitor.waiting import Progress, watch_sync

    def look() -> Progress:
        state = _ask(config, "status", tree)["trees"][tree]
        return Progress(state, _ask(config, "history", tree)["jobs"])

    return watch_sync(tree, last_job, look, lambda: time.sleep(_POLL_S), time.monotonic, timeout_ms / 1000)


@click.command("approve")
@click.argument("tree")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--list", "show_all", is_flag=True, help="Show the deletions, and do nothing.")
@click.option("--leap", is_flag=True, help="Not the deletions: follow the jump of a serial or epoch that is held.")
@_config
def approve(tree: str, yes: bool, show_all: bool, leap: bool, config: Path) -> None:
    """Show the deletions that TREE waits with, and let exactly those go ahead."""
    if leap:
        _approve_leap(tree, config, yes=yes, show_only=show_all)
        return
    answer = _ask(config, "approve", tree)
    if not answer["deletions"]:
        click.echo(f"{tree}: nothing waits to be deleted")
        return
    _show_deletions(answer, None if show_all else _SHOWN_PATHS)
    if show_all:
        return
    if not yes:
        _confirm(f"Delete these {answer['deletions']}, with everything below them, from the mirror of {tree}?")
    released = _ask(config, "approve", tree, release=True, digest=answer["digest"])["released"]
    click.echo(f"{tree}: {released} approved; they are deleted as soon as they are due")


def _approve_leap(tree: str, config: Path, *, yes: bool, show_only: bool) -> None:
    from pushmirror.logs import escape

    leap = _ask(config, "approve-leap", tree)["leap"]
    if leap is None:
        click.echo(f"{tree}: no jump is held")
        return
    click.echo(f"{tree}: {escape(str(leap['reason']))}: serial {leap['serial']} of epoch {escape(str(leap['epoch']))}")
    if show_only:
        return
    if not yes:
        _confirm(f"Follow it? All of {tree} is compared, and nothing below that serial is believed any more.")
    _ask(config, "approve-leap", tree, release=leap)
    click.echo(f"{tree}: followed, by a full sync")


def _show_deletions(answer: Mapping[str, Any], limit: int | None) -> None:
    from pushmirror.logs import escape

    shown, in_the_way = answer["paths"][:limit], set(answer.get("in_the_way", ()))
    for path in shown:
        remark = "  (a file or a link is to take its place)" if path in in_the_way else ""
        click.echo(f"  {escape(str(path))}{remark}")
    rest = answer["deletions"] - len(shown)
    if rest:
        click.echo(f"  and {rest} more" + (" (up to 1000 with --list)" if limit is not None else ""))
    if answer.get("held"):
        click.echo(f"held: {escape(str(answer['held']))}")


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError("nobody is here to be asked: add --yes to approve them")
    click.confirm(question, abort=True)


@click.command("refuse")
@click.argument("tree")
@click.option("--leap", is_flag=True, help="Not the deletions: forget the jump of a serial or epoch that is held.")
@click.option("--forget", is_flag=True, help="Take earlier refusals back: a full sync finds those paths again.")
@_config
def refuse(tree: str, leap: bool, forget: bool, config: Path) -> None:
    """Keep what TREE waits to delete, also when it is found again, until the upstream has it once more."""
    if leap:
        forgotten = _ask(config, "refuse-leap", tree)["forgotten"]
        click.echo(f"{tree}: {'the jump is forgotten' if forgotten else 'no jump is held'}")
        return
    if forget:
        click.echo(f"{tree}: {_ask(config, 'refuse', tree, forget=True)['forgotten']} refusals taken back")
        return
    click.echo(f"{tree}: {_ask(config, 'refuse', tree)['kept']} kept")


@click.command("pause")
@click.argument("tree")
@_config
def pause(tree: str, config: Path) -> None:
    """Start no new jobs for TREE. Announcements are still recorded; a job that runs comes to its end."""
    _ask(config, "pause", tree)
    click.echo(f"{tree}: paused; go on with: pushmirror resume {tree} --config {config}")


@click.command("resume")
@click.argument("tree")
@_config
def resume(tree: str, config: Path) -> None:
    """Start jobs for a paused TREE again."""
    _ask(config, "resume", tree)
    click.echo(f"{tree}: resumed")


@click.command("history")
@click.argument("tree")
@click.option("--json", "as_json", is_flag=True, help="One JSON array of all jobs, the newest first.")
@_config
def history(tree: str, as_json: bool, config: Path) -> None:
    """Show the last jobs of TREE, the newest first."""
    jobs = _ask(config, "history", tree)["jobs"]
    if as_json:
        click.echo(json.dumps(jobs, indent=2))
        return
    from rich.console import Console

    from pushmirror.monitor.history_table import show_history

    Console().print(show_history(tree, jobs, int(time.time())))

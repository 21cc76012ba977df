"""``pushmirror status``: what a running daemon knows, as tables or as JSON."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pushmirror.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

_WATCH_EVERY_S = 1.0


@click.command("status")
@click.option(
    "--config", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The settings of the daemon."
)
@click.option("--json", "as_json", is_flag=True, help="The whole answer, for machines.")
@click.option("--watch", is_flag=True, help="Show it anew every second, until Ctrl-C.")
def status(config: Path, as_json: bool, watch: bool) -> None:
    """Show what a running daemon knows: trees, serials, jobs, upstreams, nodes.

    Exits with 0 when the daemon answered, whatever it said, and with 3 when it is not running.
    """
    from pushmirror.settings.glance import glance

    if as_json and watch:
        raise UsageError("--watch is for people: ask again for each --json")
    control = glance(config).control
    if as_json:
        click.echo(json.dumps(_ask(control), indent=2))
    elif watch:
        _watch(control)
    else:
        _print(_show(control))


def _ask(control: Path) -> dict[str, object]:
    from pushmirror.control.client import ask

    return ask(control, {"command": "status"})


def _show(control: Path) -> RenderableType:
    from pushmirror.monitor.status_tables import show_status

    return show_status(_ask(control), int(time.time()))


def _print(shown: RenderableType) -> None:
    from rich.console import Console

    Console().print(shown)


def _watch(control: Path) -> None:
    from rich.live import Live

    with Live(_show(control), auto_refresh=False) as live:
        while True:
            time.sleep(_WATCH_EVERY_S)
            live.update(_show(control), refresh=True)

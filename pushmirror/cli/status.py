"""``pushmirror status``: what a running daemon knows, as tables or as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pushmirror.errors import UpstreamSilent, UsageError

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

    Exits with 1 when an upstream of a subscriber is silent, which is told on standard error as well, with 3 when the
    daemon is not running, and otherwise with 0, whatever the daemon said.
    """
    from pushmirror.settings.glance import glance

    if as_json and watch:
        raise UsageError("--watch is for people: ask again for each --json")
    control = glance(config).control
    if watch:
        _watch(control)
        return
    answer = _ask(control)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    else:
        _print(_show(answer))
    _check_upstreams(answer)


def _check_upstreams(answer: Mapping[str, object]) -> None:
    """Raises UpstreamSilent, for whoever watches the exit code, when nothing is heard from an upstream."""
    from pushmirror.monitor.upstreams import describe_silent

    silent = describe_silent(answer)
    if silent:
        raise UpstreamSilent("\n".join(silent))


def _ask(control: Path) -> dict[str, object]:
    from pushmirror.control.client import ask

    return ask(control, {"command": "status"})


def _show(answer: Mapping[str, object]) -> RenderableType:
    from pushmirror.monitor.status_tables import show_status

    return show_status(answer, int(time.time()))


def _print(shown: RenderableType) -> None:
    from rich.console import Console

    Console().print(shown)


def _watch(control: Path) -> None:
    from rich.live import Live

    with Live(_show(_ask(control)), auto_refresh=False) as live:
        while True:
            time.sleep(_WATCH_EVERY_S)
            live.update(_show(_ask(control)), refresh=True)

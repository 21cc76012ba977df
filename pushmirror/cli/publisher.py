"""``pushmirror publisher``: the Tier 1 daemon, in the foreground."""

from __future__ import annotations

from pathlib import Path

import click

from pushmirror.logs import LEVELS


@click.command("publisher")
@click.option(
    "--config", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Settings of the daemon."
)
@click.option("--log-level", type=click.Choice(list(LEVELS)), default="info", show_default=True, help="What is logged.")
def publisher(config: Path, log_level: str) -> None:
    """Run the Tier 1 daemon in the foreground.

    It signs and sends what `pushmirror publish` has announced, says that it is alive, hands out what subscribers have
    missed, and passes on the reports of the authorized nodes. SIGTERM and SIGINT stop it.
    """
    from pushmirror.cli.daemon import quick_start, run_daemon

    with quick_start():
        from pushmirror.publisher.service import make_service
        from pushmirror.settings.load import load_and_inspect_publisher

    settings = load_and_inspect_publisher(config)
    run_daemon(lambda reactor: make_service(settings, reactor), allow_root=settings.allow_root, log_level=log_level)

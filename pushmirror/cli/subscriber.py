"""``pushmirror subscriber``: the Tier 2 daemon, in the foreground."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("subscriber")
@click.option("--config", type=click.Path(path_type=Path), required=True, help="The subscriber's settings file.")
@click.option("--log-level", default="info", show_default=True, help="debug, info, warning or error.")
def subscriber(config: Path, log_level: str) -> None:
    """Follow the upstreams and keep the trees in step with them, until SIGTERM or SIGINT."""
    from pushmirror.cli.daemon import quick_start, run_daemon

    with quick_start():
        from pushmirror.settings.load import load_and_inspect_subscriber
        from pushmirror.subscriber.service import make_service

    settings = load_and_inspect_subscriber(config)
    run_daemon(lambda reactor: make_service(settings, reactor), allow_root=settings.allow_root, log_level=log_level)

"""``pushmirror rotate-key``: a new key for the publisher, signed by the one in use."""

from __future__ import annotations

import time
from pathlib import Path

import click

from pushmirror.errors import UsageError


@click.command("rotate-key")
@click.option("--overlap", metavar="T", help="How long the old key counts; the setting key_overlap if absent.")
@click.option(
    "--config", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The publisher's settings."
)
def rotate_key(overlap: str | None, config: Path) -> None:
    """Exchange the publisher's key for a new one, which the old one signs, and announce it.

    Prints the new public key, one line, on standard output. Both keys count for the overlap. Subscribers with
    accept_rotation follow by themselves; the others need the new line in their settings before the overlap ends. A
    rotation that was interrupted is finished by the next call.
    """
    from pushmirror.control.client import wake
    from pushmirror.publisher.identity import Identity
    from pushmirror.publisher.rotating import Rotator
    from pushmirror.settings.glance import glance
    from pushmirror.settings.roles import PUBLISHER

    settings = glance(config)
    if settings.role != PUBLISHER or settings.key is None:
        raise UsageError(f"{config}: these are the settings of a {settings.role}; only a publisher's key is exchanged")
    overlap_ms = settings.key_overlap_ms if overlap is None else _read_overlap(overlap)
    identity = Identity(settings.name, settings.topic_prefix or "", settings.environment or "")
    rotator = Rotator(settings.key, settings.state_dir, identity, overlap_ms, lambda: time.time_ns() // 1_000_000)
    rotation, new = rotator.rotate()
    woken = wake(settings.control)
    click.echo(f"{rotation.new} {settings.name}")
    click.echo(_next_steps(settings.key, rotation.until_ms, new=new, woken=woken), err=True)


def _read_overlap(text: str) -> int:
    from pushmirror.core.rotation import MAX_OVERLAP_MS
    from pushmirror.settings.units import parse_duration_ms

    try:
        overlap_ms = parse_duration_ms(text)
    except ValueError as error:
        raise UsageError(f"--overlap: {error}") from error
    if overlap_ms > MAX_OVERLAP_MS:
        raise UsageError("--overlap: at most 366d: a key that is given up is to end some day")
    return overlap_ms


def _next_steps(key: Path, until_ms: int, *, new: bool, woken: bool) -> str:
    until = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(until_ms // 1000))
    begun = "" if new else "\nA rotation that was interrupted before is finished; this is its key, and no newer one.\n"
    daemon = "" if woken else "\nThe daemon was not told: it notices within seconds, or when it is started."
    return (
        f"{begun}\nThe new key is in {key}; the old one counts until {until} and lies beside it.\n"
        "Subscribers with accept_rotation follow by themselves. To the operators of all others send the line above:\n"
        f"they add it to upstreams.NAME.keys, and remove the old one afterwards.{daemon}"
    )

"""``pushmirror tail``: follow announcements and reports on the bus, one line each."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import time
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pushmirror.errors import UsageError

if TYPE_CHECKING:
    from pushmirror.monitor.feeds import Feeds
    from pushmirror.monitor.selection import Selection


@click.command("tail")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A settings file of either daemon: says where to listen, and whom to believe.",
)
@click.option(
    "--endpoint", "endpoints", multiple=True, metavar="URL", help="Listen here, tcp://HOST:PORT; nothing is verified."
)
@click.option("--curve", metavar="KEY", help="With --endpoint: the public CURVE key of a bus that is encrypted.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, with the whole message.")
@click.option("--topic", metavar="T", help="Only these: tree.updated, sync, failed, or the beginning of a topic.")
@click.option("--tree", metavar="T", help="Only what is about this tree.")
@click.option("--node", metavar="N", help="Only the reports of this node.")
@click.option("--heartbeats", is_flag=True, help="Show heartbeats too.")
def tail(
    config: Path | None,
    endpoints: tuple[str, ...],
    curve: str | None,
    as_json: bool,
    topic: str | None,
    tree: str | None,
    node: str | None,
    heartbeats: bool,
) -> None:
    """Follow the bus until Ctrl-C.

    With the settings of a publisher or a subscriber every message is verified against the keys in them. A line with a
    question mark was not: it says why, and may come from anybody.
    """
    from pushmirror.monitor.selection import Selection

    feeds = _find_feeds(config, endpoints, curve)
    for note in feeds.notes:
        click.echo(f"pushmirror: note: {note}", err=True)
    _print_messages(feeds, Selection(topic, tree, node, heartbeats), as_json=as_json)


def _find_feeds(config: Path | None, endpoints: tuple[str, ...], curve: str | None) -> Feeds:
    from pushmirror.monitor import feeds

    if config is not None and endpoints:
        raise UsageError("give either --config, which says where to listen, or --endpoint")
    if config is not None and curve is not None:
        raise UsageError("--curve is for --endpoint; a settings file says itself which keys there are")
    if config is not None:
        return feeds.from_settings(config)
    if endpoints:
        return feeds.from_endpoints(endpoints, curve)
    raise UsageError("where to? Give --config FILE (settings of either daemon), or --endpoint tcp://HOST:PORT")


def _print_messages(feeds: Feeds, selection: Selection, *, as_json: bool) -> None:
    from pushmirror.monitor.follow import Follower
    from pushmirror.monitor.lines import format_json, format_line

    render = format_json if as_json else format_line
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    with _stop_on_signals() as stop, Follower(feeds.feeds, _clock_ms, stop=stop, output=_output()) as follower:
        for arrival in follower.messages():
            if selection.takes(arrival.heard):
                sys.stdout.write(f"{render(arrival)}\n")
                sys.stdout.flush()


def _clock_ms() -> int:
    return time.time_ns() // 1_000_000


def _output() -> int | None:
    """Return the descriptor of standard output, or None where there is none behind it."""
    try:
        return sys.stdout.fileno()
    except (OSError, ValueError):
        return None


@contextlib.contextmanager
def _stop_on_signals() -> Iterator[int]:
    """Return a descriptor that becomes readable on SIGINT and SIGTERM, which do nothing else inside the block."""
    reading, writing = socket.socketpair()
    with reading, writing:
        writing.setblocking(False)
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, lambda *_: None) for number in signals}
        descriptor_before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        try:
            yield reading.fileno()
        finally:
            signal.set_wakeup_fd(descriptor_before)
            for number, handler in before.items():
                signal.signal(number, handler)

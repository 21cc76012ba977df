"""A subscriber's client alone, as a program: ``python -m tests.http.history_client URL KEY EPOCH [CA]``.

Fetches the whole history of the tree ``debian``, and prints as JSON what it got and how much memory that took.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

from pushmirror.http.trust import Trust
from pushmirror.keys import parse_public_line
from pushmirror.subscriber.service_client import ServiceClient


def peak_bytes() -> int:
    """Return the most memory that this process ever had."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


async def fetch(reactor: Any, url: str, key: str, epoch: str, authorities: str | None = None) -> None:
    trust = Trust(Path(authorities) if authorities else None)
    keys = [parse_public_line(key)]
    client = ServiceClient(reactor, url, "mirror.example.org", lambda tree: keys, "org.example", "prod", trust)
    await client.state("debian")
    before_bytes, begun_s = peak_bytes(), time.monotonic()
    updates = paths = after = pages = 0

    def take(heard: Any) -> None:
        nonlocal updates, paths, after
        updates, after = updates + 1, heard.update.serial
        paths += len(heard.changes.changed) if heard.changes else 0

    while await client.updates("debian", epoch, after, take):
        pages += 1
    seconds = round(time.monotonic() - begun_s, 2)
    grown_bytes = peak_bytes() - before_bytes
    print(json.dumps({"updates": updates, "paths": paths, "pages": pages, "grown": grown_bytes, "seconds": seconds}))


if __name__ == "__main__":
    from twisted.internet import reactor
    from twisted.internet.defer import ensureDeferred
    from twisted.internet.task import react

    react(lambda _: ensureDeferred(fetch(reactor, *sys.argv[1:])))

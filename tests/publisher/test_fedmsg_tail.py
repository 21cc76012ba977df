"""fedmsg's own ``fedmsg-tail``, pointed at our endpoint, prints our messages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.publisher.daemon import Publisher
from tests.support.processes import Program

pytestmark = pytest.mark.slow

TAIL = Path(sys.executable).parent / "fedmsg-tail"


@pytest.mark.skipif(not TAIL.exists(), reason="fedmsg-tail is not installed: pip install 'fedmsg[commands]'")
@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (
            [],
            ["'topic': 'org.example.prod.pushmirror.tree.updated'", "'changed': ['pool/a.deb']", "'crypto': 'ed25519'"],
        ),
        (["--no-validate", "--really-pretty", "--exclude", "heartbeat"], ["tree.updated", "pool/a.deb"]),
        (["--include", "tree.updated", "--query", "msg.list.changed"], ["['pool/a.deb']"]),
    ],
)
def test_fedmsg_tail_prints_our_messages(tmp_path: Path, options: list[str], parts: list[str]) -> None:
    """An announcement made while it follows the endpoint is printed, in each of its formats."""
    publisher = Publisher(tmp_path)
    settings = tmp_path / "fedmsg_settings.py"
    settings.write_text(f"config = dict(endpoints={{'mirror': ['{publisher.endpoint}']}}, validate_signatures=False)\n")
    topic = ["--topic", "org.example.prod.pushmirror"]
    tail = Program(
        ["--config-filename", settings, *topic, *options],
        command=[str(TAIL)],
        log_path=tmp_path / "tail.log",
        environment={"HOME": str(tmp_path), "TERM": "dumb"},
        working_directory=tmp_path,
    )
    with publisher.daemon() as daemon, tail:
        daemon.wait_for_line("ready")
        # fedmsg-tail does not say when it listens: it is told something new until it has printed something.
        for _ in range(30):
            publisher.announce()
            if parts[0] in tail.log_text():
                break
        for part in parts:
            tail.wait_for_line(part)

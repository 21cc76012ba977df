"""Slow and malformed clients against a real publisher, and what they cost an honest one beside them."""

from __future__ import annotations

import http.client
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.http.attacks import ATTACKS
from tests.publisher.daemon import Publisher
from tests.support.processes import REPOSITORY, Program, clean_environment
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

STATE = "/v1/trees/debian?nonce=12345678"
ATTACK_SECONDS = 1.0
MAX_SLOW_SECONDS = 1.0
MAX_MEDIAN_SECONDS = 0.05
MAX_GROWTH_BYTES = 30_000_000


class Target:
    """A running publisher with one long list, and an honest client of it."""

    def __init__(self, publisher: Publisher, daemon: Program) -> None:
        self.publisher, self.daemon = publisher, daemon
        self.port = urlsplit(publisher.service).port or 0
        self.honest = "127.0.0.2"

    def ask(self, path: str = STATE) -> tuple[int, float]:
        """Return the status of an answer, and how many seconds it took from the connection on."""
        begun_s = time.monotonic()
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10, source_address=(self.honest, 0))
        with closing(client):
            client.request("GET", path)
            answer = client.getresponse()
            answer.read()
            return answer.status, time.monotonic() - begun_s

    def memory_bytes(self, field: str = "VmHWM") -> int:
        """Return what the daemon needs (VmRSS), or needed at most (VmHWM)."""
        text = Path(f"/proc/{self.daemon.pid}/status").read_text()
        return int(re.search(rf"{field}:\s+(\d+) kB", text)[1]) * 1024  # type: ignore[index]  # it is always there

    def descriptors(self) -> int:
        """Return how many descriptors the daemon has open."""
        return len(list(Path(f"/proc/{self.daemon.pid}/fd").iterdir()))


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    publisher = Publisher(tmp_path_factory.mktemp("publisher"))
    names = b"\n".join(b"pool/%06d/%s" % (number, b"x" * 80) for number in range(50_000))
    with publisher.daemon() as daemon:
        daemon.wait_for_socket(publisher.control)
        assert publisher.publish("debian", "--paths-from", "-", "--force", stdin=names).returncode == 0
        target = Target(publisher, daemon)
        wait_until(lambda: target.ask()[0] == 200, what="an answer")
        yield target


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_costs_an_honest_client_nothing(target: Target, name: str) -> None:
    """The honest client is served within a second each time, the daemon's memory is bounded, and nothing is left."""
    epoch = target.publisher.status()["epoch"]
    path = f"/v1/trees/debian/updates?epoch={epoch}&after=0"
    target.honest = f"127.0.1.{list(ATTACKS).index(name) + 1}"  # with limits of its own for each attack
    assert target.ask(path)[0] == 200
    descriptors, memory_bytes = target.descriptors(), target.memory_bytes("VmRSS")
    alone = [target.ask()[1] for _ in range(20)]
    attack = subprocess.Popen(
        [sys.executable, "-m", "tests.http.attacks", name, str(target.port), str(ATTACK_SECONDS), path],
        cwd=REPOSITORY, env=clean_environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    beside = []
    while attack.poll() is None:
        status, seconds = target.ask()
        assert status == 200
        beside.append(seconds)
    grown_bytes = max(0, target.memory_bytes("VmRSS") - memory_bytes)
    print(f"{name}: {attack.communicate()[0].strip()} times; {len(beside)} honest requests, "
          f"median {1000 * statistics.median(beside):.1f} ms, slowest {1000 * max(beside):.1f} ms, "
          f"alone {1000 * statistics.median(alone):.1f} ms; grown by {grown_bytes // 1024} KiB")  # fmt: skip
    assert attack.returncode == 0
    assert len(beside) >= 5 and max(beside) < MAX_SLOW_SECONDS
    assert statistics.median(beside) < max(MAX_MEDIAN_SECONDS, 10 * statistics.median(alone))
    assert grown_bytes < MAX_GROWTH_BYTES
    wait_until(lambda: target.descriptors() <= descriptors, what="descriptors that are given back")
    assert "Traceback" not in target.daemon.log_text()

"""A publisher and a subscriber at work, an attacker at each of them, and what an operator sees of it from outside."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pushmirror.control.client import ask
from pushmirror.core.messages import UPDATED, topic
from pushmirror.keys import generate_key_file
from tests.support.ports import free_port
from tests.support.processes import REPOSITORY, Program, clean_environment
from tests.support.world import PUBLISHER, TREE, Subscriber, World

RELAYS = ("r1.example.net", "r2.example.net")
PROBE_S = 0.1


@dataclass(frozen=True)
class Scale:
    """How much there is of both attacks, and how fast: messages and requests in a second."""

    frames: int
    frames_rate: int
    requests: int
    requests_rate: int


@dataclass
class Probe:
    """Asks a daemon for its status every tenth of a second: it answers from the reactor in which its timers run."""

    control: Path = field(repr=False)
    program: Program = field(repr=False)
    asked: int = 0
    slowest_s: float = 0.0
    machine_late_s: float = 0.0
    """By how much a timer of ours was late at most: so little time has this machine for anybody."""
    logged_bytes: int = 0
    memory: list[int] = field(default_factory=list, repr=False)
    """In bytes, each time that it was asked."""
    _ending: threading.Event = field(default_factory=threading.Event, repr=False)

    def run(self) -> None:
        """Ask until `end`, and note each time how much memory and log there is."""
        logged = self._log_bytes()
        while not self._ending.is_set():
            begun_s = time.monotonic()
            ask(self.control, {"command": "status"})
            took_s = time.monotonic() - begun_s
            self.asked += 1
            self.slowest_s = max(self.slowest_s, took_s)
            self.memory.append(memory_bytes(self.program.pid))
            self.logged_bytes = self._log_bytes() - logged
            pause_s = max(0.0, PROBE_S - took_s)
            due_s = time.monotonic() + pause_s
            self._ending.wait(pause_s)
            self.machine_late_s = max(self.machine_late_s, time.monotonic() - due_s)

    @property
    def grown_bytes(self) -> int:
        """By how much the memory grew at most."""
        return max(self.memory) - self.memory[0]

    @property
    def grew_late_bytes(self) -> int:
        """By how much of that in the second half of the time."""
        half = len(self.memory) // 2
        return max(self.memory) - max(self.memory[: half + 1])

    def _log_bytes(self) -> int:
        return self.program.log_path.stat().st_size

    def end(self) -> None:
        """Ask no more."""
        self._ending.set()


def memory_bytes(pid: int) -> int:
    """Return how much memory a process has, as the kernel counts it."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", text)[1]) * 1024  # type: ignore[index]  # Linux always has it


@dataclass(frozen=True)
class Seen:
    """What was seen of a flood: `sent` messages by their sort, `answers` to requests by status, what each daemon's
    probe says, and how long an honest change took, from its announcement to its place, before and meanwhile."""

    seconds: float
    sent: dict[str, int]
    answers: dict[str, int]
    usual_ms: list[int]
    during_ms: list[int]
    subscriber: Probe
    publisher: Probe
    heartbeats: int
    connections: int
    """To the rsync daemon; each honest change takes one."""
    dropped: dict[str, int]


class Siege:
    """The attacker of the bus stands between both, and is two relays besides."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self._folder = folder
        self._stack = ExitStack()
        generate_key_file(folder / "stranger", "stranger")
        self._doors = [f"tcp://127.0.0.1:{free_port()}" for _ in range(1 + len(RELAYS))]
        self.subscriber: Subscriber = world.add_subscriber()
        upstream = self.subscriber.settings["upstreams"][PUBLISHER]
        upstream["publish"] = self._doors[0]
        key = (folder / "stranger.pub").read_text().strip()
        upstream["relays"] = {
            name: {"publish": door, "service": f"http://127.0.0.1:{free_port()}", "keys": [key]}
            for name, door in zip(RELAYS, self._doors[1:], strict=True)
        }
        self._serial = 0

    @property
    def control(self) -> Path:
        """The control socket of the publisher."""
        return self.world.publisher_folder / "control.sock"

    def publisher_status(self) -> dict[str, Any]:
        """Return the status of the publisher."""
        return ask(self.control, {"command": "status"})

    def dropped(self) -> Counter[str]:
        """Return what the subscriber has dropped on all three connections, by cause."""
        upstream = self.subscriber.status()["upstreams"][PUBLISHER]
        found = Counter(upstream["dropped"])
        for relay in upstream["relays"].values():
            found.update(relay["dropped"])
        return found

    def work(self) -> int:
        """Change a file and announce it; return after how many milliseconds it was in place."""
        self._serial += 1
        (self.world.tree / "file").write_text(f"content {self._serial}")
        assert self.world.publish("--path", "file") == self._serial
        job = self.subscriber.wait_exact(self._serial)["last_sync"]
        assert (self.subscriber.mirror / "file").read_text() == f"content {self._serial}"
        return int(job["lag_ms"])

    def begin(self, scale: Scale) -> subprocess.Popen[str]:
        """Start the attacker of the bus, who is a good bus for now, and the subscriber behind it."""
        status = self.publisher_status()
        followed = {"publisher": PUBLISHER, "tree": TREE, "epoch": status["epoch"], "serial": 0, "digest": None}
        bus = self._start(
            "flooding", above=self.world.publish_endpoint, doors=self._doors, relays=RELAYS, followed=followed,
            pinned=str(self.world.publisher_folder / "key"), updated=topic("org.example", "test", UPDATED),
            count=scale.frames, rate=scale.frames_rate,
        )  # fmt: skip
        assert _read_word(bus) == "ready"
        self.subscriber.start()
        self.subscriber.wait_exact(0)
        return bus

    def ask_for_much(self, scale: Scale) -> subprocess.Popen[str]:
        """Start the attacker of the service, who begins at once."""
        return self._start(
            "asking", port=urlsplit(self.world.service_url).port, tree=TREE, epoch=self.publisher_status()["epoch"],
            node=self.subscriber.name, node_key=str(self.subscriber.folder / "key"), publisher=PUBLISHER,
            addresses=8, connections=16, count=scale.requests, rate=scale.requests_rate,
        )  # fmt: skip

    def _start(self, name: str, **orders: Any) -> subprocess.Popen[str]:
        path = self._folder / f"{name}.json"
        path.write_text(json.dumps({"seed": 1, "stranger": str(self._folder / "stranger"), **orders}))
        # An attacker has machines of his own; on this one he gets the time that the daemons leave.
        process = subprocess.Popen(
            ["nice", "-n", "19", sys.executable, "-m", f"tests.hostile.{name}", path],
            cwd=REPOSITORY, env=clean_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._stack.callback(process.wait, 10)
        self._stack.callback(process.kill)
        return process

    @contextmanager
    def watched(self) -> Iterator[tuple[Probe, Probe]]:
        """Watch subscriber and publisher."""
        here = Probe(self.subscriber.folder / "control.sock", self.subscriber.program)
        there = Probe(self.control, self.world.publisher)
        threads = [threading.Thread(target=probe.run, daemon=True) for probe in (here, there)]
        for thread in threads:
            thread.start()
        try:
            yield here, there
        finally:
            for probe, thread in zip((here, there), threads, strict=True):
                probe.end()
                thread.join(10)

    def withstand(self, scale: Scale, *, usual: int = 5) -> Seen:
        """Let both attacks come while honest work goes on, after so many pieces of it without them."""
        bus = self.begin(scale)
        usual_ms = [self.work() for _ in range(usual)]
        connections, heartbeat = len(self.world.rsyncd.connections()), self.publisher_status()["heartbeat"]
        during_ms, words, before = [], [], self.dropped()
        with self.watched() as (here, there):
            started = time.monotonic()
            web = self.ask_for_much(scale)
            print("go", file=bus.stdin, flush=True)
            listening = threading.Thread(target=lambda: words.append(_read_word(bus)), daemon=True)
            listening.start()
            while listening.is_alive() or web.poll() is None or not during_ms:
                during_ms.append(self.work())
            seconds = time.monotonic() - started
        return Seen(
            seconds, json.loads(words[0]), json.loads(web.communicate()[0]), usual_ms, during_ms, here, there,
            self.publisher_status()["heartbeat"] - heartbeat, len(self.world.rsyncd.connections()) - connections,
            dict(self.dropped() - before),
        )  # fmt: skip

    def close(self) -> None:
        """End the attackers."""
        self._stack.close()


def _read_word(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()

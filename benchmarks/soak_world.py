"""The world of a soak: a publisher, three mirrors below it, two more below one of these; and what goes wrong there."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.soak_samples import Daemon
from tests.faults.scene import BALLAST_BYTES, Scene
from tests.support.bus_proxy import BusProxy, Mischief
from tests.support.ports import free_port
from tests.support.process_tree import kill, rsyncs_below
from tests.support.rsyncd import RsyncDaemon
from tests.support.tcp_proxy import TcpProxy
from tests.support.walks import WalkRecord
from tests.support.world import PUBLISHER, TREE, Subscriber, wait_until_it_answers

RELAY = "relay.example.net"
MOST_CHANGES = 20
LONGEST_TROUBLE_S = 12.0
END_DEADLINE_S = 300.0
HEAL_AGAIN_S = 0.5
PUBLISHER_LEFT_ALONE_SHARE = 0.7
"""In the last part of the soak the publisher is not restarted, so that growth of its memory would show."""

Heal = Callable[[], None]


class SoakWorld:
    """Five mirrors in two tiers, in a ``with`` block; all that happens is decided by `chance`.

    ``steady`` and ``leaf-steady`` are never stopped. ``shaky`` hears a bus that loses a fifth; ``relay`` hands on what
    it has to both leaves, one of which knows nobody else.
    """

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self._chance = chance
        self._stack = contextlib.ExitStack()
        self.scene = self._stack.enter_context(Scene(folder, seed=chance.randrange(10**6)))
        self._folder = folder
        self._troubled: dict[str, tuple[float, Heal]] = {}
        self.told: list[str] = []

    def __enter__(self) -> SoakWorld:
        with contextlib.ExitStack() as stack:
            stack.push(self._stack)
            self._build()
            stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    # --- who is there

    def _build(self) -> None:
        scene = self.scene
        self._bus = self._proxy(scene.publish_endpoint)
        self._service = self._proxy(scene.service_url)
        lossy = BusProxy(scene.publish_endpoint, random.Random(self._chance.random()), Mischief())
        self._lossy = self._stack.enter_context(lossy)
        self._steady = scene.add_subscriber("steady.example.net")
        self._shaky = self._reached_by(scene.add_subscriber("shaky.example.net"), self._lossy.endpoint)
        self._relay = self._reached_by(scene.add_subscriber(RELAY), f"tcp://127.0.0.1:{self._bus.port}")
        self._make_relay()
        self._leaf_steady = self._leaf("leaf-steady.example.net")
        self._leaf_shaky = self._leaf("leaf-shaky.example.net", knows_origin=True)
        scene.start_publisher()
        scene.start_mirrors()
        self._relay_record_start = len(self._relay_record.walks(self._relay_rsyncd))
        self.daemons = [Daemon("publisher", scene.publisher)]
        self.daemons += [Daemon(node.name.split(".")[0], node.program) for node in scene.subscribers]

    def _proxy(self, url: str) -> TcpProxy:
        port = urlsplit(url).port
        assert port is not None
        return self._stack.enter_context(TcpProxy(port))

    def _reached_by(self, subscriber: Subscriber, publish: str) -> Subscriber:
        service = f"http://127.0.0.1:{self._service.port}"
        subscriber.settings["upstreams"][PUBLISHER] |= {"publish": publish, "service": service}
        return subscriber

    def _make_relay(self) -> None:
        place = self._folder / "relay-rsyncd"
        place.mkdir()
        self._relay_record = WalkRecord(place, BALLAST_BYTES)
        daemon = RsyncDaemon(place, {TREE: self._relay.mirror}, extra=self._relay_record.settings())
        self._relay_rsyncd = self._stack.enter_context(daemon)
        self._relay_endpoints = {
            "publish": f"tcp://127.0.0.1:{free_port()}",
            "service": f"http://127.0.0.1:{free_port()}",
        }
        nodes = str(self.scene.publisher_folder / "authorized_nodes")
        self._relay.settings["relay"] = {**self._relay_endpoints, "heartbeat": "1s", "authorized_nodes": nodes}

    def _leaf(self, name: str, *, knows_origin: bool = False) -> Subscriber:
        leaf = self.scene.add_subscriber(name)
        upstream, tree = leaf.settings["upstreams"][PUBLISHER], leaf.settings["trees"][TREE]
        upstream["relays"] = {RELAY: {**self._relay_endpoints, "keys": [self._relay.key.line]}}
        origin = tree.pop("source")
        tree["sources"] = [{"url": self._relay_rsyncd.url(TREE), "relay": RELAY}]
        if knows_origin:
            tree["sources"].append(origin)
        else:
            del upstream["publish"], upstream["service"]
        return leaf

    # --- what happens

    def publish(self) -> int:
        """Change something and announce it; return the serial."""
        touched = {self.scene.edit()[1] for _ in range(self._chance.randint(1, MOST_CHANGES))}
        there = {name: (self.scene.tree / name).exists() for name in sorted(touched)}
        return self.scene.announce(*(f"{'--path' if exists else '--delete'}={name}" for name, exists in there.items()))

    def make_trouble(self, share_done: float) -> None:
        """Let something go wrong that is not wrong already; `share_done` of the soak is over."""
        troubles: list[tuple[str, Callable[[], Heal | None]]] = [
            (node.name, trouble)
            for node in (self._shaky, self._relay, self._leaf_shaky)
            for trouble in (
                lambda node=node: self._kill(node),
                lambda node=node: self._stop(node),
                lambda node=node: self._restore(node),
            )
        ]
        for node in self.scene.subscribers:
            troubles.append((node.name, lambda node=node: self._pause(node)))
            troubles.append((f"rsync of {node.name}", lambda node=node: self._kill_rsyncs(node)))
        troubles += [
            ("rsync daemon", lambda: self._stop_rsyncd(self.scene.rsyncd)),
            ("relay's rsync daemon", lambda: self._stop_rsyncd(self._relay_rsyncd)),
            ("network", lambda: self._disturb(self._bus)),
            ("network to the service", lambda: self._disturb(self._service)),
            (PUBLISHER, self._freeze_publisher),
        ]
        if share_done < 1 - PUBLISHER_LEFT_ALONE_SHARE:
            troubles.append((PUBLISHER, self._kill_publisher))
        name, trouble = self._chance.choice(troubles)
        if name not in self._troubled:
            heal = trouble()
            if heal is not None:
                self._troubled[name] = (time.monotonic() + self._chance.random() * LONGEST_TROUBLE_S, heal)

    def heal(self, *, everything: bool = False) -> None:
        """End the troubles that have lasted long enough, or all."""
        now = time.monotonic()
        for name, (end, heal) in list(self._troubled.items()):
            if everything or end <= now:
                del self._troubled[name]
                heal()

    def _kill(self, node: Subscriber) -> Heal:
        self._tell(f"{node.name}: killed")
        node.program.kill_alone()
        return node.program.start

    def _stop(self, node: Subscriber) -> Heal:
        self._tell(f"{node.name}: stopped")
        node.program.terminate(deadline_seconds=30)
        return node.program.start

    def _restore(self, node: Subscriber) -> Heal:
        """Bring the state back to the last backup, and make a new one, so that the next one brought back is old."""
        self._tell(f"{node.name}: ledger restored")
        node.program.terminate(deadline_seconds=30)
        state, backup, current = node.folder / "state", node.folder / "backup", node.folder / "current"
        shutil.copytree(state, current)
        if backup.exists():
            shutil.rmtree(state)
            backup.rename(state)
        current.rename(backup)
        return node.program.start

    def _pause(self, node: Subscriber) -> Heal | None:
        if not self._ask(node, "pause"):
            return None
        self._tell(f"{node.name}: paused")
        return lambda: self._resume(node)

    def _resume(self, node: Subscriber) -> None:
        """Resume a node that may be off at the moment: then it is tried again when all is healed."""
        if not self._ask(node, "resume"):
            self._troubled[f"{node.name} still paused"] = (time.monotonic() + 1, lambda: self._resume(node))

    @staticmethod
    def _ask(node: Subscriber, command: str) -> bool:
        with contextlib.suppress(Exception):  # it may be off, or about to be
            node.ask(command)
            return True
        return False

    def _kill_rsyncs(self, node: Subscriber) -> None:
        found = rsyncs_below(node.program.pid) if node.program.running else []
        for process_id in found:
            kill(process_id)
        if found:
            self._tell(f"{node.name}: rsync killed")

    def _stop_rsyncd(self, daemon: RsyncDaemon) -> Heal:
        self._tell(f"rsync daemon on port {daemon.port}: stopped")
        daemon.stop()
        return daemon.start

    def _disturb(self, proxy: TcpProxy) -> Heal:
        how = self._chance.choice((proxy.cut, proxy.swallow, proxy.hold))
        self._tell(f"network: {how.__name__}")
        how()
        return proxy.release

    def _freeze_publisher(self) -> Heal:
        self._tell("publisher: frozen")
        self.scene.publisher.send(signal.SIGSTOP)
        return lambda: self.scene.publisher.send(signal.SIGCONT)

    def _kill_publisher(self) -> Heal:
        self._tell("publisher: killed")
        self.scene.publisher.kill_alone()
        return self.scene.publisher.start

    def _tell(self, what: str) -> None:
        self.told.append(what)

    # --- the end

    def end_exact(self) -> None:
        """Heal everything, wait until every mirror is exact, and compare. Raises AssertionError when one is not."""
        deadline = time.monotonic() + END_DEADLINE_S
        while self._troubled and time.monotonic() < deadline:
            self.heal(everything=True)
            time.sleep(HEAL_AGAIN_S)  # what was started a moment ago takes no commands yet
        for node in self.scene.subscribers:
            wait_until_it_answers(node.program, node.folder / "control.sock")
        serial = self.publish()
        for node in self.scene.subscribers:
            node.wait_exact(serial, deadline_seconds=END_DEADLINE_S)
        for node in self.scene.subscribers:
            node.assert_exact()

    def stop(self) -> None:
        """Stop every daemon as systemd does; what they complain of while they stop counts too."""
        for program in (*(node.program for node in self.scene.subscribers), self.scene.publisher):
            program.terminate(deadline_seconds=30)

    def full_syncs(self) -> int:
        """Return how many full syncs the rsync daemons of both tiers have seen since every mirror was filled."""
        below = self._relay_record.walks(self._relay_rsyncd)[self._relay_record_start :]
        return sum(not request.is_dry for request in (*self.scene.walks(), *below))

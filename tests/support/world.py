"""A Tier 1 and its Tier 2 mirrors on loopback, as separate processes against a real rsync daemon."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from pushmirror.control.client import ask
from pushmirror.core.curve import CurveKey
from pushmirror.curve import generate_curve_file
from pushmirror.errors import NotRunning
from pushmirror.keys import PublicKey, generate_key_file
from tests.support.compare import differences, rsync_differences
from tests.support.ports import free_port
from tests.support.processes import Program, run_pushmirror
from tests.support.rsyncd import RsyncDaemon
from tests.support.waiting import wait_until

TREE = "demo"
PUBLISHER = "t1.example.org"
_DEADLINE_SECONDS = 60.0


def wait_until_it_answers(program: Program, control: Path) -> None:
    """Return when the daemon `program` answers on its control socket; a killed one may have left the socket there."""

    def answers() -> bool:
        assert program.running, program.log_tail()
        try:
            ask(control, {"command": "status"})
        except NotRunning:
            return False
        return True

    wait_until(answers, deadline_seconds=_DEADLINE_SECONDS, what=f"{program.arguments} answers")


class Subscriber:
    """One mirror: its folder, its settings file and its daemon."""

    def __init__(self, world: World, name: str, tree_settings: Mapping[str, object]) -> None:
        self.name = name
        self.folder = world.folder / name
        self.mirror = self.folder / "mirror"
        self.config = self.folder / "subscriber.yaml"
        self.world = world
        self.mirror.mkdir(parents=True)
        (self.folder / "state").mkdir(mode=0o750)
        self.key = generate_key_file(self.folder / "key", name)
        self.curve: CurveKey | None = None
        self.settings: dict[str, Any] = {
            "name": name,
            "state_dir": str(self.folder / "state"),
            "key": str(self.folder / "key"),
            "control": str(self.folder / "control.sock"),
            "allow_root": os.geteuid() == 0,
            "upstreams": {
                PUBLISHER: {
                    "publish": world.publish_endpoint,
                    "service": world.service_url,
                    "topic_prefix": "org.example",
                    "environment": "test",
                    "keys": [world.publisher_key.line],
                }
            },
            "trees": {
                TREE: {
                    "upstream": PUBLISHER,
                    "source": world.source,
                    "path": str(self.mirror),
                    "coalesce": "0s",
                    **tree_settings,
                }
            },
        }
        self.program = Program(["subscriber", "--config", self.config], log_path=self.folder / "log")

    def make_relay(self, rsyncd_extra: str = "", **relay_settings: object) -> None:
        """Have it hand on what it applies, from its next start on. An rsync daemon serves its mirror from now on."""
        self.settings["relay"] = {
            "publish": f"tcp://127.0.0.1:{free_port()}",
            "service": f"http://127.0.0.1:{free_port()}",
            "authorized_nodes": str(self.folder / "authorized_nodes"),
            "heartbeat": "1s",
            **relay_settings,
        }
        self.rsyncd = self.world.serve(self.folder / "rsyncd", self.mirror, rsyncd_extra)
        self.world.authorize_nodes()

    def make_curve(self) -> None:
        """Give it a key by which private buses know it, from its next start on; the publisher and relays list it."""
        self.curve = generate_curve_file(self.folder / "curve", self.name)
        self.settings["curve"] = str(self.folder / "curve")
        self.world.authorize_nodes()

    @property
    def is_relay(self) -> bool:
        """Whether it hands on what it applies."""
        return "relay" in self.settings

    @property
    def source(self) -> str:
        """Where the mirror of a relay is read."""
        return self.rsyncd.url(TREE)

    def follow(self, *relays: Subscriber, origin: bool = False) -> None:
        """Follow and read from `relays`, in this order, and after them from the `origin`, or never; from its next start
        on."""
        upstream, tree = self.settings["upstreams"][PUBLISHER], self.settings["trees"][TREE]
        upstream["relays"] = {
            relay.name: {
                "publish": relay.settings["relay"]["publish"],
                "service": relay.settings["relay"]["service"],
                "keys": [relay.key.line],
            }
            for relay in relays
        }
        tree.pop("source", None)
        tree["sources"] = [{"url": relay.source, "relay": relay.name} for relay in relays]
        if origin:
            upstream |= {"publish": self.world.publish_endpoint, "service": self.world.service_url}
            tree["sources"].append(self.world.source)
        else:
            upstream.pop("publish", None)
            upstream.pop("service", None)

    def start(self) -> None:
        """Write the settings and start the daemon; returns when it answers."""
        self.write_settings()
        self.program.start()
        wait_until_it_answers(self.program, self.control)

    def write_settings(self) -> None:
        """Write the settings as they are now."""
        self.config.write_text(yaml.safe_dump(self.settings))

    @property
    def control(self) -> Path:
        """The control socket."""
        return Path(self.settings["control"])

    def command(self, *arguments: str) -> str:
        """Run a client command about this subscriber; returns what it printed. Fails when the command does."""
        done = run_pushmirror(*arguments, "--config", self.config)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def ask(self, command: str, **request: object) -> dict[str, Any]:
        """Ask the daemon over its control socket, about the tree."""
        return ask(self.control, {"command": command, "tree": TREE, **request})

    def status(self) -> dict[str, Any]:
        """Return the status of this node."""
        return self.ask("status")

    def tree(self) -> dict[str, Any]:
        """Return the status of the tree."""
        tree: dict[str, Any] = self.status()["trees"][TREE]
        return tree

    def dropped(self) -> dict[str, int]:
        """Return how many messages were dropped, by cause."""
        dropped: dict[str, int] = self.status()["upstreams"][PUBLISHER]["dropped"]
        return dropped

    def wait_for(self, what: str, condition: Any, *, deadline_seconds: float = _DEADLINE_SECONDS) -> dict[str, Any]:
        """Wait until `condition` holds for the status of the tree, and return that."""

        def check() -> dict[str, Any] | None:
            tree = self.tree()
            return tree if condition(tree) else None

        return wait_until(
            check, deadline_seconds=deadline_seconds, what=f"{self.name}: {what}\n{self.program.log_tail()}"
        )

    def wait_exact(self, serial: int, *, deadline_seconds: float = _DEADLINE_SECONDS) -> dict[str, Any]:
        """Wait until applied = cleaned = announced = `serial` and nothing runs."""

        def is_exact(tree: Mapping[str, Any]) -> bool:
            return (tree["applied"], tree["cleaned"], tree["announced"], tree["state"]) == (serial,) * 3 + ("idle",)

        return self.wait_for(f"exact at serial {serial}", is_exact, deadline_seconds=deadline_seconds)

    def assert_exact(self) -> None:
        """Fail when the mirror differs from Tier 1 in anything."""
        found = differences(self.world.tree, self.mirror)
        assert found == [], found
        told = rsync_differences(self.world.source, self.mirror)
        assert told == "", told


class World:
    """A publisher with one tree, its rsync daemon, and as many subscribers as a test adds; in a ``with`` block.

    `below` puts the tree into a sub-folder of the rsync module; `unprivileged` lets the rsync daemon read as a user who
    may not read everything, also when the tests run as root. `rsyncd_extra` is put into the rsync daemon's settings.
    """

    def __init__(
        self,
        folder: Path,
        *,
        below: str = "",
        use_chroot: bool = False,
        unprivileged: bool = False,
        rsyncd_extra: str = "",
    ) -> None:
        self.folder = folder
        self.module = folder / "tier1"
        self.tree = self.module / below if below else self.module
        self.tree.mkdir(parents=True)
        self.below = below
        as_nobody = unprivileged and os.geteuid() == 0
        self._use_chroot = use_chroot or as_nobody
        self._rsyncd_extra = rsyncd_extra + ("\nuid = nobody\ngid = nogroup" if as_nobody else "")
        self._stack = contextlib.ExitStack()
        self.subscribers: list[Subscriber] = []
        self.publisher_folder = folder / "publisher"
        self.publisher_folder.mkdir()
        (self.publisher_folder / "state").mkdir(mode=0o750)
        self.publisher_config = self.publisher_folder / "publisher.yaml"
        self.heartbeat = "1s"
        self.profile = "plain"
        self.curve: CurveKey | None = None
        self.publisher_extra: dict[str, Any] = {}
        self.publisher_key: PublicKey = generate_key_file(self.publisher_folder / "key", PUBLISHER)
        self.publish_endpoint = f"tcp://127.0.0.1:{free_port()}"
        self.service_url = f"http://127.0.0.1:{free_port()}"
        self.publisher = Program(
            ["publisher", "--config", self.publisher_config], log_path=self.publisher_folder / "log"
        )

    def __enter__(self) -> World:
        folder = self.folder / "rsyncd"
        folder.mkdir()
        daemon = RsyncDaemon(folder, {TREE: self.module}, use_chroot=self._use_chroot, extra=self._rsyncd_extra)
        self.rsyncd: RsyncDaemon = self._stack.enter_context(daemon)
        self.source = self.rsyncd.url(TREE, f"{self.below}/" if self.below else "")
        (self.publisher_folder / "authorized_nodes").touch()
        return self

    def encrypt(self) -> None:
        """Have the publisher's bus encrypted, from its next start on."""
        self.curve = generate_curve_file(self.publisher_folder / "curve", PUBLISHER)

    def write_publisher(self) -> None:
        """Write the publisher's settings as they are now."""
        settings: dict[str, Any] = {
            "name": PUBLISHER,
            "state_dir": str(self.publisher_folder / "state"),
            "key": str(self.publisher_folder / "key"),
            "bus": {"publish": self.publish_endpoint, "topic_prefix": "org.example", "environment": "test"},
            "service": self.service_url,
            "authorized_nodes": str(self.publisher_folder / "authorized_nodes"),
            "control": str(self.publisher_folder / "control.sock"),
            "allow_root": os.geteuid() == 0,
            "heartbeat": self.heartbeat,
            "trees": {TREE: {"path": str(self.tree), "url": self.source, "profile": self.profile}},
        }
        if self.curve is not None:
            settings["bus"]["curve"] = str(self.publisher_folder / "curve")
        self.publisher_config.write_text(yaml.safe_dump(settings | self.publisher_extra))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for program in (self.publisher, *(subscriber.program for subscriber in self.subscribers)):
            program.__exit__(kind, error, traceback)
        self._stack.__exit__(kind, error, traceback)

    def serve(self, folder: Path, module: Path, extra: str = "") -> RsyncDaemon:
        """Return a running rsync daemon that serves `module` as the tree; its files are in `folder`."""
        return self._stack.enter_context(RsyncDaemon(folder, {TREE: module}, extra=extra))

    def start_publisher(self) -> None:
        """Write the settings and start the publisher; returns when it answers."""
        self.write_publisher()
        self.publisher.start()
        control = self.publisher_extra.get("control", self.publisher_folder / "control.sock")
        wait_until_it_answers(self.publisher, Path(control))

    def add_subscriber(self, name: str = "t2.example.net", **tree_settings: object) -> Subscriber:
        """Return a new subscriber, known to the publisher and not started yet."""
        subscriber = Subscriber(self, name, tree_settings)
        self.subscribers.append(subscriber)
        self.authorize_nodes()
        return subscriber

    def authorize_nodes(self) -> None:
        """Have the publisher and every relay take the reports of all subscribers."""
        lines = "".join(f"{known.key.line} {known.name}\n" for known in self.subscribers)
        lines += "".join(f"{known.curve.line}\n" for known in self.subscribers if known.curve is not None)
        for folder in (self.publisher_folder, *(known.folder for known in self.subscribers if known.is_relay)):
            (folder / "authorized_nodes").write_text(lines)

    def publish(self, *arguments: str | Path, stdin: bytes = b"") -> int:
        """Announce with the real command; returns the serial that it printed."""
        done = run_pushmirror("publish", TREE, *arguments, "--config", self.publisher_config, stdin=stdin)
        assert done.returncode == 0, done.stderr.decode()
        return int(done.stdout)

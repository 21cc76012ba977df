"""The world of the demonstration: a folder with a Tier 1 and its mirrors, each with keys, settings and a daemon."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from pushmirror.cli.demo.processes import PUSHMIRROR, Processes
from pushmirror.cli.demo.rsyncd import compose_settings
from pushmirror.control.client import ask
from pushmirror.errors import NotRunning, PushmirrorError
from pushmirror.keys import PublicKey, generate_key_file

TREE = "archive"
PUBLISHER = "tier1.example.org"
PROOF = "proof"
START_DEADLINE_S = 30.0
_SETTINGS_HEAD = "# Written by pushmirror demo.\n"


@dataclass(frozen=True)
class Site:
    """One daemon's folder, with everything it needs."""

    name: str
    folder: Path

    @property
    def settings(self) -> Path:
        return self.folder / "settings.yaml"

    @property
    def control(self) -> Path:
        return self.folder / "control.sock"

    @property
    def key(self) -> Path:
        return self.folder / "key"

    @property
    def tree(self) -> Path:
        return self.folder / TREE

    def status(self) -> dict[str, Any] | None:
        """Return what the daemon tells of itself, None while it does not answer."""
        try:
            return dict(ask(self.control, {"command": "status"}))
        except NotRunning:
            return None

    def make(self) -> PublicKey:
        """Make the folders and the key; returns its public half."""
        (self.folder / "state").mkdir(parents=True)
        self.tree.mkdir()
        return generate_key_file(self.key, self.name)


class World:
    """Everything below `folder`; nothing runs before `start_upstream` and `start_mirrors`."""

    def __init__(self, folder: Path, mirrors: int, processes: Processes) -> None:
        self.folder = folder
        self.processes = processes
        self.tier1 = Site(PUBLISHER, folder / "tier1")
        self.mirrors = [Site(f"mirror{number}.example.net", folder / f"m{number}") for number in range(1, mirrors + 1)]
        self._bus, self._service, self._rsync = find_free_ports(3)
        self._public = self.tier1.make()
        node_keys = {mirror.name: mirror.make() for mirror in self.mirrors}
        lines = [f"{key.line} {node}\n" for node, key in node_keys.items()]
        (self.tier1.folder / "authorized_nodes").write_text("".join(lines))
        self._write_settings()

    def url(self, reader: str) -> str:
        """Return the rsync URL of the tree under the name by which `reader` is known to the rsync daemon."""
        return f"rsync://127.0.0.1:{self._rsync}/{reader}/"

    def start_upstream(self) -> None:
        """Start the rsync daemon and the publisher, and return when both answer."""
        config = self.folder / "rsyncd.conf"
        config.write_text(compose_settings(self.folder, self.tier1.tree, [*(m.name for m in self.mirrors), PROOF]))
        command = ["rsync", "--daemon", "--no-detach", f"--config={config}", f"--port={self._rsync}"]
        self.processes.start("the rsync daemon", [*command, "--address=127.0.0.1"], self.folder / "rsyncd.output")
        self._start(self.tier1, "publisher")
        self.processes.wait(lambda: accepts(self._rsync), "the rsync daemon takes connections", START_DEADLINE_S)
        self.processes.wait(self.tier1.status, "the publisher answers", START_DEADLINE_S)

    def start_mirrors(self) -> None:
        """Start the subscribers, and return when all of them answer."""
        for mirror in self.mirrors:
            self._start(mirror, "subscriber")
        for mirror in self.mirrors:
            self.processes.wait(mirror.status, f"{mirror.name} answers", START_DEADLINE_S)

    def wait_in_step(self, serial: int, deadline_s: float) -> None:
        """Return when every mirror has applied and cleaned `serial` and hears the bus."""
        for mirror in self.mirrors:
            what = f"{mirror.name} has applied and cleaned serial {serial}"
            self.processes.wait(partial(_is_in_step, mirror, serial), what, deadline_s)

    def _start(self, site: Site, role: str) -> None:
        command = [*PUSHMIRROR, role, "--config", str(site.settings)]
        self.processes.start(f"{role} {site.name}", command, site.folder / "log")

    def _write_settings(self) -> None:
        _write_yaml(
            self.tier1.settings,
            {
                **_common(self.tier1),
                "bus": {"publish": self._endpoint, "topic_prefix": "org.example", "environment": "demo"},
                "service": self._service_url,
                "authorized_nodes": str(self.tier1.folder / "authorized_nodes"),
                "heartbeat": "1s",
                "trees": {TREE: {"path": str(self.tier1.tree), "url": self.url(PROOF)}},
            },
        )
        for mirror in self.mirrors:
            tree = {"upstream": PUBLISHER, "source": self.url(mirror.name), "path": str(mirror.tree), "coalesce": "0s"}
            upstream = {
                "publish": self._endpoint,
                "service": self._service_url,
                "topic_prefix": "org.example",
                "environment": "demo",
                "keys": [self._public.line],
            }
            _write_yaml(mirror.settings, {**_common(mirror), "upstreams": {PUBLISHER: upstream}, "trees": {TREE: tree}})

    @property
    def _endpoint(self) -> str:
        return f"tcp://127.0.0.1:{self._bus}"

    @property
    def _service_url(self) -> str:
        return f"http://127.0.0.1:{self._service}"


def is_in_step(status: dict[str, Any] | None, serial: int) -> bool:
    """Tell whether a subscriber has everything up to `serial`, deletions too. Raises PushmirrorError when it failed."""
    if status is None:
        return False
    tree, upstream = status["trees"][TREE], status["upstreams"][PUBLISHER]
    if tree["state"] == "failed":
        raise PushmirrorError(f"{status['node']}: the sync failed: {tree['reason']}")
    reached = tree["announced"] == tree["applied"] == tree["cleaned"] >= serial
    return bool(reached and tree["state"] == "idle" and upstream["state"] == "connected")


def _is_in_step(site: Site, serial: int) -> bool:
    return is_in_step(site.status(), serial)


def _common(site: Site) -> dict[str, Any]:
    return {
        "name": site.name,
        "state_dir": str(site.folder / "state"),
        "key": str(site.key),
        "control": str(site.control),
        "allow_root": os.geteuid() == 0,
    }


def _write_yaml(path: Path, settings: dict[str, Any]) -> None:
    path.write_text(_SETTINGS_HEAD + yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")


def find_free_ports(count: int) -> list[int]:
    """Return ports on loopback that nobody listens on; all different."""
    with ExitStack() as probes:
        found = [probes.enter_context(socket.socket()) for _ in range(count)]
        for probe in found:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in found]


def accepts(port: int) -> bool:
    """Tell whether something takes connections on a port of loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True

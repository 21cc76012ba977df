"""A real publisher process for tests: its settings, its folders, and what it says to a plain ZeroMQ socket."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import zmq

from pushmirror.control.client import ask
from pushmirror.keys import PublicKey, generate_key_file
from tests.support.ports import free_port
from tests.support.processes import Program, run_pushmirror

TOPIC = "org.example.prod.pushmirror.tree."


class Publisher:
    """One publisher with the tree ``debian`` (a file, a symlink and a directory), not started yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tree = folder / "tree"
        self.state_dir = folder / "state"
        self.control = folder / "publisher.sock"
        self.config = folder / "publisher.yaml"
        self.nodes = folder / "authorized_nodes"
        self.endpoint = f"tcp://127.0.0.1:{free_port()}"
        self.service = f"http://127.0.0.1:{free_port()}"
        (self.tree / "pool").mkdir(parents=True)
        (self.tree / "pool" / "a.deb").write_bytes(b"content")
        (self.tree / "latest").symlink_to("pool/a.deb")
        self.state_dir.mkdir(mode=0o700)
        self.nodes.write_text("# no node yet\n")
        self.key: PublicKey = generate_key_file(folder / "publisher.key", "mirror.example.org")
        self.config.write_text(self._settings())

    def _settings(self) -> str:
        return f"""\
name: mirror.example.org
state_dir: {self.state_dir}
key: {self.folder / "publisher.key"}
bus:
  publish: {self.endpoint}
  topic_prefix: org.example
  environment: prod
service: {self.service}
authorized_nodes: {self.nodes}
control: {self.control}
allow_root: {str(os.geteuid() == 0).lower()}
heartbeat: 1s
trees:
  debian:
    path: {self.tree}
    url: rsync://mirror.example.org/debian/
    max_clients: 20
  fedora-updates:
    path: {self.state_dir.parent / "other"}
"""

    def daemon(self) -> Program:
        """Return the daemon, to be started by a ``with``."""
        (self.folder / "other").mkdir(exist_ok=True)
        return Program(["publisher", "--config", self.config], log_path=self.folder / "publisher.log")

    def publish(self, *arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run ``pushmirror publish`` to its end."""
        return run_pushmirror("publish", *arguments, "--config", self.config, stdin=stdin)

    def announce(self, *arguments: str) -> int:
        """Announce something in the tree ``debian`` and return the serial that was printed."""
        done = self.publish("debian", *(arguments or ("--path", "pool/a.deb")))
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    def status(self) -> dict[str, Any]:
        """Return what the daemon tells of itself."""
        return ask(self.control, {"command": "status"})


class Listener:
    """A plain SUB socket, of which the publisher knows nothing."""

    def __init__(self, endpoint: str, topic: str = TOPIC) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
        self._socket.connect(endpoint)

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close(linger=0)
        self._context.term()

    def hear(self, kind: str, *, deadline_seconds: float = 15) -> list[bytes]:
        """Return the frames of the next message whose topic ends with `kind`."""
        deadline = time.monotonic() + deadline_seconds
        while True:
            left_ms = int((deadline - time.monotonic()) * 1000)
            assert left_ms > 0 and self._socket.poll(left_ms), f"no {kind} was heard in {deadline_seconds:g} s"
            frames = self._socket.recv_multipart()
            if frames[0].decode().endswith(kind):
                return frames

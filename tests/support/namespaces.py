"""A second machine: a network namespace with a cable to this one, over which packets can be made to vanish."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from types import TracebackType

import pytest

from tests.support.processes import PUSHMIRROR

_NOWHERE = "02:00:00:00:00:01"
_numbers = itertools.count()


class FarMachine:
    """Another machine, in a ``with`` block. This one is `near_address` on the cable between them, that `far_address`.

    `command` starts ``pushmirror`` there. Without the right to make such a thing the test is skipped.
    """

    def __init__(self) -> None:
        if os.geteuid() != 0 or shutil.which("ip") is None:
            pytest.skip("a network namespace needs root and the program ip")
        number = next(_numbers)
        self._name = f"pm-{os.getpid()}-{number}"
        self._near, self._far = f"pmn{os.getpid() % 10**7}-{number}", f"pmf{os.getpid() % 10**7}-{number}"
        # Addresses that are set apart for such experiments (RFC 2544): four for each cable.
        first = (os.getpid() * 8 + number) % (1 << 14) * 4
        network = f"198.18.{first >> 8}"
        self.near_address, self.far_address = f"{network}.{first % 256 + 1}", f"{network}.{first % 256 + 2}"
        self.command = ("ip", "netns", "exec", self._name, *PUSHMIRROR)

    def __enter__(self) -> FarMachine:
        made = subprocess.run(["ip", "netns", "add", self._name], capture_output=True, check=False)
        if made.returncode != 0:
            pytest.skip(f"no network namespace can be made here: {made.stderr.decode().strip()}")
        self._ip("link", "add", self._near, "type", "veth", "peer", "name", self._far, "netns", self._name)
        self._ip("addr", "add", f"{self.near_address}/30", "dev", self._near)
        self._ip("link", "set", self._near, "up")
        self._there("addr", "add", f"{self.far_address}/30", "dev", self._far)
        self._there("link", "set", self._far, "up")
        self._there("link", "set", "lo", "up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        subprocess.run(["ip", "netns", "del", self._name], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", self._near], capture_output=True, check=False)

    def lose_packets(self) -> None:
        """Let packets vanish in both directions: nobody is told, and nothing is reset."""
        self._ip("neigh", "replace", self.far_address, "lladdr", _NOWHERE, "dev", self._near, "nud", "permanent")
        self._there("neigh", "replace", self.near_address, "lladdr", _NOWHERE, "dev", self._far, "nud", "permanent")

    def deliver_packets(self) -> None:
        """Let packets arrive again."""
        self._ip("neigh", "del", self.far_address, "dev", self._near)
        self._there("neigh", "del", self.near_address, "dev", self._far)

    def pull_cable(self) -> None:
        """Take the link down at this end."""
        self._ip("link", "set", self._near, "down")

    def plug_cable(self) -> None:
        """Take the link up again."""
        self._ip("link", "set", self._near, "up")

    def _there(self, *arguments: str) -> None:
        self._ip("-n", self._name, *arguments)

    @staticmethod
    def _ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], capture_output=True, check=True)

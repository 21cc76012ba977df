"""A mirror whose upstream turns bad: what it reads from is honest until a test says otherwise."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.hostile.daemon import FakeDaemon, Play, Session
from tests.support.compare import differences
from tests.support.waiting import wait_until
from tests.support.world import TREE, Subscriber, World

LIMITS = {
    "io_timeout": "1s",
    "connect_timeout": "1s",
    "no_progress": "2s",
    "least_rate": "10KB",
    "list_job_limit": "6s",
    "output_limit": "1MB",
    "memory_limit": "60MB",
    "missing_wait": "1h",
}
"""Each test meets one of them; none is met by an honest job on a tree of a few files."""


def take_turns(first: socket.socket, second: socket.socket) -> None:
    """Hand on what `first` sends to `second`, until one of them has gone."""
    with suppress(OSError):
        while data := first.recv(65536):
            second.sendall(data)
    for side in (first, second):
        with suppress(OSError):
            side.shutdown(socket.SHUT_RDWR)


class Scene:
    """One world with one mirror, and between it and the rsync daemon a door of ours."""

    def __init__(self, world: World, door: FakeDaemon) -> None:
        self.world = world
        self._door = door
        self.outside = world.folder / "outside"
        self.outside.mkdir()
        (self.outside / "precious").write_text("precious")
        (self.outside / "link").symlink_to("/nowhere")
        (self.outside / "folder").mkdir()
        self.mirror: Subscriber = world.add_subscriber(source=door.url(TREE), **LIMITS)

    def be_honest(self) -> None:
        """Hand every connection on to the real daemon."""

        def play(session: Session) -> None:
            with socket.create_connection(("127.0.0.1", self.world.rsyncd.port)) as real:
                threading.Thread(target=take_turns, args=(real, session.connection), daemon=True).start()
                take_turns(session.connection, real)

        self._door.play = play

    def be_hostile(self, play: Play) -> None:
        """Answer every connection from now on like that."""
        self._door.play = play

    def look(self) -> dict[str, tuple[int, bytes]]:
        """Return all that the mirror and what is beside it consist of."""
        found = {}
        for folder in (self.mirror.mirror, self.outside):
            for path in sorted(folder.rglob("*")):
                status = path.lstat()
                content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
                found[str(path)] = (status.st_mode, content)
        return found

    def fail(self, play: Play, *, full: bool = False) -> dict[str, Any]:
        """Announce a change while the upstream is hostile, or ask for a full sync; return the job that failed."""
        before = self.look()
        seen = self._last_job()
        self.be_hostile(play)
        self.mirror.ask("sync", full=full)

        def failed() -> dict[str, Any] | None:
            last = self.mirror.tree()["last_sync"]
            return last if last["job"] > seen and last["outcome"] not in ("done", "started") else None

        job = wait_until(failed, deadline_seconds=40, what=f"a failed job\n{self.mirror.program.log_tail()}")
        assert self.look() == before, "the tree or what is beside it has changed"
        self.be_honest()
        return job

    def _last_job(self) -> int:
        last = self.mirror.tree()["last_sync"]
        return 0 if last is None else int(last["job"])

    def recover(self) -> None:
        """Let an honest upstream mend everything."""
        self.be_honest()
        self.mirror.ask("sync")
        tree = self.mirror.tree()
        self.mirror.wait_exact(tree["announced"])
        assert differences(self.world.tree, self.mirror.mirror) == []


@contextmanager
def scene(folder: Path, **world_options: Any) -> Iterator[Scene]:
    """Yield a mirror that is exact at serial 0, and whose upstream is still honest."""
    with World(folder, **world_options) as world, FakeDaemon(lambda session: None) as door:
        (world.tree / "d").mkdir()
        (world.tree / "d" / "kept").write_text("kept")
        (world.tree / "file").write_text("old")
        found = Scene(world, door)
        found.be_honest()
        world.start_publisher()
        found.mirror.start()
        found.mirror.wait_exact(0)
        yield found

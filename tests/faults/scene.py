"""What all scenarios share: a tree that changes, announcements by the real command, and the end that must be exact."""

from __future__ import annotations

import contextlib
import io
import os
import random
import time
from pathlib import Path

from pushmirror.cli.main import run
from tests.support.processes import run_pushmirror
from tests.support.trees import write
from tests.support.waiting import wait_until
from tests.support.walks import Request, WalkRecord
from tests.support.world import PUBLISHER, TREE, Subscriber, World

BALLAST_BYTES = 4 << 20
"""More than all that is ever announced in one list: a connection that lists it has walked the whole tree."""
FIRST_FILES = 60
FOLDERS = 8
LARGEST_BYTES = 2000
MOST_LINGER_SECONDS = 0.05
DEADLINE_SECONDS = 60.0


class Scene(World):
    """A world whose tree changes as `seed` has it, and whose rsync daemon writes down what it was asked for.

    `serials` are all that ``publish`` has printed, in the order in which it did.
    """

    def __init__(self, folder: Path, *, seed: int = 1) -> None:
        self._record = WalkRecord(folder, BALLAST_BYTES)
        super().__init__(folder, rsyncd_extra=self._record.settings())
        self.chance = random.Random(seed)
        self.serials: list[int] = []
        self._names: list[str] = []
        self._made = 0
        self._walked = 0
        (self.tree / "bulk").mkdir()  # whoever looks at the names in the root has not walked the tree
        (self.tree / "bulk" / "ballast").write_bytes(self.chance.randbytes(BALLAST_BYTES))
        for _ in range(FIRST_FILES):
            self._write(self._new_name())

    # --- the way to the first serial

    def begin(self, count: int = 1, **tree_settings: object) -> list[Subscriber]:
        """Start the publisher and `count` mirrors, and return these when their first sync is done."""
        self.start_publisher()
        subscribers = [self.add_subscriber(f"t2-{number}.example.net", **tree_settings) for number in range(count)]
        self.start_mirrors()
        return subscribers

    def start_mirrors(self) -> None:
        """Start all mirrors that were added; walks before the end of their first sync do not count."""
        for subscriber in self.subscribers:
            subscriber.start()
        for subscriber in self.subscribers:
            subscriber.wait_exact(0, deadline_seconds=DEADLINE_SECONDS)
        self.forget_walks()

    # --- changes and announcements

    def change(self) -> int:
        """Change one thing in the tree and announce it; return the serial.

        The command runs in this process, which spares the start of an interpreter.
        """
        return self.announce(*self.edit())

    def edit(self) -> tuple[str, ...]:
        """Change one thing in the tree; return the arguments that announce it."""
        kind = self.chance.random()
        name = self._new_name() if kind < 0.2 or not self._names else self.chance.choice(self._names)
        if kind > 0.85:
            self._names.remove(name)
            (self.tree / name).unlink()
            return ("--delete", name)
        self._write(name)
        return ("--path", name)

    def announce(self, *arguments: str) -> int:
        """Announce by the command, in this process; return the serial that it printed."""
        code, output, complaint = self.try_to_announce(*arguments)
        assert code == 0, complaint
        return self.note_serial(output)

    def try_to_announce(self, *arguments: str) -> tuple[int, str, str]:
        """Run the command in this process; return its exit code, what it printed, and what it complained of."""
        output, complaint = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(complaint):
            code = run(["publish", TREE, *arguments, "--config", str(self.publisher_config)])
        return code, output.getvalue(), complaint.getvalue()

    def announce_by_process(self, *arguments: str) -> int:
        """Announce by the command as a process of its own; return the serial that it printed."""
        done = run_pushmirror("publish", TREE, *arguments, "--config", self.publisher_config)
        assert done.returncode == 0, done.stderr.decode()
        return self.note_serial(done.stdout.decode())

    def note_serial(self, printed: str) -> int:
        """Remember a serial that was printed, and return it."""
        self.serials.append(int(printed))
        return self.serials[-1]

    def linger(self, longest_seconds: float = MOST_LINGER_SECONDS) -> None:
        """Let a moment of random length pass: the pace at which changes come."""
        time.sleep(self.chance.random() * longest_seconds)

    def _new_name(self) -> str:
        self._made += 1
        name = f"pool/{self._made % FOLDERS}/file {self._made:05}"
        self._names.append(name)
        return name

    def _write(self, name: str) -> None:
        content = self.chance.randbytes(self.chance.randint(0, LARGEST_BYTES))
        write(self.tree, os.fsencode(name), content)

    # --- the end

    def forget_walks(self) -> None:
        """Count walks from here on."""
        self._walked = len(self._record.walks(self.rsyncd))

    def walks(self) -> list[Request]:
        """Return the requests that walked the whole tree since they were last forgotten, by the daemon's word."""
        return self._record.walks(self.rsyncd)[self._walked :]

    def full_syncs(self) -> int:
        """Return how many of these were to transfer something; a full sync has one such, and one to find surplus."""
        return sum(not request.is_dry for request in self.walks())

    def end_exact(self, *, full_syncs: int = 0, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        """Wait until applied = cleaned = announced at every mirror, compare, and see that nobody walked more than that.

        A scenario in which the journal reaches back has no full sync.
        """
        serial = self.serials[-1] if self.serials else 0
        for subscriber in self.subscribers:
            subscriber.wait_exact(serial, deadline_seconds=deadline_seconds)
        assert self.full_syncs() == full_syncs, "\n".join(map(str, self.walks()))
        for subscriber in self.subscribers:
            subscriber.assert_exact()

    # --- what a subscriber says

    @staticmethod
    def upstream_state(subscriber: Subscriber) -> str:
        """Return the state of the upstream, as ``status`` shows it."""
        return str(subscriber.status()["upstreams"][PUBLISHER]["state"])

    def wait_for_upstream(self, subscriber: Subscriber, state: str, *, deadline_seconds: float = 20.0) -> None:
        """Return when the upstream is in that `state`."""
        wait_until(
            lambda: self.upstream_state(subscriber) == state,
            deadline_seconds=deadline_seconds,
            what=f"the upstream is {state}\n{subscriber.program.log_tail()}",
        )

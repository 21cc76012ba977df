"""A publisher with two mirrors under random use: edits, announcements of every kind, pauses, stops and kills."""

from __future__ import annotations

import contextlib
import os
import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.announce import Difference, difference, gather, look
from tests.support.compare import ROOT, differences, rsync_differences
from tests.support.edits import SENTINEL, Editor, Shape
from tests.support.process_tree import kill, rsyncs_below
from tests.support.processes import clean_environment, run_pushmirror
from tests.support.waiting import NeverHappened, wait_until
from tests.support.world import TREE, Subscriber, World

GENEROUS = {"count": 10**6, "percent": 100, "limit": 100}
QUIET_SECONDS = 50.0
GLANCE_SECONDS = 0.4
ROUNDS_PER_SEQUENCE = (1, 1, 2, 2, 3, 4)
RSYNC_FORMS = (
    ("-aH", "--delete"),
    ("-aH", "--delete-after", "--force"),
    ("-rlptHi", "--delete-delay", "--delay-updates"),
    ("-aHS", "--delete", "--checksum"),
    ("-aH", "--delete", "--modify-window=-1"),
)
_ANNOUNCED = re.compile(r"announced serial ([0-9]+)")


class Field:
    """One world, used by one sequence of edits and announcements after the other.

    `told` is the story of the sequence, for whoever has to repeat it. All decisions are `chance`'s; what they lead to
    depends on how far the mirrors have come at that moment.
    """

    def __init__(self, world: World, subscribers: list[Subscriber], shape: Shape, chance: random.Random) -> None:
        self._world = world
        self._subscribers = subscribers
        self._shape = shape
        self._chance = chance
        self._master = world.folder / "master"
        self._log = world.folder / "recorded"
        self._away: set[str] = set()
        self._turned: list[bytes] = []
        self._serial = 0
        self.told: list[str] = []
        self._announcers = self._choose_announcers()
        self._known = look(world.tree)
        self._scanned = -1

    def _choose_announcers(self) -> list[tuple[Callable[[], None], int]]:
        found = [
            (self._announce_paths, 8), (self._announce_folders, 4), (self._announce_whole, 1),
            (self._announce_run, 3), (self._announce_log, 2),
        ]  # fmt: skip
        if b"--scan" in run_pushmirror("publish", "--help").stdout:
            found.append((self._announce_scan, 4))
        if b"--thorough" in run_pushmirror("publish", "--help").stdout:
            found.append((self._announce_thorough, 2))
        return found

    # --- one sequence

    def sequence(self) -> None:
        """Edit and announce a few times while the mirrors work, then wait until all is quiet and compare.

        Raises AssertionError when a mirror is not exact.
        """
        self.told = []
        trouble = self._choose_trouble()
        announcers, weights = zip(*self._announcers, strict=True)
        for _ in range(self._chance.choice(ROUNDS_PER_SEQUENCE)):
            self._chance.choices(announcers, weights)[0]()
            if self._chance.random() < 0.5:
                self._let_begin()
            if trouble is not None and self._chance.random() < 0.5:
                trouble()
                trouble = None
        if trouble is not None:
            trouble()
        self._recover()
        self.compare()

    def compare(self) -> None:
        """Wait until every mirror says that it is exact, and see whether it is."""
        for subscriber in self._subscribers:
            subscriber.wait_exact(self._serial, deadline_seconds=QUIET_SECONDS)
        for subscriber in self._subscribers:
            found = differences(self._world.tree, subscriber.mirror)
            assert found == [], f"{subscriber.name} differs from Tier 1"
            assert rsync_differences(self._world.source, subscriber.mirror) == "", subscriber.name

    def _let_begin(self) -> None:
        """Return when a mirror is at work, or after a moment."""

        def is_at_work() -> bool:
            there = [subscriber for subscriber in self._subscribers if subscriber.name not in self._away]
            return any(subscriber.tree()["state"] == "running" for subscriber in there)

        with contextlib.suppress(NeverHappened):
            wait_until(is_at_work, deadline_seconds=GLANCE_SECONDS)

    # --- what happens to daemons

    def _choose_trouble(self) -> Callable[[], None] | None:
        kind = self._chance.random()
        if kind < 0.20:
            return self._pause(self._chance.choice(self._subscribers))
        if kind < 0.23:
            return self._stop(self._chance.choice(self._subscribers))
        if kind < 0.26:
            return self._kill
        if kind < 0.28:
            return self._stop_publisher()
        if kind < 0.34:
            return self._want_full_sync
        if kind < 0.36:
            return self._stop_rsyncd()
        if kind < 0.39:
            return self._kill_rsync
        return None

    def _pause(self, subscriber: Subscriber) -> Callable[[], None]:
        subscriber.ask("pause")
        self.told.append(f"{subscriber.name} paused")

        def resume() -> None:
            subscriber.ask("resume")
            self.told.append(f"{subscriber.name} resumed")

        return resume

    def _stop(self, subscriber: Subscriber) -> Callable[[], None]:
        subscriber.program.terminate()
        self._away.add(subscriber.name)
        self.told.append(f"{subscriber.name} stopped")
        return lambda: self._start(subscriber)

    def _start(self, subscriber: Subscriber) -> None:
        subscriber.start()
        self._away.discard(subscriber.name)
        self.told.append(f"{subscriber.name} started")

    def _kill(self) -> None:
        subscriber = self._chance.choice(self._subscribers)
        self._let_begin()
        subscriber.program.kill_alone()
        self.told.append(f"{subscriber.name} killed")
        self._start(subscriber)

    def _stop_publisher(self) -> Callable[[], None]:
        self._world.publisher.terminate()
        self.told.append("publisher stopped")

        def start() -> None:
            self._world.start_publisher()
            self.told.append("publisher started")

        return start

    def _stop_rsyncd(self) -> Callable[[], None]:
        self._world.rsyncd.stop()
        self.told.append("rsync daemon stopped")

        def start() -> None:
            self._world.rsyncd.start()
            self.told.append("rsync daemon started")

        return start

    def _kill_rsync(self) -> None:
        """Kill one of the processes of a mirror's rsync at whatever moment this is."""
        subscriber = self._chance.choice(self._subscribers)
        with contextlib.suppress(NeverHappened):
            found = wait_until(lambda: rsyncs_below(subscriber.program.pid), deadline_seconds=GLANCE_SECONDS)
            kill(self._chance.choice(found))
            self.told.append(f"an rsync of {subscriber.name} killed")

    def _want_full_sync(self) -> None:
        subscriber = self._chance.choice(self._subscribers)
        subscriber.ask("sync", full=True)
        self.told.append(f"{subscriber.name}: full sync asked for")

    def _recover(self) -> None:
        assert not self._away and self._world.publisher.running

    # --- edits and how they are announced

    def _edit(self, root: Path, *, in_place: bool) -> None:
        editor = Editor(root, self._shape, self._chance, turned=self._turned)
        for part in range(self._chance.choice((1, 1, 2))):
            if part:
                self._let_begin()
            editor.edit(self._chance.randint(1, 7), in_place=in_place)
        self.told += [f"    {line}" for line in editor.told]

    def _announce_paths(self) -> None:
        self._edit(self._world.tree, in_place=True)
        self._publish_difference(self._difference())

    def _announce_folders(self) -> None:
        self._edit(self._world.tree, in_place=True)
        found = self._difference()
        after = look(self._world.tree)
        folders = {os.path.dirname(path) for path in (*found.puts, *found.deletions)} - {b""}
        chosen = self._chance.sample(sorted(folders), min(len(folders), self._chance.randint(1, 2)))
        self._publish_difference(gather(found, chosen, after))

    def _difference(self) -> Difference:
        chatty, careful = self._chance.random() < 0.2, self._chance.random() < 0.2
        return difference(self._known, look(self._world.tree), all_folders=chatty, all_deletions=careful)

    def _publish_difference(self, found: Difference) -> None:
        if found:
            self._publish(*found.arguments(), stdin=found.listing(), about=found)
        elif self._known[ROOT] != look(self._world.tree)[ROOT]:
            self._publish("--path", os.fsdecode(SENTINEL))  # the time of the root travels with any path
        self._see()

    def _announce_whole(self) -> None:
        self._edit(self._world.tree, in_place=True)
        self._publish("--whole-tree")
        self._see()

    def _announce_scan(self) -> None:
        self._bring_index_up_to_date()
        self._edit(self._world.tree, in_place=False)
        self._publish("--scan")
        self._scanned = self._serial
        self._see()

    def _announce_thorough(self) -> None:
        self._bring_index_up_to_date()
        self._edit(self._world.tree, in_place=True)
        self._publish("--scan", "--thorough")
        self._scanned = self._serial
        self._see()

    def _bring_index_up_to_date(self) -> None:
        """Have the index know what was announced in other ways: a scan cannot miss what it has never seen."""
        if self._scanned != self._serial:
            self._publish("--scan", "--thorough")

    def _publish(self, *arguments: str, stdin: bytes = b"", about: object = None) -> None:
        done = run_pushmirror(
            "publish", TREE, *arguments, "--config", self._world.publisher_config, stdin=stdin, deadline_seconds=60
        )
        assert done.returncode == 0, done.stderr.decode()
        if done.stdout.strip():
            self._serial = int(done.stdout)
        self.told.append(f"publish {about or ' '.join(arguments)}: serial {done.stdout.decode().strip() or 'none'}")

    def _announce_run(self) -> None:
        form = self._edit_master()
        command = ["rsync", *form, f"{self._master}/", f"{self._world.tree}/"]
        done = run_pushmirror("run", TREE, "--config", self._world.publisher_config, "--", *command)
        assert done.returncode in (0, 23), done.stderr.decode()
        serials = _ANNOUNCED.findall(done.stderr.decode(errors="replace"))
        if serials:
            self._serial = int(serials[-1])
        self.told.append(f"run {form}: serial {serials}")
        self._see()

    def _announce_log(self) -> None:
        form = self._edit_master()
        done = self._rsync(*form, "-i", self._master, self._world.tree)
        self._log.write_bytes(done.stdout)
        self._publish(f"--from-rsync={self._log}", about=f"--from-rsync of {form}")
        self._see()

    def _edit_master(self) -> tuple[str, ...]:
        """Edit the master, which is equal to the tree before; return with which options the tree follows it."""
        self._rsync("-aH", "--delete", "--checksum", "--modify-window=-1", self._world.tree, self._master)
        self._edit(self._master, in_place=True)
        return self._chance.choice(RSYNC_FORMS)

    def _rsync(self, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
        *options, source, target = map(str, arguments)
        command = ["rsync", *options, f"{source}/", f"{target}/"]
        environment = {**clean_environment(), "LC_ALL": "C"}
        done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
        assert done.returncode in (0, 23), done.stderr.decode()
        return done

    def _see(self) -> None:
        """Remember what is announced now."""
        self._known = look(self._world.tree)

    # --- for whoever has to find out

    def story(self) -> str:
        """Return what the sequence did, and what the mirrors said and did."""
        parts = [*self.told]
        for subscriber in self._subscribers:
            parts += self._story_of(subscriber)
        return "\n".join(parts)

    def _story_of(self, subscriber: Subscriber) -> list[str]:
        if not subscriber.program.running:
            return [f"{subscriber.name} does not run", subscriber.program.log_tail()]
        status: dict[str, Any] = subscriber.tree()
        found = differences(self._world.tree, subscriber.mirror)
        return [f"--- {subscriber.name}: {status}", subscriber.program.log_tail(), *found]

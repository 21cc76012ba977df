"""The steps of the demonstration, and what is said about each to somebody who has never seen the program."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from pathlib import Path

from rich.console import Console, RenderableType
from rich.text import Text

from pushmirror.cli.demo.processes import PUSHMIRROR, Interrupted, Processes, run_command
from pushmirror.cli.demo.proof import Proof, compare, show_cost, show_proof, tell_differences
from pushmirror.cli.demo.rsyncd import Reading, log_size, read_log
from pushmirror.cli.demo.timeline import Listening, Timeline, show_timeline
from pushmirror.cli.demo.tree import Change, change_tree, count_entries, join_paths, make_tree
from pushmirror.cli.demo.world import PROOF, TREE, World
from pushmirror.monitor.quantities import format_bytes, format_count, format_duration_ms
from pushmirror.monitor.tables import make_table

_SYNC_S = 60.0
_REPORTS_S = 10.0
_LOG_S = 10.0
_FILES_PER_S = 1000
"""A first sync gets this much time on top, on a slow and busy machine."""


class Show:
    """One demonstration in `folder`, which is new and empty."""

    def __init__(self, folder: Path, mirrors: int, files: int, processes: Processes) -> None:
        self._files = files
        self._processes = processes
        self._console = Console(highlight=False)
        self._step_number = 0
        self._world = World(folder, mirrors, processes)
        self._deadline_s = _SYNC_S + mirrors * files / _FILES_PER_S

    def run(self, *, keep: bool) -> bool:
        """Do all steps; returns whether every mirror is exact. With `keep` it stays afterwards, until a signal."""
        self._begin()
        with Listening(self._world.tier1.settings) as listening:
            self._first_sync(listening)
            change = self._change()
            self._mark_logs()
            serial = self._publish(change)
            self._follow(listening, serial)
        exact = self._prove()
        if keep:
            self._stay()
        return exact

    # --- the steps

    def _begin(self) -> None:
        self._say_step("A Tier 1 with a tree", "It serves the tree by rsync, and runs a publisher beside it.")
        self._content = make_tree(self._world.tier1.tree, self._files)
        entries, volume_bytes = count_entries(self._world.tier1.tree)
        self._world.start_upstream()
        self._say(
            f"{self._files:,} files, {entries - self._files:,} directories and links, {format_bytes(volume_bytes)}, "
            f"below {self._world.folder}"
        )

    def _first_sync(self, listening: Listening) -> None:
        count = len(self._world.mirrors)
        what = format_count(count, "Tier 2 mirror")
        self._say_step(f"{what}, still empty", "Each subscriber brings the whole tree once.")
        self._world.start_mirrors()
        self._world.wait_in_step(0, self._deadline_s)
        table = make_table("First sync", "mirror", "files", "received", "took", right=("files", "received", "took"))
        for mirror in self._world.mirrors:
            last = (mirror.status() or {})["trees"][TREE]["last_sync"]
            took = format_duration_ms(last["duration_ms"])
            table.add_row(mirror.name, f"{last['files']:,}", format_bytes(last["bytes"]), took)
        self._show(table)
        self._processes.wait(listening.hears, "a heartbeat of the publisher is heard", _SYNC_S)

    def _change(self) -> Change:
        self._say_step("The tree changes at the Tier 1", "Nobody knows of it yet.")
        change = change_tree(self._content)
        table = make_table("", "what", "for example")
        for what, example in change.told:
            table.add_row(what, example)
        self._show(table)
        return change

    def _mark_logs(self) -> None:
        """Remember where the logs are now; a run that is still being accounted for belongs to the first sync."""
        for mirror in self._world.mirrors:
            self._wait_for_log(mirror.name, 0)
        self._marks = {mirror.name: log_size(self._world.folder, mirror.name) for mirror in self._world.mirrors}

    def _publish(self, change: Change) -> int:
        self._say_step("One command announces it", "The serial that it prints is safe in the publisher's journal.")
        deletions = [argument for path in change.deletions for argument in ("--delete", path)]
        config = ["--config", str(self._world.tier1.settings)]
        begun_s = time.monotonic()
        printed = run_command(
            [*PUSHMIRROR, "publish", TREE, "--paths-from", "-", *deletions, *config], join_paths(change.puts)
        )
        took_ms = int((time.monotonic() - begun_s) * 1000)
        told = f"pushmirror publish {TREE} --paths-from - --delete {change.deletions[0]} --delete ... --config ..."
        self._say(f"$ {told}", style="cyan")
        self._say(f"{printed.decode().strip()}    (the command took {took_ms} ms)", style="cyan")
        return int(printed)

    def _follow(self, listening: Listening, serial: int) -> None:
        nodes = [mirror.name for mirror in self._world.mirrors]
        self._say_step(
            "The mirrors follow",
            "Each hears of it on the bus, checks the signature, and runs rsync for exactly these paths. Applied: all "
            "that is new is in place. Cleaned: what is gone is deleted, too.",
        )
        self._world.wait_in_step(serial, self._deadline_s)
        timeline = self._wait_for_reports(listening, serial, nodes)
        if timeline.announced_ms is not None:
            self._say(f"announced on the bus {timeline.announced_ms} ms after the commit to the journal")
        self._show(show_timeline(timeline))

    def _wait_for_reports(self, listening: Listening, serial: int, nodes: list[str]) -> Timeline:
        """Reports are told as well as it goes: a mirror is judged by its content, not by them."""
        end_s = time.monotonic() + _REPORTS_S
        self._processes.wait(
            lambda: listening.timeline(serial, nodes).complete or time.monotonic() > end_s,
            "the reports of the mirrors",
            2 * _REPORTS_S,
        )
        return listening.timeline(serial, nodes)

    def _prove(self) -> bool:
        self._say_step(
            "The proof",
            "A second rsync compares every mirror with the Tier 1 by checksum, with times, permissions, symlinks and "
            "hardlinks, and prints whatever it would still change.",
        )
        entries, volume_bytes = count_entries(self._world.tier1.tree)
        readings = {name: self._wait_for_log(name, mark) for name, mark in self._marks.items()}
        proof = Proof({mirror.name: compare(self._world.url(PROOF), mirror.tree) for mirror in self._world.mirrors})
        self._show(show_proof(proof, entries))
        walks = self._wait_for_log(PROOF, 0)
        walk = Reading(1, 0, 0, 0, walks.sent_bytes // max(1, walks.connections), walks.listed_bytes)
        self._say("")
        self._show(show_cost(readings, walk, volume_bytes))
        self._say("Lists: what was sent besides content. Looked at: the volume of all files in those lists.")
        walked = any(reading.listed_bytes >= volume_bytes for reading in readings.values())
        self._say_result(proof, walked=walked)
        return proof.exact

    def _say_result(self, proof: Proof, *, walked: bool) -> None:
        if not proof.exact:
            self._say(f"The mirrors differ from the Tier 1:\n{tell_differences(proof)}", style="bold red")
        elif walked:
            self._say("Every mirror is exact, but not all could do it without a walk over the whole tree.", "yellow")
        else:
            self._say("Every mirror is exact, and none of them walked the whole tree.", style="bold green")

    def _wait_for_log(self, reader: str, start: int) -> Reading:
        """The rsync daemon accounts for a connection a moment after its client has gone."""

        def accounted() -> Reading | None:
            reading = read_log(self._world.folder, reader, start)
            return reading if reading.connections and not reading.open_connections else None

        return self._processes.wait(accounted, f"the rsync daemon's log accounts for {reader}", _LOG_S)

    # --- afterwards

    def _stay(self) -> None:
        self._say_step("It stays as it is until Ctrl-C", "Try, in another terminal:")
        program, tier1, mirror = program_name(), self._world.tier1, self._world.mirrors[0]
        config = shlex.quote(str(tier1.settings))
        new = shlex.quote(str(tier1.tree / "hello.txt"))
        for command in (
            f"{program} tail --config {config}",
            f"{program} status --config {config}",
            f"{program} status --watch --config {shlex.quote(str(mirror.settings))}",
            f"date > {new} && {program} publish {TREE} --path hello.txt --config {config}",
        ):
            self._console.print(f"  {command}", style="cyan", soft_wrap=True, markup=False)
        try:
            while True:
                self._processes.check()
                time.sleep(0.5)
        except Interrupted:
            self._say("\nClearing everything away.")

    def _say_step(self, title: str, explanation: str) -> None:
        self._step_number += 1
        self._console.print(Text(f"\n{self._step_number}. {title}", "bold"))
        self._say(explanation)

    def _say(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style))

    def _show(self, table: RenderableType) -> None:
        self._console.print(table)


def program_name() -> str:
    """Return how to call this program from a shell, as it was called now."""
    installed = shutil.which("pushmirror")
    if installed is not None and Path(installed).resolve() == Path(sys.argv[0]).resolve():
        return "pushmirror"
    return shlex.join(PUSHMIRROR)

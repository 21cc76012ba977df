"""The daemons do their work under the restrictions of their units.

`systemd-run` would impose those itself, but only where systemd has started the machine, which it has not in most places
where tests run. So they are read from the units and from the drop-ins that `check-config` prints, and imposed by other
hands: mounts of their own, another user without capabilities, limits, no new privileges; and the filter of system calls
by strace, which answers every call outside it as the kernel would. Left out are the limits of memory and tasks, which
need a control group.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pushmirror.settings.dropin import compose_dropin
from pushmirror.settings.load import load_any
from pushmirror.subscriber.confinement import find_version
from tests.support.processes import PUSHMIRROR, REPOSITORY, Program, clean_environment
from tests.support.trees import MadeTree, change_tree, make_tree
from tests.support.unit_calls import deny_calls, find_missing_for_calls, is_denied, read_trace
from tests.support.units import Unit, confine, find_missing_for_confinement, give_to_the_user, read_unit
from tests.support.waiting import wait_until
from tests.support.world import Subscriber, World

pytestmark = pytest.mark.slow

ROLES = ("publisher", "subscriber")
DEADLINE_SECONDS = 30.0
MODES = ("chmod", "fchmod", "fchmodat", "fchmodat2", "mkdir", "mkdirat", "mknod", "mknodat", "open", "openat", "creat")
NAMESPACES = ("clone", "clone3", "unshare", "setns")
WATCHED = (
    "socket",
    "mmap",
    "mprotect",
    "pkey_mprotect",
    "sched_setscheduler",
    "landlock_restrict_self",
    *NAMESPACES,
    *MODES,
)
BITS = re.compile(r", (?:\w+\|)*0[2-7][0-7]{3}\b")
"""A mode with set-user-id or set-group-id, as strace shows it."""

IN_VAIN = {"fchown": "a new file gets the group of its folder, which it has already, or else keeps the daemon's"}
"""Calls outside the filter that are made nevertheless, and why it does no harm that they fail."""

PROBE = """
import errno, json, os, resource, sys

def write(folder):
    path = os.path.join(folder, "probe")
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    except OSError as error:
        return errno.errorcode[error.errno]
    os.unlink(path)
    return "written"

sets = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
lines = (line.split(":", 1) for line in open("/proc/self/status"))
status = {name: value.strip() for name, value in lines if name in (*sets, "NoNewPrivs")}
others = [name for name in os.listdir("/proc") if name.isdecimal() and int(name) != os.getpid()]
json.dump({
    "writes": {folder: write(folder) for folder in sys.argv[1:]},
    "identities": sorted({*os.getresuid(), *os.getresgid(), *os.getgroups()}),
    "capabilities": sorted({int(status[name], 16) for name in sets}),
    "no_new_privileges": status["NoNewPrivs"],
    "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE),
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "umask": f"{os.umask(0):04o}",
    "others": others,
    "has_kernel": os.path.exists("/proc/sys"),
    "temporary": os.listdir("/var/tmp"),
    "disks": [name for name in os.listdir("/dev") if name.startswith(("sd", "vd", "nvme", "loop", "mem", "kmsg"))],
}, sys.stdout)
"""


class RestrictedWorld(World):
    """A publisher and one subscriber whose folders are set up as the units have them; `as_root` when it must be so."""

    made: MadeTree

    def __init__(self, folder: Path, *, as_root: bool) -> None:
        super().__init__(folder)
        (self.publisher_folder / "run").mkdir()
        self.publisher_extra = {"control": str(self.publisher_folder / "run" / "control.sock"), "allow_root": as_root}

    def add_subscriber(self, name: str = "t2.example.net", **tree_settings: object) -> Subscriber:
        """Return a new subscriber whose control socket has a folder of its own."""
        subscriber = super().add_subscriber(name, **tree_settings)
        (subscriber.folder / "run").mkdir()
        subscriber.settings["control"] = str(subscriber.folder / "run" / "control.sock")
        subscriber.settings["allow_root"] = self.publisher_extra["allow_root"]
        subscriber.write_settings()
        self.write_publisher()
        return subscriber

    def read_unit(self, role: str) -> Unit:
        """Return the unit of a daemon with the drop-in for its settings."""
        return read_unit(role, compose_dropin(load_any(self.folder_of(role) / f"{role}.yaml")).text)

    def folder_of(self, role: str) -> Path:
        """Return where a daemon has its settings, its keys and its state."""
        return self.publisher_folder if role == "publisher" else self.subscribers[0].folder

    def program_of(self, role: str) -> Program:
        """Return a daemon."""
        return self.publisher if role == "publisher" else self.subscribers[0].program

    def confine(self, role: str, *writable: Path) -> list[str]:
        """Return the command that confines a daemon, and have all that is its own belong to its user."""
        root = self.folder / f"root-of-{role}"
        root.mkdir()
        for folder in (self.folder_of(role), *writable, *([self.module] if role == "publisher" else [])):
            give_to_the_user(folder)
        return confine(self.read_unit(role), root, [self.folder_of(role)], writable)

    def start_below(self, role: str, command: list[str]) -> Program:
        """Start a daemon by `command`; returns when it answers."""
        folder = self.folder_of(role)
        arguments = [role, "--config", folder / f"{role}.yaml"]
        program = Program(arguments, log_path=folder / "log", command=[*command, *PUSHMIRROR])
        if role == "publisher":
            self.publisher = program
            self.start_publisher()
        else:
            self.subscribers[0].program = program
            self.subscribers[0].start()
        return program


def skip_when(reason: str | None) -> None:
    """Skip the test for this reason; None is none."""
    if reason is not None:
        pytest.skip(reason)


def probe(command: list[str], places: list[Path]) -> dict[str, Any]:
    """Return what a program that is started by `command` may do, among other things in `places`."""
    done = subprocess.run(
        [*command, sys.executable, "-c", PROBE, *map(str, places)],
        env=clean_environment(), capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def wait_for_end(path: Path, process_id: int) -> list[tuple[str, str]]:
    """Return the calls in a trace once its first process has ended in it."""
    end = re.compile(rf"^{process_id} +\+\+\+ exited with 0 \+\+\+$", re.MULTILINE)
    wait_until(lambda: end.search(path.read_text("utf-8", "backslashreplace")), what=f"the end of {path}")
    return read_trace(path)


def find_faults(unit: Unit, trace: list[tuple[str, str]]) -> list[str]:
    """Return the calls that the unit forbids because of what they ask for, not because of their names."""
    asked = [(name, line) for name, line in trace if "<... " not in line]
    families = unit.value("RestrictAddressFamilies").split()
    faults = [
        line for name, line in asked if name == "socket" and not re.search(rf"socket\(({'|'.join(families)}),", line)
    ]
    if unit.value("MemoryDenyWriteExecute") == "yes":
        faults += [line for name, line in asked if name == "mmap" and "PROT_WRITE|PROT_EXEC" in line]
        faults += [line for name, line in asked if name.endswith("mprotect") and "PROT_EXEC" in line]
    if unit.value("RestrictSUIDSGID") == "yes":
        faults += [line for name, line in asked if name in MODES and BITS.search(line)]
    if unit.value("RestrictRealtime") == "yes":
        faults += [line for name, line in asked if name == "sched_setscheduler" and re.search("SCHED_(FIFO|RR)", line)]
    if unit.value("RestrictNamespaces") == "yes":
        faults += [line for name, line in asked if name in NAMESPACES and "CLONE_NEW" in line]
    return faults


def do_the_main_job(world: RestrictedWorld, commands: dict[str, list[str]]) -> None:
    """Start both daemons by their commands, have a mirror become exact by a first sync and then by an announcement, and
    stop them in order."""
    programs = [world.start_below(role, commands[role]) for role in ROLES]
    subscriber = world.subscribers[0]
    subscriber.wait_exact(0, deadline_seconds=DEADLINE_SECONDS)
    change = change_tree(world.made, changed=10, added=5, deleted=5)
    (world.tree / "tool").chmod(0o6755)
    deleted = [f"--delete={os.fsdecode(path)}" for path in change.deleted]
    serial = world.publish("--paths-from=-", *deleted, stdin=b"\0".join([*change.put, b"tool", b""]))
    tree = subscriber.wait_exact(serial, deadline_seconds=DEADLINE_SECONDS)
    assert (tree["last_sync"]["scope"], tree["last_sync"]["outcome"]) == ("list", "done")
    subscriber.assert_exact()
    logs = [program.log_text() for program in programs]
    for program in programs:
        program.send(signal.SIGTERM)
    assert [program.wait(deadline_seconds=DEADLINE_SECONDS) for program in programs] == [0, 0]
    assert ("does not hold rsync to its tree" in logs[1]) == (not find_version())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RestrictedWorld]:
    """A publisher and a subscriber that are not started yet, and a tree with all sorts of entries."""
    with RestrictedWorld(tmp_path, as_root=os.geteuid() == 0 and find_missing_for_confinement() is not None) as world:
        (world.tree / "tool").write_text("with the rights of its owner")
        world.made = make_tree(world.tree, files=100)
        world.add_subscriber()
        yield world


@pytest.mark.parametrize("role", ROLES)
def test_the_restrictions_are_those_of_the_unit(role: str, world: RestrictedWorld) -> None:
    """A program in a daemon's place writes where unit and drop-in let it, and has no rights but those of its user."""
    skip_when(find_missing_for_confinement())
    unit = world.read_unit(role)
    folder = world.folder_of(role)
    may_write = [folder / "state", folder / "run", Path("/tmp")]
    may_read = [folder, REPOSITORY, Path("/usr"), Path("/etc"), Path(sys.prefix)]
    (may_write if role == "subscriber" else may_read).append(Path(load_any(folder / f"{role}.yaml").tree_paths[0]))
    found = probe(world.confine(role), [*may_write, *may_read])
    assert found.pop("writes") == {str(path): "written" for path in may_write} | {
        str(path): "EROFS" for path in may_read
    }
    user = pwd.getpwnam("nobody")
    machine = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert found.pop("descriptors") in ([int(unit.value("LimitNOFILE"))] * 2, list(machine))
    assert found == {
        "identities": sorted({user.pw_uid, user.pw_gid}),
        "capabilities": [0],
        "no_new_privileges": "1",
        "core": [0, 0],
        "umask": unit.value("UMask"),
        "others": [],
        "has_kernel": unit.value("ProcSubset") != "pid",
        "temporary": [],
        "disks": [],
    }


def test_the_main_job_is_done_under_the_restrictions_of_the_units(world: RestrictedWorld) -> None:
    """An update is announced, fetched from a real rsync daemon and applied, and what was deleted is deleted."""
    skip_when(find_missing_for_confinement())
    do_the_main_job(world, {role: world.confine(role) for role in ROLES})


def test_the_main_job_is_done_with_the_system_calls_of_the_units(world: RestrictedWorld, tmp_path: Path) -> None:
    """With every call outside the filters denied the same works; nothing is called in a way that the units forbid."""
    skip_when(find_missing_for_calls())
    traces = tmp_path / "traces"
    traces.mkdir()
    commands = {role: deny_calls(world.read_unit(role), traces / role, WATCHED) for role in ROLES}
    if find_missing_for_confinement() is None:
        commands = {role: world.confine(role, traces) + commands[role] for role in ROLES}
    do_the_main_job(world, commands)
    for role in ROLES:
        trace = wait_for_end(traces / role, world.program_of(role).pid)
        assert find_faults(world.read_unit(role), trace) == []
        denied = Counter(name for name, line in trace if is_denied(line))
        assert denied.keys() <= IN_VAIN.keys(), denied
        confined = [line for name, line in trace if name == "landlock_restrict_self" and line.endswith("= 0")]
        assert bool(confined) == (role == "subscriber" and bool(find_version()))

"""The restrictions of a systemd unit, for a machine that systemd did not start: read from the unit, and imposed."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import REPOSITORY

_UNITS = REPOSITORY / "systemd"
_BOUND = ("BindPaths", "ReadWritePaths", "BindReadOnlyPaths", "ReadOnlyPaths")
_HOMES = ("/home", "/root", "/run/user")
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_HIDDEN = "hidepid=invisible"
_USER = "nobody"
_PROGRAMS = ("unshare", "setpriv", "chroot", "mount")


@dataclass(frozen=True)
class Unit:
    """The settings of a unit and its drop-in, in order; a later one counts unless it is a list."""

    lines: tuple[tuple[str, str], ...]

    def value(self, name: str) -> str:
        """Return what was said last; an empty text when nothing was."""
        return next((value for known, value in reversed(self.lines) if known == name), "")

    def values(self, name: str) -> list[str]:
        """Return all that was said."""
        return [value for known, value in self.lines if known == name]


def read_unit(role: str, drop_in: str = "") -> Unit:
    """Return what the unit of a daemon says, and after it the text of a drop-in."""
    text = (_UNITS / f"pushmirror-{role}.service").read_text() + drop_in
    return Unit(tuple((name, value) for name, value in re.findall(r"(?m)^([A-Z]\w*)=(.*)$", text)))


def give_to_the_user(folder: Path) -> None:
    """Make the user of the units the owner of `folder` and everything in it."""
    user = pwd.getpwnam(_USER)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


def confine(unit: Unit, folder: Path, readable: Sequence[Path], writable: Sequence[Path] = ()) -> list[str]:
    """Return the command that runs the arguments after it under the restrictions of `unit`, which needs root.

    They see what the unit and its drop-in leave of the file system, and of what is hidden (homes, temporary folders)
    also Python, this checkout, `readable`, and `writable`, which they can write to. Not imposed: limits of memory and
    tasks, which need a control group; and the filter of system calls, for which there is `unit_calls`. `folder` is
    empty, and stays so for everybody else; beside it a script is left.
    """
    script = folder.with_suffix(".sh")
    lines = ["set -eu", *_mounts(unit, folder, readable, writable), *_limits(unit), _run(unit, folder)]
    script.write_text("\n".join([*lines, ""]))
    return ["unshare", "--mount", "--propagation=private", "sh", str(script)]


def find_missing_for_confinement() -> str | None:
    """Return why `confine` cannot be used here, None when it can."""
    if os.geteuid() != 0:
        return "a file system that looks different to one process needs root"
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"{missing[0]} is not installed"
    mount = ["unshare", "--mount", "--propagation=private", "mount", "-t", "proc", "-o", _HIDDEN, "proc", "/proc"]
    tried = subprocess.run(mount, capture_output=True, check=False)
    return f"no mounts of one's own here: {tried.stderr.decode().strip()}" if tried.returncode else None


def _mounts(unit: Unit, folder: Path, readable: Sequence[Path], writable: Sequence[Path]) -> list[str]:
    told = [(name, value) for name, value in unit.lines if name in _BOUND]
    wanted = [(Path(place), False) for place in (REPOSITORY, sys.prefix, sys.base_prefix, *readable)]
    wanted += [(Path(value.removeprefix("-").strip('"')), "Only" not in name) for name, value in told]
    wanted += [(place, True) for place in writable]
    bound = [line for place, may_write in wanted for line in _bind(place, folder, may_write=may_write)]
    root = shlex.quote(str(folder))
    return [*_make_read_only(unit, root), *_hide_folders(unit, root), *_replace_interfaces(unit, root), *bound]


def _make_read_only(unit: Unit, root: str) -> list[str]:
    assert unit.value("ProtectSystem") == "strict"
    # What is mounted over something else cannot be reached by its name, and need not be made read-only.
    return [
        f"mount --rbind / {root}",
        "cut -d ' ' -f 5 /proc/self/mountinfo | while read -r place; do case $place in",
        f"    {root}/dev* | {root}/proc* | {root}/sys*) ;;",
        f'    {root} | {root}/*) mount -o remount,bind,ro "$place" 2> /dev/null || : ;;',
        "esac; done",
    ]


def _hide_folders(unit: Unit, root: str) -> list[str]:
    # With ProtectHome=yes a home takes no mounts; but the Python that runs the tests may lie in one.
    assert (unit.value("PrivateTmp"), unit.value("ProtectHome") in ("yes", "tmpfs")) == ("yes", True)
    modes = dict.fromkeys(("/tmp", "/var/tmp"), "1777") | {home: "755" for home in _HOMES if Path(home).exists()}
    return [f"mount -t tmpfs -o mode={mode} tmpfs {root}{place}" for place, mode in modes.items()]


def _replace_interfaces(unit: Unit, root: str) -> list[str]:
    assert (unit.value("ProtectProc"), unit.value("PrivateDevices")) == ("invisible", "yes")
    subset = ",subset=pid" if unit.value("ProcSubset") == "pid" else ""
    lines = [f"mount -t proc -o {_HIDDEN}{subset} proc {root}/proc", f"mount -t tmpfs -o mode=755 tmpfs {root}/dev"]
    return lines + [f": > {root}/dev/{name}; mount --bind /dev/{name} {root}/dev/{name}" for name in _DEVICES]


def _bind(place: Path, folder: Path, *, may_write: bool) -> list[str]:
    there, here = shlex.quote(f"{folder}{place}"), shlex.quote(str(place))
    rights = "rw" if may_write else "ro"
    # It is there already, unless it lies in a folder that is hidden.
    return [
        f"[ -d {there} ] || mkdir -p {there}",
        f"mount --bind {here} {there}",
        f"mount -o remount,bind,{rights} {there}",
    ]


def _limits(unit: Unit) -> list[str]:
    # Not even root may always go beyond what the machine gives.
    descriptors = f"ulimit -n {unit.value('LimitNOFILE')} 2> /dev/null || :"
    return [descriptors, f"ulimit -c {unit.value('LimitCORE')}", f"umask {unit.value('UMask')}"]


def _run(unit: Unit, folder: Path) -> str:
    assert unit.value("User") not in ("", "root"), "the unit runs as root"
    assert (unit.value("CapabilityBoundingSet"), unit.value("AmbientCapabilities")) == ("", "")
    rights = ["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"]
    if unit.value("NoNewPrivileges") == "yes":
        rights.append("--no-new-privs")
    user = pwd.getpwnam(_USER)
    identity = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return shlex.join(["exec", "chroot", str(folder), "setpriv", *identity, *rights]) + ' "$@"'

"""Is a mirror exact? Two independent answers: a walker of our own that compares by content, and rsync's own."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import clean_environment

ROOT = b"."
BLOCK_BYTES = 1 << 18
DROPPED_BITS = stat.S_ISUID | stat.S_ISGID  # a mirror takes them from nobody: --chmod=ug-s
KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}


@dataclass(frozen=True)
class Item:
    """What one name in a tree is; `path` is absolute, `target` only a symlink's."""

    path: bytes
    kind: str
    permissions: int
    size_bytes: int
    mtime_ns: int
    inode: tuple[int, int]
    target: bytes


def differences(upstream: Path, mirror: Path, *, ignore_root_time: bool = False) -> list[str]:
    """Return one line per difference between two trees, sorted; an empty list when the mirror is exact.

    Compared are: which names there are, their types, the contents of files (every byte), permissions (setuid and
    setgid are expected to be dropped), targets of symlinks, times to the nanosecond (of directories and symlinks too;
    the root's unless `ignore_root_time`), and which names are hardlinks of one another. Symlinks that lead out of
    the tree, and anything but files, directories and symlinks, are expected to be left out of the mirror.
    """
    theirs = {name: item for name, item in items(upstream) if is_mirrored(name, item)}
    ours = dict(items(mirror))
    found = [f"missing: {shown(name)}" for name in theirs.keys() - ours.keys()]
    found += [f"extra: {shown(name)}" for name in ours.keys() - theirs.keys()]
    for name in theirs.keys() & ours.keys():
        told = item_differences(theirs[name], ours[name])
        if ignore_root_time and name == ROOT:
            told = [line for line in told if not line.startswith("time ")]
        found += [f"{shown(name)}: {line}" for line in told]
    return sorted(found + hardlink_differences(theirs, ours))


def items(root: Path) -> Iterator[tuple[bytes, Item]]:
    """Yield every name in a tree, relative to its root (which comes first, as ``.``), with what it is."""
    top = os.fsencode(root)
    yield ROOT, read_item(top)
    waiting = [b""]
    while waiting:
        folder = waiting.pop()
        for entry in sorted(os.listdir(os.path.join(top, folder))):
            name = os.path.join(folder, entry)
            item = read_item(os.path.join(top, name))
            yield name, item
            if item.kind == "directory":
                waiting.append(name)


def read_item(path: bytes) -> Item:
    """Return what is at `path`, without following a symlink."""
    found = os.lstat(path)
    kind = KINDS.get(stat.S_IFMT(found.st_mode), "special file")
    return Item(
        path=path,
        kind=kind,
        permissions=stat.S_IMODE(found.st_mode),
        size_bytes=found.st_size,
        mtime_ns=found.st_mtime_ns,
        inode=(found.st_dev, found.st_ino),
        target=os.readlink(path) if kind == "symlink" else b"",
    )


def is_mirrored(name: bytes, item: Item) -> bool:
    """Return whether a mirror is expected to hold this upstream item under its name."""
    if item.kind == "symlink":
        return not leads_out(name, item.target)
    return item.kind != "special file"


def leads_out(name: bytes, target: bytes) -> bool:
    """Return whether rsync's ``--safe-links`` drops a symlink: absolute, above the root, or ``..`` not at the front."""
    climb = re.match(rb"(?:\.\./+)*", target)
    front = climb[0] if climb else b""
    rest = target[len(front) :]
    climbs = front.count(b"..") + (rest == b"..")
    climbs_late = b"/../" in rest or (target.endswith(b"/..") and len(target) > 3)
    return not target or target.startswith(b"/") or climbs_late or climbs > name.count(b"/")


def item_differences(theirs: Item, ours: Item) -> list[str]:
    """Return what differs between two items of one name; another type hides everything else."""
    if theirs.kind != ours.kind:
        return [f"is a {ours.kind}, not a {theirs.kind}"]
    found = []
    if theirs.kind == "file" and not same_content(theirs, ours):
        found.append(f"content differs ({ours.size_bytes} bytes, upstream {theirs.size_bytes})")
    if theirs.target != ours.target:
        found.append(f"points to {shown(ours.target)}, not to {shown(theirs.target)}")
    expected = theirs.permissions & ~DROPPED_BITS
    if theirs.kind != "symlink" and ours.permissions != expected:
        found.append(f"permissions {ours.permissions:04o}, not {expected:04o}")
    if theirs.mtime_ns != ours.mtime_ns:
        found.append(f"time {ours.mtime_ns} ns, not {theirs.mtime_ns} ns")
    return found


def same_content(theirs: Item, ours: Item) -> bool:
    """Return whether two files hold the same bytes, whatever their times say."""
    if theirs.size_bytes != ours.size_bytes:
        return False
    with open(theirs.path, "rb") as their_file, open(ours.path, "rb") as our_file:
        while block := their_file.read(BLOCK_BYTES):
            if block != our_file.read(BLOCK_BYTES):
                return False
        return not our_file.read(1)


def hardlink_differences(theirs: Mapping[bytes, Item], ours: Mapping[bytes, Item]) -> list[str]:
    """Return the groups of names that share an inode on one side only (looking at names that both sides have)."""
    common = theirs.keys() & ours.keys()
    apart = hardlinks(theirs, common) - hardlinks(ours, common)
    together = hardlinks(ours, common) - hardlinks(theirs, common)
    return [f"not linked: {shown_group(group)}" for group in apart] + [
        f"linked only here: {shown_group(group)}" for group in together
    ]


def hardlinks(tree: Mapping[bytes, Item], names: set[bytes]) -> set[frozenset[bytes]]:
    """Return the groups of two and more of `names` that are one inode."""
    groups: dict[tuple[int, int], set[bytes]] = {}
    for name in names:
        if tree[name].kind != "directory":
            groups.setdefault(tree[name].inode, set()).add(name)
    return {frozenset(group) for group in groups.values() if len(group) > 1}


def shown(name: bytes) -> str:
    """Return a name in printable ASCII."""
    return repr(name)[1:]


def shown_group(group: frozenset[bytes]) -> str:
    return " = ".join(shown(name) for name in sorted(group))


def rsync_differences(url: str, mirror: Path, *extra: str) -> str:
    """Return what rsync itself would still do to make `mirror` like `url`, comparing by checksum: empty when exact.

    Fails when rsync does: its silence would otherwise pass for exactness.
    """
    options = ["-rlptH", "--safe-links", "--chmod=ug-s", "--checksum", "--modify-window=-1", "-ni", "--delete"]
    done = subprocess.run(
        ["rsync", *options, *extra, url, f"{mirror}/"],
        env={**clean_environment(), "LC_ALL": "C"},
        capture_output=True,
        timeout=120,
        check=False,
    )
    output = done.stdout.decode("utf-8", "backslashreplace").strip()
    assert done.returncode == 0, f"rsync ended with {done.returncode}: {done.stderr.decode(errors='replace')}{output}"
    return output

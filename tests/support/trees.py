"""Trees for tests: deterministic, like a distribution's in shape, with names that break careless programs."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

START_NS = 1_700_000_000 * 10**9
SPAN_NS = 10**15  # about twelve days: times of one tree differ in seconds and in nanoseconds
NAMES_PER_FOLDER = 25

ODD_NAMES: tuple[bytes, ...] = (
    b"two words",
    b" leading and trailing ",
    b"new\nline",
    b"tab\tand\rreturn",
    b"single'quote",
    b'double"quote',
    b"-rf",
    b"--delete",
    b"#comment",
    b";semicolon",
    b"star*",
    b"question?",
    b"[brackets]",
    b"{a,b}",
    b"back\\slash",
    b"\\#012",
    b"\\",
    b"arrow -> target",
    b"$(true)",
    b"%n %i",
    b"+ plus",
    b"~tilde",
    b".hidden",
    b"...",
    b"colon:colon",
    b"::double",
    "größe-日本".encode(),
    "e\u0301-combining".encode(),
    b"latin1-\xe9",
    b"\xff\xfe",
)


@dataclass(frozen=True)
class MadeTree:
    """What `make_tree` made: names relative to `root`. `linked` are the files that are second names of another one."""

    root: Path
    files: tuple[bytes, ...]
    linked: tuple[bytes, ...]
    symlinks: tuple[bytes, ...]
    directories: tuple[bytes, ...]


@dataclass
class Change:
    """What `change_tree` did, as it is announced: paths put, and paths deleted (a directory stands for all in it)."""

    put: list[bytes] = field(default_factory=list)
    deleted: list[bytes] = field(default_factory=list)


def make_tree(root: Path, files: int = 2000, *, seed: int = 1, odd_names: bool = True) -> MadeTree:
    """Make a tree under `root` (a folder that is new or empty) and return what is in it.

    It has exactly `files` names of regular files (at least 100 when there are odd ones), second hardlinked names
    included. The same arguments give the same names, contents, permissions and times, to the nanosecond.
    """
    source = random.Random(seed)
    top = os.fsencode(root)
    os.makedirs(top, exist_ok=True)
    names = _odd_files() if odd_names else []
    linked_count = max(1, files // 100)
    names += _pool_names(files - len(names) - linked_count)
    for name in names:
        write(root, name, source.randbytes(source.randint(0, 2000)), mtime_ns=_time(source), mode=_mode(source))
    linked = [_link(top, name) for name in names[-linked_count:]]
    symlinks = _make_symlinks(top, names, odd_names=odd_names)
    os.makedirs(os.path.join(top, b"empty directory"), exist_ok=True)
    os.chmod(os.path.join(top, b"pool"), 0o2775)
    for symlink in symlinks:
        time_ns = _time(source)
        os.utime(os.path.join(top, symlink), ns=(time_ns, time_ns), follow_symlinks=False)
    directories = _directories(top)
    for directory in reversed(directories):  # the deepest first: making anything in a directory moves its time
        set_time(root, directory, _time(source))
    set_time(root, b".", _time(source))
    return MadeTree(root, tuple(names + linked), tuple(linked), tuple(symlinks), tuple(directories))


def write(root: Path, name: bytes, content: bytes, *, mtime_ns: int | None = None, mode: int = 0o644) -> None:
    """Put a file in place as rsync does, beside and renamed; directories on the way are made. None: the time is now."""
    path = os.path.join(os.fsencode(root), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    beside = os.path.join(os.path.dirname(path), b".write-beside")
    with open(beside, "wb") as file:
        file.write(content)
    os.chmod(beside, mode)
    if mtime_ns is not None:
        os.utime(beside, ns=(mtime_ns, mtime_ns))
    os.replace(beside, path)


def set_time(root: Path, name: bytes, mtime_ns: int) -> None:
    """Set the time of a file or directory."""
    os.utime(os.path.join(os.fsencode(root), name), ns=(mtime_ns, mtime_ns))


def change_tree(tree: MadeTree, *, changed: int = 40, added: int = 10, deleted: int = 10, seed: int = 2) -> Change:
    """Change a tree as a day's work on a repository does, and return what an announcement of it says.

    Besides the counts of files: one directory is removed with all that is in it, one symlink points elsewhere, and a
    new file appears under two hardlinked names.
    """
    source = random.Random(seed)
    top = os.fsencode(tree.root)
    change = Change()
    doomed = next(name for name in tree.directories if name.startswith(b"pool/") and name.count(b"/") == 2)
    plain = [name for name in tree.files if name not in tree.linked and not name.startswith(doomed + b"/")]
    chosen = source.sample(plain[: len(plain) - len(tree.linked)], changed + deleted)
    for name in chosen[:changed]:
        write(tree.root, name, source.randbytes(source.randint(1, 3000)))
    for name in chosen[changed:]:
        os.unlink(os.path.join(top, name))
    new = [b"pool/main/new/package-%04d.deb" % number for number in range(added)]
    pair = [b"pool/main/new/linked one", b"pool/main/new/linked-two"]
    for name in [*new, pair[0]]:
        write(tree.root, name, source.randbytes(1500))
    os.link(os.path.join(top, pair[0]), os.path.join(top, pair[1]))
    _repoint(top, tree.symlinks[0])
    _remove_directory(top, doomed)
    change.put = sorted([*chosen[:changed], *new, *pair, tree.symlinks[0]])
    change.deleted = sorted([*chosen[changed:], doomed])
    return change


def _odd_files() -> list[bytes]:
    """Odd names at the root, in a directory, and as directories."""
    inside = [b"odd names/" + name for name in ODD_NAMES]
    return [*ODD_NAMES, *inside, *(b"odd directories/" + name + b"/file" for name in ODD_NAMES)]


def _pool_names(count: int) -> list[bytes]:
    names = []
    for number in range(count):
        folder = number // NAMES_PER_FOLDER
        names.append(
            b"pool/%s/p%04d/package-%05d_1.0.deb" % (b"contrib" if folder % 5 == 4 else b"main", folder, number)
        )
    return names


def _link(top: bytes, name: bytes) -> bytes:
    """Give a file a second name in another directory, and return it."""
    second = b"by-hash/" + name.replace(b"/", b"_")
    os.makedirs(os.path.join(top, b"by-hash"), exist_ok=True)
    os.link(os.path.join(top, name), os.path.join(top, second))
    return second


def _make_symlinks(top: bytes, names: list[bytes], *, odd_names: bool) -> list[bytes]:
    """Make symlinks that stay in the tree: to a file, to a directory, upwards, to nothing, and with odd names."""
    targets = {
        b"latest": names[-1],
        b"pool/main/current": b"p0000",
        b"pool/main/up": b"../../latest",
        b"dangling": b"nowhere/at all",
    }
    if odd_names:
        targets |= {b"link -> arrow": b"odd names/two words", b"link\nline\xff": b"odd names/new\nline"}
    for name, target in targets.items():
        os.makedirs(os.path.dirname(os.path.join(top, name)), exist_ok=True)
        os.symlink(target, os.path.join(top, name))
    return list(targets)


def _directories(top: bytes) -> list[bytes]:
    """Return all directories below `top`, parents before what they contain."""
    found = [os.path.relpath(os.path.join(folder, name), top) for folder, names, _ in os.walk(top) for name in names]
    return sorted(name for name in found if not os.path.islink(os.path.join(top, name)))


def _repoint(top: bytes, name: bytes) -> None:
    os.unlink(os.path.join(top, name))
    os.symlink(b"pool/main/new/linked one", os.path.join(top, name))


def _remove_directory(top: bytes, name: bytes) -> None:
    path = os.path.join(top, name)
    _unlink_all(os.path.join(path, entry) for entry in os.listdir(path))
    os.rmdir(path)


def _unlink_all(paths: Iterable[bytes]) -> None:
    for path in paths:
        os.unlink(path)


def _time(source: random.Random) -> int:
    return START_NS + source.randrange(SPAN_NS)


def _mode(source: random.Random) -> int:
    return source.choice((0o644, 0o644, 0o644, 0o600, 0o755, 0o444, 0o4755))

"""The tree of the demonstration: small, and shaped like a distribution's repository; and a day's change to it."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

PACKAGES_PER_SOURCE = 8
_DAY_NS = 86_400 * 10**9
_INDEX = "dists/stable/main/binary-amd64/Packages"
_METADATA = (
    "dists/stable/InRelease",
    "dists/stable/Release",
    "dists/stable/Release.gpg",
    "dists/stable/main/binary-amd64/Release",
    "dists/stable/main/i18n/Translation-en",
    _INDEX,
    f"{_INDEX}.gz",
)
_SYMLINKS = {"dists/testing": "stable", "README": "doc/README.txt"}
_WORDS = "agate basalt chert dolomite epidote flint gneiss halite jasper kyanite lapis marble olivine pyrite quartz"


@dataclass
class Content:
    """What was made: `root`, and the names of the packages in it."""

    root: Path
    packages: list[str]
    chance: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311 - content, not secrets

    def write(self, name: str, size_bytes: int, mtime_ns: int | None = None) -> None:
        """Put a file in place as rsync does, beside and renamed; None: its time is now."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.new")
        beside.write_bytes(self.chance.randbytes(size_bytes))
        if mtime_ns is not None:
            os.utime(beside, ns=(mtime_ns, mtime_ns))
        beside.replace(path)


@dataclass(frozen=True)
class Change:
    """A change as it is announced, and how it is told to people."""

    puts: tuple[str, ...]
    deletions: tuple[str, ...]
    told: tuple[tuple[str, str], ...]


def make_tree(root: Path, files: int) -> Content:
    """Make a tree with `files` names of files (at least 100) in the folder `root`."""
    content = Content(root, [])
    start_ns = time.time_ns() - 30 * _DAY_NS
    by_hash = [_by_hash(f"index {number}") for number in range(2)]
    fixed = [*_METADATA, "doc/README.txt"]
    content.packages = [_package(number) for number in range(files - len(fixed) - len(by_hash))]
    for name in [*fixed, *content.packages]:
        content.write(name, content.chance.randint(200, 3000), start_ns + content.chance.randrange(20 * _DAY_NS))
    for name in by_hash:
        _link(root, _INDEX, name)
    for name, target in _SYMLINKS.items():
        (root / name).symlink_to(target)
    return content


def change_tree(content: Content) -> Change:
    """Change some files, add and delete some, remove a directory, turn a symlink, add two hardlinked names."""
    changed_count = min(40, len(content.packages) // 10)
    doomed = Path(content.packages[-1]).parent.as_posix()
    kept = [name for name in content.packages if not name.startswith(f"{doomed}/")]
    chosen = content.chance.sample(kept, changed_count + changed_count // 4)
    changed, deleted = [*_METADATA, *chosen[: changed_count - len(_METADATA)]], chosen[changed_count:]
    added = [f"pool/main/n/newcomer/newcomer-{number}_1.0_amd64.deb" for number in range(changed_count // 4)]
    for name in [*changed, *added]:
        content.write(name, content.chance.randint(200, 3000))
    linked = ["pool/main/n/newcomer/newcomer-data_1.0_all.deb", _by_hash("newcomer")]
    content.write(linked[0], 2000)
    _link(content.root, *linked)
    for name in deleted:
        (content.root / name).unlink()
    shutil.rmtree(content.root / doomed)
    _turn_symlink(content.root / "dists/testing", "stable/main")
    told = (
        (f"{len(changed)} files changed", f"{_INDEX}, {changed[-1]}, ..."),
        (f"{len(added)} files added", f"{added[0]}, ..."),
        ("2 names of one new file", f"{linked[0]}, ..."),
        ("1 symlink turned", "dists/testing -> stable/main"),
        (f"{len(deleted)} files deleted", f"{deleted[0]}, ..."),
        ("1 directory removed", f"{doomed}, with all that was in it"),
    )
    return Change(tuple(sorted([*changed, *added, *linked, "dists/testing"])), tuple(sorted([*deleted, doomed])), told)


def count_entries(root: Path) -> tuple[int, int]:
    """Return how many files, links and directories a tree has, and the volume of its files in bytes."""
    entries, volume_bytes = 0, 0
    for folder, directories, files in os.walk(root):
        entries += len(directories) + len(files)
        volume_bytes += sum(os.lstat(os.path.join(folder, name)).st_size for name in files)
    return entries, volume_bytes


def join_paths(paths: Iterable[str]) -> bytes:
    """Return paths as ``publish --paths-from`` takes them, NUL-separated."""
    return b"".join(os.fsencode(path) + b"\0" for path in paths)


def _package(number: int) -> str:
    words = _WORDS.split()
    source, part = divmod(number, PACKAGES_PER_SOURCE)
    word = words[source % len(words)]
    name = f"{word}{source // len(words) or ''}"
    return f"pool/main/{word[0]}/{name}/{name}-{part}_1.{source}_amd64.deb"


def _by_hash(seed: str) -> str:
    hexadecimal = hashlib.sha256(seed.encode()).hexdigest()
    return f"dists/stable/main/binary-amd64/by-hash/SHA256/{hexadecimal[:16]}"


def _link(root: Path, first: str, second: str) -> None:
    (root / second).parent.mkdir(parents=True, exist_ok=True)
    os.link(root / first, root / second)


def _turn_symlink(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)

"""A repository at Tier 1 that goes from version to version as an archive does, whatever its format."""

from __future__ import annotations

import os
import random
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

PACKAGES = 30
REPLACED_PER_VERSION = 15
SMALLEST_BYTES, LARGEST_BYTES = 20_000, 60_000


class Repository(ABC):
    """A repository of small packages in the tree `root`; no version of it yet.

    What goes into the tree is built in `work`, a new folder beside it on the same file system. `seed` decides which
    packages are replaced, not what is in them.
    """

    profile: ClassVar[str]
    entry: ClassVar[str]
    """The file that a client reads first, relative to the root."""

    def __init__(self, root: Path, work: Path, *, seed: int = 1) -> None:
        self.root = root
        self.work = work
        self.version = 0
        self.names = tuple(f"sample-{number:02}" for number in range(PACKAGES))
        self._chance = random.Random(seed)
        self._places: dict[str, str] = {}
        work.mkdir()
        self.current = work / "current"
        """The packages of this version alone, laid out as in the tree: what the indexes are made of."""
        self.current.mkdir()

    def step(self) -> None:
        """Go to the next version: packages, then indexes, what clients read first last; only then old packages go."""
        self.version += 1
        names = self._chance.sample(self.names, REPLACED_PER_VERSION) if self.version > 1 else self.names
        sizes = {name: self._chance.randint(SMALLEST_BYTES, LARGEST_BYTES) for name in sorted(names)}
        replaced = [self._places[name] for name in sizes if name in self._places]
        for name, built in self.build(sizes).items():
            self._places[name] = self.place(name, built.name)
            put(Path(shutil.copy(built, self.work / "copy")), self.current / self._places[name])
            put(built, self.root / self._places[name])
        unlink_all(self.current / place for place in replaced)
        self.write_indexes()
        unlink_all(self.root / place for place in replaced)
        self.drop_old_indexes()

    @abstractmethod
    def build(self, sizes: Mapping[str, int]) -> dict[str, Path]:
        """Build packages of this version, in `work`, with so many bytes in each; return their files by name."""

    @abstractmethod
    def place(self, name: str, file_name: str) -> str:
        """Return where in the tree the package `name` belongs."""

    @abstractmethod
    def write_indexes(self) -> None:
        """Write the indexes of the packages in `current`, and put `entry` in place last."""

    @abstractmethod
    def drop_old_indexes(self) -> None:
        """Delete indexes of earlier versions that the archive does not keep any longer."""


def put(built: Path, target: Path) -> None:
    """Move a file into the tree by a rename, so that nobody sees half of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(built, target)


def unlink_all(paths: Iterable[Path]) -> None:
    """Delete files."""
    for path in paths:
        path.unlink()

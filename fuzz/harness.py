"""What a harness is, which there are, and where their bytes are kept."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

NAMES = ("wire", "messages", "bus", "lists", "paths", "output", "settings", "http", "bodies", "control", "tail")
"""Each is a module of this package with a function ``check`` and a function ``seeds``."""

CORPUS = Path(__file__).resolve().parent / "corpus"
"""Committed, a folder for each harness: bytes that once reached something new, and all that were ever mended."""

_MEMORY = Path("/dev/shm")

MAX_BYTES = 16 * 1024
"""So many bytes are tried at most. What is larger is refused by its size alone, which tests show."""


class Believed(AssertionError):
    """A stranger's bytes were taken for something that they cannot be."""


@dataclass(frozen=True)
class Harness:
    """`check` takes any bytes and returns; whatever it raises is a finding. `seeds` are bytes to begin with."""

    name: str
    check: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]

    @property
    def corpus(self) -> Path:
        """The folder of its committed bytes."""
        return CORPUS / self.name


def load_harness(name: str) -> Harness:
    """Return the harness `name`."""
    module = import_module(f"fuzz.{name}")
    return Harness(name, module.check, module.seeds)


def read_corpus(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a corpus by name, with their bytes."""
    for path in sorted(folder.iterdir()):
        yield path.name, path.read_bytes()


def make_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder for databases of which nothing has to last: in memory, where a commit writes to no disk."""
    return tempfile.TemporaryDirectory(prefix="pushmirror-fuzz-", dir=_MEMORY if _MEMORY.is_dir() else None)

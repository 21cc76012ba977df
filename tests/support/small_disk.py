"""A disk of a few megabytes, to be filled up."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from pathlib import Path
from types import TracebackType

import pytest

_BLOCK = bytes(4096)


class SmallDisk:
    """A file system of its own at `folder`, in a ``with`` block; without root the test is skipped."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        if os.geteuid() != 0:
            pytest.skip("mounting a file system needs root")
        self._folder = folder
        self._size_bytes = size_bytes
        self._filler = folder / "filler"

    def __enter__(self) -> SmallDisk:
        command = ["mount", "-t", "tmpfs", "-o", f"size={self._size_bytes},mode=0755", "tmpfs", str(self._folder)]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        subprocess.run(["umount", "--lazy", str(self._folder)], capture_output=True, check=False)

    def fill(self) -> None:
        """Leave no byte free."""
        with self._filler.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(_BLOCK)
            except OSError as error:
                assert error.errno == errno.ENOSPC, error

    def make_room(self) -> None:
        """Give back what was filled."""
        with contextlib.suppress(FileNotFoundError):
            self._filler.unlink()

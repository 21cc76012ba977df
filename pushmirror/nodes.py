"""The nodes whose reports count, and who may ask and listen where not everybody may: the operator's file, read again
when it changes."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from pushmirror.core.curve import CurveKey
from pushmirror.curve import read_curve_nodes
from pushmirror.errors import KeyFileError
from pushmirror.keys import PublicKey, read_authorized_nodes

_log = logging.getLogger(__name__)


class AuthorizedNodes:
    """The keys in the file at `path`, by node name; without a path there are none. Raises KeyFileError when made."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._version = self._look()
        self._keys: Mapping[str, PublicKey] = {} if path is None else read_authorized_nodes(path)
        self._curve_keys: Mapping[str, CurveKey] = {} if path is None else read_curve_nodes(path)

    def read_curve(self) -> frozenset[bytes]:
        """Return the raw CURVE keys as the file has them now, as with `read`."""
        self.read()
        return frozenset(key.raw for key in self._curve_keys.values())

    def read(self) -> Mapping[str, PublicKey]:
        """Return the keys as the file has them now. While it is faulty, which is logged, those of before hold."""
        version = self._look()
        if self._path is not None and version != self._version:
            self._version = version
            try:
                self._keys, self._curve_keys = read_authorized_nodes(self._path), read_curve_nodes(self._path)
            except KeyFileError as error:
                _log.error("the authorized nodes were not read again, those of before hold: %s", error)
            else:
                _log.info("read %d authorized nodes again", len(self._keys))
        return self._keys

    def _look(self) -> tuple[int, ...] | None:
        """Return what is different after the file was changed or replaced."""
        if self._path is None:
            return None
        try:
            status = os.stat(self._path)
        except OSError:
            return ()
        return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

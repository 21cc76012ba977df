"""What a scan passes over: folders and files of a transfer that is under way, and what the operator names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pushmirror.core.scanning import is_own_name


class PathRules(Protocol):
    """Patterns of names, as `pushmirror.core.filters` has them."""

    def hides(self, path: bytes, is_directory: bool) -> bool:
        """Tell whether the path, or a directory above it, is excluded."""


class Excludes:
    """What of a tree is never announced. `rules` are the operator's; `mark` is another one when they are."""

    def __init__(self, rules: PathRules | None = None, mark: Sequence[str] = ()) -> None:
        self._rules = rules
        self.mark = repr(tuple(mark))
        self.has_rules = rules is not None

    def hides_directory(self, path: bytes) -> bool:
        """Tell whether a directory is passed over with all that is in it."""
        return is_own_name(path.rpartition(b"/")[2]) or (self._rules is not None and self._rules.hides(path, True))

    def hides_entry(self, path: bytes) -> bool:
        """Tell whether the operator excludes a file or symlink."""
        return self._rules is not None and self._rules.hides(path, False)

"""What a scan passes over: folders of a transfer that is under way, what the operator names, what rsyncd hides."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pushmirror.core.filters import Rules
from pushmirror.core.patterns import parse_pattern
from pushmirror.core.scanning import is_own_name
from pushmirror.publisher.detect.rsyncd_conf import RsyncdView, compare_with_rsyncd


class Excludes:
    """What of a tree is never announced: what `own` rules hide, or those of the rsync daemon that serves it."""

    def __init__(self, own: Rules | None = None, rsyncd: RsyncdView | None = None) -> None:
        hiding = [(own or Rules(), b""), *([] if rsyncd is None else [(rsyncd.rules, rsyncd.prefix)])]
        self._hiding = tuple((rules, prefix) for rules, prefix in hiding if rules)
        self.mark = repr([(rules.digest, prefix) for rules, prefix in self._hiding])
        """Another one when other things are hidden."""
        self.has_rules = bool(self._hiding)
        self.notes = () if rsyncd is None else rsyncd.notes
        """What the operator is to know about what the rsync daemon hides."""

    def hides_directory(self, path: bytes) -> bool:
        """Tell whether a directory is passed over with all that is in it; those above it are not."""
        return is_own_name(path.rpartition(b"/")[2]) or self._hides(path, is_directory=True)

    def hides_entry(self, path: bytes) -> bool:
        """Tell whether a file or symlink is passed over; the directories above it are not."""
        return self._hides(path, is_directory=False)

    def _hides(self, path: bytes, *, is_directory: bool) -> bool:
        return any(rules.excludes(prefix + path, is_directory=is_directory) for rules, prefix in self._hiding)


def make_excludes(
    patterns: Iterable[str], *, rsyncd_conf: Path | None = None, root: Path = Path("/"), url: str | None = None
) -> Excludes:
    """Return the excludes of the tree at `root` whose operator wrote these patterns.

    `rsyncd_conf` None: what the rsync daemon hides is not looked at. Raises ValueError for what is not a pattern.
    """
    own = Rules(exclude=tuple(parse_pattern(text) for text in patterns))
    return Excludes(own, None if rsyncd_conf is None else compare_with_rsyncd(rsyncd_conf, root, url))

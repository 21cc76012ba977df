"""Where a job reads from: an rsync URL, split into the module's root and the way from there to the tree.

Lists are always given from the module's root (``sub/./pool/x``): with a sub-path as the source and ``use chroot = no``
an rsync daemon reports nearly every listed file as vanished.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pushmirror.core.paths import TreePath, trust
from pushmirror.errors import UntrustedPath

_URL = re.compile(
    r"""rsync://
        (?P<user>[A-Za-z0-9._-]+@)?
        (?P<host>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)
        (?P<port>:[0-9]{1,5})?
        /(?P<module>[^/\s*?\[\]-][^/\s*?\[\]]*)
        (?P<below>/.*)?""",
    re.VERBOSE | re.DOTALL,
)
_MAX_PORT = 65535


@dataclass(frozen=True)
class Source:
    """`root` is the URL of the module, with a trailing slash; `below` the tree's place in it, empty for the root."""

    root: str
    below: bytes = b""

    @property
    def tree_url(self) -> bytes:
        """The URL of the tree itself, with a trailing slash: what a run over the whole tree reads."""
        root = self.root.encode()
        return root + self.below + b"/" if self.below else root

    def entry(self, path: TreePath) -> bytes:
        """Return `path` as a ``--files-from`` entry relative to the module's root."""
        return self.below + b"/./" + path if self.below else path

    def strip(self, name: bytes) -> bytes:
        """Return a name that rsync printed relative to the module as one relative to the tree, empty for its root."""
        if not self.below:
            return name
        return b"" if name == self.below else name.removeprefix(self.below + b"/")


def parse_source(url: str) -> Source:
    """Return the source that an rsync URL names. Raises ValueError, which says what to write instead."""
    match = _URL.fullmatch(url) if url.isprintable() else None
    if match is None:
        raise ValueError(f"{url!r} is not an rsync URL: write rsync://HOST[:PORT]/MODULE/[FOLDER/]")
    if match["port"] and not 0 < int(match["port"][1:]) <= _MAX_PORT:
        raise ValueError(f"{url!r} has port {match['port'][1:]}: write one from 1 to {_MAX_PORT}")
    below = (match["below"] or "").strip("/").encode()
    try:
        below = trust(below) if below else b""
    except UntrustedPath as error:
        raise ValueError(f"{url!r}: {error}") from error
    if re.search(rb"[*?\[\]\s]", below):
        raise ValueError(f"{url!r}: a folder with wildcards or white space cannot be a source")
    root = f"rsync://{match['user'] or ''}{match['host']}{match['port'] or ''}/{match['module']}/"
    return Source(root, below)

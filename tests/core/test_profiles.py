"""Profiles: what is metadata, and the order in which it is switched."""

from __future__ import annotations

REPOSITORIES: tuple[bytes, ...] = (b"os/repodata/repomd.xml", b"os/Packages/a.rpm", b"dists/s/InRelease", b"pool/a.deb")
